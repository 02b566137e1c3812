import itertools

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from report.layout import assert_letters_can_be_read, assert_nothing_is_cut_off, draw, labels, title
from report.results_tables import (
    METRICS,
    design_of,
    gains_of,
    growing,
    history_table,
    radii_of,
    results_table,
    wording_for,
)

from widebasin.report import drawing, figures
from widebasin.report.page import image

ACCURACY, LOSS, PRUNED_BY = wording_for(), wording_for("loss"), wording_for(readings=("network",))
METHODS = ("sgd", "sam", "unnormalized-sam")


def gains(**options):
    return gains_of(results_table(growing, **options))


def radii(**options):
    return radii_of(results_table(growing, **options))


def line(figure: Figure, label: str, axes: int = 0) -> np.ndarray:
    drawn = figure.axes[axes]
    lines = {line.get_label(): line for line in drawn.lines}
    # A line with bars is labelled through its container.
    lines |= {container.get_label(): container.lines[0] for container in drawn.containers}
    return lines[label].get_xydata()


def ticks(axis) -> list[str]:
    return [tick.label1.get_text() for tick in axis.get_major_ticks() if tick.label1.get_text()]


def shown_ticks(axes) -> list[str]:
    """Numbers on the x axis that lie within it."""
    low, high = axes.get_xlim()
    return [
        text.get_text() for text in axes.get_xticklabels() if text.get_text() and low <= text.get_position()[0] <= high
    ]


# Gain against the number of parameters -----------------------------------------------------------------------------


def test_gain_draws_the_gains_of_the_table_and_their_interval():
    table = gains(widths=(10, 30, 100))
    figure = figures.gain_against_parameters(table, ACCURACY)
    np.testing.assert_array_equal(line(figure, "SAM"), table[["num_params", "gain"]])
    (band,) = figure.axes[0].collections
    corners = {tuple(point) for point in band.get_paths()[0].vertices}
    for row in table.itertuples():
        assert {(row.num_params, row.low), (row.num_params, row.high)} <= corners
    assert figure.axes[0].get_xscale() == "log"
    assert title(figure) == "gain of SAM over SGD; band: 95% interval"


def test_gains_of_several_methods_have_bars_for_their_intervals():
    table = gains(methods=METHODS)
    figure = figures.gain_against_parameters(table, ACCURACY)
    assert labels(figure) == ["SAM", "unnormalized SAM"]
    bars = np.concatenate([bar for part in figure.axes[0].collections for bar in part.get_segments()])
    rows = table.sort_values(["method", "num_params"])
    ends = np.stack([rows["num_params"], rows["low"], rows["num_params"], rows["high"]], axis=1)
    np.testing.assert_allclose(bars, ends.reshape(-1, 2))
    assert title(figure) == "gain over SGD; bars: 95% interval"


def test_several_series_are_drawn_side_by_side():
    figure = figures.gain_against_parameters(gains(methods=METHODS), ACCURACY)
    draw(figure)
    one, other = (
        next(line for line in figure.axes[0].lines if line.get_label() == label)
        for label in ("SAM", "unnormalized SAM")
    )
    np.testing.assert_array_equal(one.get_xydata(), other.get_xydata())
    apart = other.get_transform().transform(other.get_xydata()) - one.get_transform().transform(one.get_xydata())
    points = apart / figure.dpi * 72
    np.testing.assert_allclose(points, [[3.0, 0.0]] * 2, atol=1e-6)


def test_published_gains_are_drawn_apart_and_named_as_published():
    table, published = gains(), {2_000: 1.5, 500_000: 3.0}
    figure = figures.gain_against_parameters(table, ACCURACY, published, "published, label noise 0%")
    np.testing.assert_array_equal(line(figure, "published, label noise 0%"), list(published.items()))
    np.testing.assert_array_equal(line(figure, "SAM"), table[["num_params", "gain"]])
    assert labels(figure) == ["SAM", "published, label noise 0%"]
    low, high = figure.axes[0].get_xlim()
    assert low < 1_000 < 500_000 < high


def test_one_seed_has_gains_without_interval():
    figure = figures.gain_against_parameters(gains(seeds=(0,)), ACCURACY)
    assert len(figure.axes[0].collections) == 0
    assert title(figure) == "gain of SAM over SGD"


def test_one_width_has_a_bar():
    table = gains(widths=(10,))
    figure = figures.gain_against_parameters(table, ACCURACY)
    (bar,) = figure.axes[0].collections[0].get_segments()
    np.testing.assert_allclose(bar[:, 1], table[["low", "high"]].iloc[0])


def test_an_interval_far_wider_than_the_gains_is_cut_and_said_to_be():
    effects = {0: -0.4, 1: 0.4}
    results = results_table(
        lambda n: 0.5 if n.method == "sgd" else growing(n) + effects[n.seed], lambda n: n.rho, seeds=(0, 1)
    )
    table = gains_of(results)
    figure = figures.gain_against_parameters(table, ACCURACY)
    low, high = figure.axes[0].get_ylim()
    assert low > table["low"].min()
    assert high < table["high"].max()
    assert low < table["gain"].min() < table["gain"].max() < high
    assert title(figure).endswith("cut at the axis")


def test_axis_shows_every_interval_whole_that_is_not_far_wider_than_the_gains():
    table = gains()
    low, high = figures.gain_against_parameters(table, ACCURACY).axes[0].get_ylim()
    assert low < min(0, table["low"].min())
    assert high > table["high"].max()


def test_gain_axis_names_direction_and_unit():
    axes = figures.gain_against_parameters(gains(), ACCURACY).axes[0]
    assert axes.get_ylabel() == "accuracy gain (percentage points)"
    axes = figures.gain_against_parameters(gains(metric="loss"), LOSS).axes[0]
    assert axes.get_ylabel() == "gain: decrease of test loss"


def test_settings_have_colours_and_methods_markers():
    table = gains(methods=METHODS, label_noise=(0.0, 0.2, 0.4))
    figure = figures.gain_against_parameters(table, ACCURACY)
    looks = {line.get_label(): (line.get_color(), line.get_marker()) for line in figure.axes[0].lines[1:]}
    assert len(looks) == 6
    assert len({colour for colour, _ in looks.values()}) == 3
    assert looks["SAM, label noise 20%"][0] == looks["unnormalized SAM, label noise 20%"][0]
    assert (
        looks["SAM, label noise 20%"][1]
        == looks["SAM, label noise 40%"][1]
        != looks["unnormalized SAM, label noise 0%"][1]
    )
    assert labels(figure) == ["label noise 0%", "label noise 20%", "label noise 40%", "SAM", "unnormalized SAM"]


def test_many_settings_have_as_many_colours():
    figure = figures.gain_against_parameters(gains(label_noise=tuple(k / 10 for k in range(9))), ACCURACY)
    assert len({matplotlib.colors.to_hex(line.get_color()) for line in figure.axes[0].lines[1:]}) == 9


# Other figures over the number of parameters -----------------------------------------------------------------------


def test_chosen_radius_draws_rho_star_on_a_log_axis_marked_by_the_radii():
    results = results_table(
        growing, lambda n: -abs(n.rho - 0.05 * np.log10(n.width)), rhos=(0.05, 0.1), widths=(10, 100)
    )
    figure = figures.radius_against_parameters(gains_of(results), ACCURACY)
    np.testing.assert_array_equal(line(figure, "SAM"), [[1_000, 0.05], [100_000, 0.1]])
    assert figure.axes[0].get_yscale() == "log"
    draw(figure)
    assert ticks(figure.axes[0].yaxis) == ["0.05", "0.1"]


def test_chosen_radius_zero_has_its_place():
    results = results_table(growing, lambda n: -abs(n.rho - 0.2 * (n.width > 10)), rhos=(0.0, 0.05, 0.2))
    figure = figures.radius_against_parameters(gains_of(results), ACCURACY)
    np.testing.assert_array_equal(line(figure, "SAM")[:, 1], [0.0, 0.2])
    draw(figure)
    assert ticks(figure.axes[0].yaxis) == ["0", "0.2"]
    assert np.isfinite(figure.axes[0].transData.transform(line(figure, "SAM"))).all()


def test_only_radius_zero():
    draw(figures.radius_against_parameters(gains(rhos=(0.0,)), ACCURACY))


def test_equal_radii_of_several_settings_do_not_hide_each_other():
    figure = figures.radius_against_parameters(gains(label_noise=(0.0, 0.2)), ACCURACY)
    draw(figure)
    places = [line.get_transform().transform(line.get_xydata()) for line in figure.axes[0].lines]
    assert (np.abs(places[0] - places[1]) > 1.0).all()


@pytest.mark.parametrize(
    ("drawing", "columns", "label"),
    [
        (
            lambda table: figures.metric_against_parameters(table, ACCURACY),
            ("baseline_value", "value"),
            "test accuracy (%)",
        ),
        (
            lambda table: figures.train_loss_against_parameters(table, ACCURACY),
            ("baseline_train_loss", "train_loss"),
            "training loss",
        ),
    ],
)
def test_baseline_and_methods_draw_the_values_of_the_table(drawing, columns, label):
    table = gains(methods=METHODS, widths=(10, 30, 100))
    figure = drawing(table)
    for method, name in (("sam", "SAM"), ("unnormalized-sam", "unnormalized SAM")):
        rows = table[table["method"] == method]
        np.testing.assert_array_equal(line(figure, name), rows[["num_params", columns[1]]])
    np.testing.assert_array_equal(line(figure, "SGD"), rows[["num_params", columns[0]]])
    assert labels(figure) == ["SGD", "SAM", "unnormalized SAM"]
    assert figure.axes[0].get_ylabel() == label
    assert figure.axes[0].get_xscale() == "log"


def test_every_setting_has_its_baseline():
    table = gains(label_noise=(0.0, 0.2))
    figure = figures.metric_against_parameters(table, ACCURACY)
    rows = table[table["label_noise"] == 0.2]
    np.testing.assert_array_equal(line(figure, "SGD, label noise 20%"), rows[["num_params", "baseline_value"]])
    assert labels(figure) == ["label noise 0%", "label noise 20%", "SGD", "SAM"]


# Against the radius ------------------------------------------------------------------------------------------------


def test_metric_against_radius_draws_the_table_with_the_baseline_at_the_left():
    table = radii(rhos=(0.05, 0.1, 0.2))
    figure = figures.metric_against_radius(table, ACCURACY)
    for width, label in ((10, "1,000"), (100, "100,000")):
        rows = table[(table["width"] == width) & (table["method"] == "sam")]
        np.testing.assert_array_equal(line(figure, label), rows[["rho", "value"]])
    crosses = [line.get_xydata() for line in figure.axes[0].lines if line.get_marker() == "x"]
    base = table[table["method"] == "sgd"]["value"]
    np.testing.assert_allclose(np.concatenate(crosses), [[0.05 / 3, value] for value in base])
    assert labels(figure) == ["1,000", "100,000"]
    draw(figure)
    assert ticks(figure.axes[0].xaxis) == ["SGD", "0.05", "0.1", "0.2"]


def test_networks_of_one_width_pruned_to_several_sizes_have_a_line_each():
    """Width 100, pruned to a quarter and to a sixteenth, beside a dense network of width 10."""
    sizes = {1_000: (10, 0.0), 6_250: (100, 0.9375), 25_000: (100, 0.75)}
    table = pd.concat(
        [
            radii_of(
                results_table(lambda n, worse=sparsity / 10: growing(n) - worse, widths=(width,)).assign(
                    num_params=count
                )
            )
            for count, (width, sparsity) in sizes.items()
        ],
        ignore_index=True,
    )
    figure = figures.metric_against_radius(table, ACCURACY)
    assert labels(figure) == ["1,000", "6,250", "25,000"]
    crosses = [line.get_xydata() for line in figure.axes[0].lines if line.get_marker() == "x"]
    for count, cross in zip(sizes, crosses, strict=True):
        rows = table[table["num_params"] == count]
        np.testing.assert_array_equal(line(figure, f"{count:,}"), rows[rows["method"] == "sam"][["rho", "value"]])
        np.testing.assert_array_equal(cross, [[0.05 / 3, rows.loc[rows["method"] == "sgd", "value"].item()]])


def test_metric_against_radius_has_bars_of_one_standard_error():
    table = radii(widths=(10,), rhos=(0.05, 0.2))
    bars = figures.metric_against_radius(table, ACCURACY).axes[0].collections
    ends = np.concatenate([bar.get_segments() for bar in bars])[:, :, 1]
    rows = table.sort_values("method").sort_values("method", key=lambda m: m == "sgd", kind="stable")
    error = rows["standard_error"]
    np.testing.assert_allclose(ends, np.stack([rows["value"] - error, rows["value"] + error], axis=1))


def test_radius_zero_shares_the_place_of_the_baseline():
    figure = figures.metric_against_radius(radii(widths=(10,), rhos=(0.0, 0.05)), ACCURACY)
    np.testing.assert_allclose(line(figure, "1,000")[:, 0], [0.05 / 3, 0.05])
    draw(figure)
    assert ticks(figure.axes[0].xaxis) == ["0 (SGD)", "0.05"]


@pytest.mark.parametrize("rhos", [(0.1,), (0.0,)])
def test_one_radius(rhos):
    figure = figures.metric_against_radius(radii(rhos=rhos), ACCURACY)
    draw(figure)
    assert len(line(figure, "1,000")) == 1


# Learning curves ---------------------------------------------------------------------------------------------------


def test_learning_curves_are_means_over_seeds():
    history = history_table(results_table(growing, widths=(10,), rhos=(0.2,)))
    figure = figures.learning_curves(history, ACCURACY)
    for label, method in (("width 10, SGD", "sgd"), ("width 10, SAM, rho 0.2", "sam")):
        means = history[history["method"] == method].groupby("epoch").mean(numeric_only=True)
        for axes, values in ((0, means["train_loss"]), (1, 100 * means["valid_accuracy"])):
            drawn = line(figure, label, axes)
            np.testing.assert_array_equal(drawn[:, 0], [1, 2, 3])
            np.testing.assert_allclose(drawn[:, 1], values)
    assert labels(figure) == ["width 10, SAM, rho 0.2", "width 10, SGD"]


def test_settings_are_not_averaged():
    history = history_table(results_table(lambda n: n.label_noise, widths=(10,), label_noise=(0.2, 0.4), rhos=(0.2,)))
    figure = figures.learning_curves(history, ACCURACY)
    assert line(figure, "width 10, SGD, label noise 40%", axes=1)[-1, 1] == pytest.approx(40.0)
    assert len(figure.axes[0].lines) == 4


def test_many_curves_are_named_by_width_and_method():
    history = history_table(results_table(growing, rhos=(0.01, 0.02, 0.05, 0.1, 0.2)))
    figure = figures.learning_curves(history, ACCURACY)
    assert len(figure.axes[0].lines) == 12
    assert labels(figure) == ["width 10", "width 100", "SGD", "SAM"]


def test_a_curve_ends_where_a_network_diverges():
    history = history_table(results_table(growing, widths=(10,), rhos=(0.2,)))
    gone = (history["seed"] == 1) & (history["method"] == "sam") & (history["epoch"] > 1)
    history.loc[gone, "train_loss"] = np.nan
    drawn = line(figures.learning_curves(history, ACCURACY), "width 10, SAM, rho 0.2")
    assert list(np.isfinite(drawn[:, 1])) == [True, False, False]


def test_one_epoch_is_a_visible_point():
    history = history_table(results_table(growing), epochs=1)
    figure = figures.learning_curves(history, ACCURACY)
    draw(figure)
    assert {line.get_marker() for axes in figure.axes for line in axes.lines} == {"o"}


# Gain against sparsity ---------------------------------------------------------------------------------------------

PRUNED = {"none": "dense", "random": "pruned at random", "snip": "pruned by SNIP"}


def pruned(levels=(0.75, 0.9375), pruners=("random", "snip"), dense=True, **options) -> pd.DataFrame:
    """Gains of networks of one width; the sparser, the less, by a point each; of SNIP half a point more."""
    tables = []
    for number, level in enumerate((0.0, *levels) if dense else levels, 0 if dense else 1):
        for name in pruners if level else ("none",):
            results = results_table(growing, **({"widths": (100,)} | options))
            worse = 0.01 * number - (0.005 if name == "snip" else 0.0)
            results.loc[results["method"] != "sgd", "test_accuracy"] -= worse
            kept = round(results["num_params"].iloc[0] * (1 - level))
            tables.append(results.assign(sparsity=level, pruner=name, num_params=kept))
    table = gains_of(pd.concat(tables, ignore_index=True))
    return table.assign(network=table["pruner"].map(PRUNED))


def test_gain_against_sparsity_draws_every_way_of_pruning_with_its_intervals():
    table = pruned()
    figure = figures.gain_against_sparsity(table, PRUNED_BY)
    assert labels(figure) == list(PRUNED.values())
    assert title(figure) == "gain of SAM over SGD; bars: 95% interval"
    for name in PRUNED.values():
        rows = table[table["network"] == name].sort_values("num_params")
        np.testing.assert_allclose(line(figure, f"SAM, {name}"), np.c_[1 - rows["sparsity"], rows["gain"]])
    bars = np.concatenate([bar for part in figure.axes[0].collections for bar in part.get_segments()])
    np.testing.assert_allclose(sorted(bars[:, 1]), sorted([*table["low"], *table["high"]]))
    (axes,) = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == (
        "sparsity (share of weights pruned)",
        "accuracy gain (percentage points)",
    )


def test_every_way_of_pruning_begins_at_the_dense_network():
    table = pruned()
    figure = figures.gain_against_sparsity(table, PRUNED_BY)
    dense = table.loc[table["sparsity"] == 0, "gain"].item()
    plain = [one.get_xydata() for one in figure.axes[0].lines if one.get_marker() == "None"]
    firsts = table[table["sparsity"] == 0.75].sort_values("pruner")["gain"]
    np.testing.assert_allclose(plain[1:], [[[1, dense], [0.25, first]] for first in firsts])


def test_sparser_networks_are_further_right_and_the_axis_says_how_sparse():
    figure = figures.gain_against_sparsity(pruned((0.75, 0.9375, 0.984375)), PRUNED_BY)
    draw(figure)
    assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == ["0%", "75%", "93.75%", "98.4375%"]
    low, high = figure.axes[0].get_xlim()
    assert low > 1 > 0.015625 > high


def test_pruned_networks_have_the_colours_of_the_gain_against_parameters():
    table = pruned()
    by_size = figures.gain_against_parameters(
        table.sort_values(["sparsity", "pruner"]).assign(sparsity=0.0, pruner="none"), PRUNED_BY
    )
    by_sparsity = figures.gain_against_sparsity(table, PRUNED_BY)
    first, second = (
        {text.get_text(): handle.get_color() for text, handle in zip(one.get_texts(), one.legend_handles, strict=True)}
        for one in (by_size.legends[0], by_sparsity.legends[0])
    )
    assert first == second


# Methods -----------------------------------------------------------------------------------------------------------

COSTS = {"sgd": 1.0, "sam": 2.0, "unnormalized-sam": 2.0, "looksam": 1.2}
FAMILY = ("sgd", "sam", "unnormalized-sam", "looksam")


def of_family(value):
    """Looksam is best by 5 points, unnormalized SAM worst."""
    bonus = {"looksam": 0.05, "unnormalized-sam": -0.01}
    return lambda n: value(n) + bonus.get(n.method, 0.0)


def test_gain_by_cost_has_the_cheapest_methods_on_top_and_of_these_the_best():
    table = gains_of(results_table(of_family(growing), widths=(10,), methods=FAMILY))
    figure = figures.gain_by_cost(table, ACCURACY, COSTS)
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.get_yticklabels()] == ["unnormalized SAM", "SAM", "LookSAM"]
    by_method = table.set_index("method")["gain"]
    drawn = [line.get_xydata()[0].tolist() for line in axes.lines if line.get_marker() == "o"]
    order = ("unnormalized-sam", "sam", "looksam")
    np.testing.assert_allclose(drawn, [(by_method[m], height) for height, m in enumerate(order)])
    segments = [collection.get_segments()[0] for collection in axes.collections]
    low, high = (table.set_index("method")[end].loc[list(order)] for end in ("low", "high"))
    np.testing.assert_allclose([segment[:, 0] for segment in segments], np.stack([low, high], axis=1))
    assert labels(figure) == ["1.2", "2"]


def test_methods_against_radius_has_a_panel_per_method_with_the_reference_and_the_baseline():
    table = radii_of(results_table(of_family(growing), widths=(10,), methods=FAMILY, rhos=(0.05, 0.1, 0.2)))
    figure = figures.methods_against_radius(table, ACCURACY, ["unnormalized-sam", "looksam"], "sam")
    assert [axes.get_title() for axes in figure.axes] == ["unnormalized SAM", "LookSAM"]
    for axes, method in zip(figure.axes, ("unnormalized-sam", "looksam"), strict=True):
        level, reference, mine = axes.lines
        assert level.get_ydata()[0] == table.loc[table["method"] == "sgd", "value"].item()
        for drawn, name in ((reference, "sam"), (mine, method)):
            expected = table[table["method"] == name][["rho", "value"]]
            np.testing.assert_array_equal(drawn.get_xydata(), expected)
    assert labels(figure) == ["method", "SAM", "SGD"]


# All ---------------------------------------------------------------------------------------------------------------

CASES = {
    "one width": {"widths": (10,)},
    "one radius": {"rhos": (0.1,)},
    "radius 0 among the radii": {"rhos": (0.0, 0.05, 0.2)},
    "several settings": {"label_noise": (0.0, 0.2, 0.4, 0.6)},
    "several methods": {"methods": METHODS},
    "four methods": {"methods": FAMILY},
    "one seed": {"seeds": (3,)},
    "some losses not a number": {"metric": "loss", "diverged": lambda n: n.width == 10 and n.seed == 1},
    "no loss a number": {"metric": "loss", "diverged": lambda n: True},
    "less than a decade": {"widths": (10, 12, 14)},
    "many widths": {"widths": tuple(range(10, 110, 10)), "seeds": (0, 1)},
}


def all_figures(options) -> dict[str, Figure]:
    results = results_table(growing, **options)
    wording, gains, radii = wording_for(design_of(results).metric), gains_of(results), radii_of(results)
    one = radii[radii["method"].isin(("sgd", "sam")) & (radii["label_noise"] == radii["label_noise"].min())]
    return {
        "gain": figures.gain_against_parameters(gains, wording),
        "radius": figures.radius_against_parameters(gains, wording),
        "metric": figures.metric_against_parameters(gains, wording),
        "train loss": figures.train_loss_against_parameters(gains, wording),
        "by radius": figures.metric_against_radius(one, wording),
        "learning curves": figures.learning_curves(history_table(results), wording),
    } | of_one_setting(gains, radii, wording)


SPARSE = {
    "one level": {"levels": (0.5,)},
    "many close levels": {"levels": (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)},
    "several methods": {"methods": METHODS},
    "one seed": {"seeds": (0,)},
    "no dense network": {"dense": False},
    "one pruned network alone": {"dense": False, "levels": (0.9,), "pruners": ("snip",)},
    "all diverged": {"diverged": lambda network: True},
}


@pytest.mark.parametrize(
    "case", [case if case == "many close levels" else pytest.param(case, marks=pytest.mark.slow) for case in SPARSE]
)
def test_the_axis_of_sparsity_has_room_for_its_numbers(case):
    figure = figures.gain_against_sparsity(pruned(**SPARSE[case]), PRUNED_BY)
    assert_nothing_is_cut_off(figure)
    renderer = figure.canvas.get_renderer()
    boxes = [text.get_window_extent(renderer) for text in figure.axes[0].get_xticklabels()]
    assert boxes
    assert not any(one.overlaps(other) for one, other in itertools.pairwise(boxes))


def of_one_setting(gains, radii, wording) -> dict[str, Figure]:
    """The figures that compare methods in one setting."""
    first = gains[(gains["width"] == gains["width"].min()) & (gains["label_noise"] == gains["label_noise"].min())]
    same = radii[(radii["width"] == radii["width"].min()) & (radii["label_noise"] == radii["label_noise"].min())]
    methods = list(first["method"])
    return {
        "methods by radius": figures.methods_against_radius(same, wording, methods, "sam"),
        "gain by cost": figures.gain_by_cost(first, wording, COSTS),
    }


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_is_drawn_in_its_unit_and_named(name):
    metric = METRICS[name]
    drawn = all_figures({"metric": name, "widths": (10,)})
    assert drawn["metric"].axes[0].get_ylabel().replace("\n", " ") == f"test {metric.label}"
    assert drawn["gain"].axes[0].get_ylabel().replace("\n", " ") == metric.gain_label
    assert drawn["learning curves"].axes[1].get_ylabel() == f"validation {metric.label}"
    # At radius 0.2 the seeds' mean at 1,000 parameters is 0.573.
    assert line(drawn["metric"], "SAM")[0, 1] == pytest.approx(metric.scale * (0.573 if metric.sign > 0 else 0.563))


def test_the_baseline_has_the_title_of_the_base_optimizer():
    wording = wording_for(sgd="AdamW")
    table = gains()
    assert title(figures.gain_against_parameters(table, wording)) == "gain of SAM over AdamW; band: 95% interval"
    assert labels(figures.metric_against_parameters(table, wording)) == ["AdamW", "SAM"]
    figure = figures.metric_against_radius(radii(), wording)
    draw(figure)
    assert ticks(figure.axes[0].xaxis)[0] == "AdamW"


# Those that draw most in the default run; the rest of them after it.
USUAL = ("several settings", "some losses not a number")


@pytest.mark.parametrize(
    "case", [case if case in USUAL else pytest.param(case, marks=pytest.mark.slow) for case in CASES]
)
def test_nothing_is_cut_off_and_no_legend_covers_data(case):
    for figure in all_figures(CASES[case]).values():
        assert_nothing_is_cut_off(figure)


@pytest.mark.parametrize("widths", [(10,), (10, 12), (15, 16), (30, 40), (10, 100), (1, 3000), (9, 31)])
def test_the_axis_of_parameters_always_has_numbers(widths):
    figure = figures.metric_against_parameters(gains(widths=widths), ACCURACY)
    draw(figure)
    assert len(shown_ticks(figure.axes[0])) >= min(2, len(widths))


@pytest.mark.parametrize(
    ("count", "text"),
    [(882.0, "882"), (1_000.0, "1k"), (25_482.0, "25.5k"), (999_999.0, "1M"), (1.2e6, "1.2M"), (3e9, "3G")],
)
def test_counts_are_short(count, text):
    assert drawing.short_count(count) == text


@pytest.mark.slow
def test_labels_of_a_phone_can_be_read():
    for figure in all_figures({}).values():
        draw(figure)
        assert_letters_can_be_read(figure)


def test_drawing_needs_no_display_and_leaves_no_global_figure():
    assert "matplotlib.pyplot" not in __import__("sys").modules or not matplotlib.pyplot.get_fignums()


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_the_same_table_gives_the_same_bytes(kind):
    table = gains(label_noise=(0.0, 0.2))
    first, second = (figures.gain_against_parameters(table, ACCURACY) for _ in range(2))
    content = image(first, kind)
    assert image(first, kind) == content
    assert image(second, kind) == content
