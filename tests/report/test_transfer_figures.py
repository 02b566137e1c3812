"""The figures of the transfer of learning rate and radius: what they draw, and that nothing is cut off."""

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from report.layout import assert_letters_can_be_read, assert_nothing_is_cut_off, labels, title
from report.results_tables import design_of
from report.transfer_tables import RADII, RATES, transfer_table, transfer_wording

from widebasin.report import transfer_figures
from widebasin.statistics.gains import radius_table
from widebasin.statistics.transfer import optima, transfer_costs


def all_figures(results, metric: str = "accuracy") -> dict[str, Figure]:
    design, wording = design_of(results), transfer_wording(metric)
    means, best = radius_table(results, design), optima(results, design, resamples=50).table
    return {
        "heat maps": transfer_figures.heat_maps(means, best, wording),
        "by radius": transfer_figures.metric_against_radius(means, best, wording),
        "by learning rate": transfer_figures.metric_against_learning_rate(means, best, wording, "sgd"),
        "best learning rate": transfer_figures.optimum_against_width(best, wording, "learning_rate"),
        "best radius": transfer_figures.optimum_against_width(best, wording, "rho"),
        "cost": transfer_figures.cost_against_width(transfer_costs(results, design), wording),
    }


def points(axes: matplotlib.axes.Axes, marker: str) -> list[tuple[float, float]]:
    return sorted(tuple(line.get_xydata()[0]) for line in axes.lines if line.get_marker() == marker)


@pytest.mark.parametrize(
    "options",
    [
        {"widths": (4, 8, 16, 32, 64, 100, 256)},
        pytest.param(
            {"parametrizations": ("mup",), "seeds": (0,), "metric": "word_error_rate"}, marks=pytest.mark.slow
        ),
        {"widths": (10, 20, 100), "rhos": (0.0, 0.1), "diverged": lambda network, rate: network.width == 20},
    ],
)
def test_nothing_is_cut_off_and_letters_can_be_read(options):
    for figure in all_figures(transfer_table(**options), options.get("metric", "accuracy")).values():
        assert_nothing_is_cut_off(figure)
        assert_letters_can_be_read(figure)


def test_heat_maps_have_the_means_and_mark_both_optima():
    results = transfer_table(("standard", "mup2"), diverged=lambda n, rate: n.width == 100 and rate == 0.4)
    figure = all_figures(results)["heat maps"]
    small, large, *_ = figure.axes
    assert small.get_title("left") == "standard parametrization\nwidth 10"
    assert large.get_title("left") == "width 100"
    cells = np.ma.masked_invalid(small.collections[0].get_array())
    assert cells.shape == (len(RATES), 1 + len(RADII))
    of = results.query("parametrization == 'standard' and width == 10")
    sgd = 100 * of.query("method == 'sgd' and learning_rate == 0.1")["test_accuracy"].mean()
    sam = 100 * of.query("rho == 0.2 and learning_rate == 0.4")["test_accuracy"].mean()
    assert cells[1, 0] == pytest.approx(sgd)
    assert cells[3, 3] == pytest.approx(sam)
    assert np.ma.masked_invalid(large.collections[0].get_array()).mask[3].all()
    # The method at its learning rate and radius: 0.2 is the third learning rate, 0.1 the second radius.
    assert points(small, "*") == points(small, "o") == points(large, "o") == [(0, 2), (2, 2)]
    assert points(large, "*") == [(0, 1), (4, 1)]
    colours = {panel.collections[0].norm.vmax for panel in figure.axes[:4]}
    assert len(colours) == 1
    assert figure.axes[4].get_xlabel() == "test accuracy (%), mean over seeds"


def test_lines_have_the_optima_with_their_intervals_and_the_costs():
    results = transfer_table(spread=0.3)
    figures, best = all_figures(results), optima(results, design_of(results), resamples=50).table
    assert labels(figures["best radius"]) == ["standard parametrization", "mup parametrization", "mup2 parametrization"]
    assert labels(figures["cost"])[3:] == ["SGD", "SAM"]
    (axes,) = figures["best radius"].axes
    mine = best.query("method == 'sam' and parametrization == 'standard'")
    np.testing.assert_allclose(axes.lines[0].get_xydata(), mine[["width", "best_rho"]])
    bar = axes.collections[0].get_segments()[0]
    np.testing.assert_allclose(bar[:, 1], mine[["best_rho_low", "best_rho_high"]].iloc[0])
    assert title(figures["best radius"]) == "between those tried; bars: 95% interval, bootstrap over seeds"
    costs = transfer_costs(results, design_of(results)).query("method == 'sgd' and parametrization == 'standard'")
    np.testing.assert_allclose(figures["cost"].axes[0].lines[1].get_xydata(), costs[["width", "cost"]])
