import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.lines import Line2D

from widebasin.report import drawing


def legend_of(names, title=""):
    figure, axes = drawing.new_figure("x", "y")
    before = figure.get_figheight()
    drawing.legend(figure, [Line2D([], [], label=name) for name in names], title)
    FigureCanvasAgg(figure).draw()
    return figure, axes, figure.get_figheight() - before


@pytest.mark.parametrize(("letters", "count"), [(1, 20), (66, 1), (200, 20)])
@pytest.mark.parametrize("title", ["", "a title that says in so many words what there is to be seen " * 2])
def test_a_legend_lies_within_the_figure_which_grows_by_its_rows(letters, count, title):
    names = ["wide " * (letters // 5) + "m" * (letters % 5)] * count
    figure, axes, grown = legend_of(names, title)
    (legend,) = figure.legends
    renderer = figure.canvas.get_renderer()
    box = legend.get_window_extent(renderer)
    assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
    assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1
    assert not box.overlaps(axes.get_tightbbox(renderer))
    # The axes keep about their height.
    alone, _ = drawing.new_figure("x", "y")
    FigureCanvasAgg(alone).draw()
    height = axes.get_window_extent().height - alone.axes[0].get_window_extent().height
    assert abs(height) < (1.5 * drawing.LEGEND_ROW + 0.2 * grown) * figure.dpi


def test_a_legend_keeps_all_words():
    names = ["alpha " * 30 + "end", "beta"]
    figure, _, _ = legend_of(names, "gamma " * 40 + "end")
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert [" ".join(text.split()) for text in texts] == names
    assert " ".join(figure.legends[0].get_title().get_text().split()) == "gamma " * 40 + "end"


def test_no_handles_have_no_legend():
    figure, _, grown = legend_of([])
    assert (figure.legends, grown) == ([], 0.0)


@pytest.mark.parametrize(
    ("marks", "room", "shown"),
    [
        ([], 0.2, []),
        ([0.1], 0.2, [0.1]),
        ([0.1, 0.2], 0.2, [0.1, 0.2]),
        # Distances in decades of four in all, so that 0.26 of them take more than one.
        ([1.0, 10.0, 100.0, 1e3, 1e4], 0.24, [1.0, 10.0, 100.0, 1e3, 1e4]),
        ([1.0, 10.0, 100.0, 1e3, 1e4], 0.26, [1.0, 100.0, 1e4]),
        ([1.0, 0.9, 0.7, 0.1], 0.1, [1.0, 0.7, 0.1]),
        ([1.0, 0.11, 0.1], 0.1, [1.0, 0.1]),
    ],
)
def test_marks_that_have_no_room_are_left_out_and_the_ends_stay(marks, room, shown):
    assert drawing.marks_apart(marks, room) == shown


@pytest.mark.parametrize("count", [0, 1, 2, 9])
def test_shades_run_from_dark_to_light(count):
    lightness = [np.dot((0.2126, 0.7152, 0.0722), shade[:3]) for shade in drawing.shades(count)]
    assert len(lightness) == count
    assert lightness == sorted(set(lightness))
