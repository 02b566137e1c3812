"""What all figures have: words in their legends, and room for everything."""

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def labels(figure: Figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def title(figure: Figure) -> str:
    return figure.legends[0].get_title().get_text()


def draw(figure: Figure) -> None:
    FigureCanvasAgg(figure).draw()


def assert_nothing_is_cut_off(figure: Figure) -> None:
    """Everything lies within the figure, and its legend beside its axes."""
    draw(figure)
    whole = figure.bbox.padded(1.0)
    renderer = figure.canvas.get_renderer()  # pyright: ignore[reportAttributeAccessIssue]
    for artist in (*figure.axes, *figure.legends):
        box = artist.get_tightbbox(renderer)
        assert whole.containsx(box.x0) and whole.containsx(box.x1), artist  # noqa: PT018
        assert whole.containsy(box.y0) and whole.containsy(box.y1), artist  # noqa: PT018
    for legend in figure.legends:
        for axes in figure.axes:
            assert not legend.get_window_extent(renderer).overlaps(axes.get_window_extent(renderer))


def assert_letters_can_be_read(figure: Figure) -> None:
    """At 360 pixels of width on a phone, 72 points to the inch: no letter is below 8 pixels."""
    texts = [text for text in figure.findobj(matplotlib.text.Text) if text.get_text()]
    assert min(text.get_fontsize() for text in texts) * 360 / figure.get_figwidth() / 72 > 8
