import itertools

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from report.layout import assert_letters_can_be_read, assert_nothing_is_cut_off, draw, labels, title
from report.results_tables import wording_for

from widebasin.report import mechanism_figures
from widebasin.sam import METHODS
from widebasin.statistics.measurements import means_over_seeds

COLUMNS = ("sharpness", "s2", "s3", "s4")
WORDING = wording_for()


def lines(axes, style: str) -> list[np.ndarray]:
    """Points of the drawn lines of a style."""
    return [line.get_xydata() for line in axes.lines if line.get_linestyle() == style]


def shown_ticks(axis) -> list:
    low, high = sorted(axis.get_view_interval())
    return [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high and tick.label1.get_text()]


# Curvature against the radius --------------------------------------------------------------------------------------


def curvature(methods=("sam",), rhos=(0.01, 0.02, 0.05), seeds=3, baseline=True, columns=COLUMNS) -> pd.DataFrame:
    """Means of quantities that fall with the radius, 10 k - 20 rho + seed for the k-th; SGD has 10 k + seed."""
    networks = [("sgd", 0.0)] * baseline + list(itertools.product(methods, rhos))
    rows = [
        {"method": method, "rho": rho, "seed": seed}
        | {column: 10.0 * k - 20 * rho + seed for k, column in enumerate(columns, 1)}
        for method, rho in networks
        for seed in range(seeds)
    ]
    table = pd.DataFrame(rows, columns=["method", "rho", "seed", *columns])
    return means_over_seeds(table, ["method", "rho"], columns)


def against_radius(bounds=None, columns=COLUMNS, **options) -> Figure:
    return mechanism_figures.curvature_against_radius(
        curvature(columns=columns, **options), WORDING, columns, bounds or {}
    )


def test_a_panel_per_quantity_has_its_means_intervals_and_the_level_of_the_baseline():
    means = curvature()
    figure = against_radius()
    assert [axes.get_title() for axes in figure.axes] == [
        "sharpness",
        "non-uniformity s₂",
        "non-uniformity s₃",
        "non-uniformity s₄",
    ]
    base, rest = means.iloc[0], means.iloc[1:]
    for axes, column in zip(figure.axes, COLUMNS, strict=True):
        (drawn,) = lines(axes, "-")
        np.testing.assert_array_equal(drawn, rest[["rho", column]])
        (level,) = lines(axes, "--")
        np.testing.assert_array_equal(level[:, 1], base[column])
        (bars,) = axes.collections
        ends = [[(row.rho, low), (row.rho, high)] for row, low, high in zip(
            rest.itertuples(), rest[f"{column}_low"], rest[f"{column}_high"], strict=True
        )]  # fmt: skip
        np.testing.assert_allclose(bars.get_segments(), ends)
        (band,) = axes.patches
        box = band.get_bbox()
        np.testing.assert_allclose([box.y0, box.y1], [base[f"{column}_low"], base[f"{column}_high"]])
        assert (axes.get_xscale(), axes.get_yscale(), axes.get_ylim()[0]) == ("log", "linear", 0.0)
    assert labels(figure) == ["SGD", "SAM"]
    assert title(figure) == "mean over seeds; bars and band: 95% interval"
    assert figure.get_supxlabel() == "radius rho"


def test_bounds_are_drawn_where_they_exist_and_are_near():
    bounds = {
        ("sharpness", 0.01): 12.0,
        ("sharpness", 0.05): 14.0,
        ("s2", 0.01): 1e3,
        ("s2", 0.02): None,
        ("s3", 0.05): 31.0,
    }
    figure = against_radius(bounds)
    sharpness, second, third, fourth = (lines(axes, ":") for axes in figure.axes)
    np.testing.assert_array_equal(sharpness, [[(0.01, 12.0), (0.05, 14.0)]])
    # A single bound is a mark: a line through one point is invisible.
    np.testing.assert_array_equal(third, [[(0.05, 31.0)]])
    assert {line.get_marker() for line in figure.axes[2].lines if line.get_linestyle() == ":"} == {"_"}
    assert second == fourth == []
    assert figure.axes[1].get_ylim()[1] < 100
    assert labels(figure) == ["SGD", "SAM", "bound of condition (7)"]
    assert "bound of condition (7)" not in labels(against_radius({("s2", 0.01): 1e3}))


def test_one_seed_has_no_intervals():
    figure = against_radius(seeds=1)
    draw(figure)
    assert title(figure) == ""
    assert all(not axes.patches for axes in figure.axes)


def test_no_baseline_has_no_level():
    figure = against_radius(baseline=False)
    assert labels(figure) == ["SAM"]
    assert lines(figure.axes[0], "--") == []


def test_every_method_is_drawn_however_many_there_are():
    methods = [method for method in METHODS if method != "sgd"]
    figure = against_radius(methods=methods)
    assert len(methods) > 7
    assert labels(figure) == ["SGD", *(METHODS[method].title for method in methods)]
    assert len(lines(figure.axes[0], "-")) == len(methods)
    looks = {(line.get_color(), line.get_marker()) for line in figure.axes[0].lines[1:]}
    assert len(looks) == len(methods)


@pytest.mark.parametrize("columns", [COLUMNS[:1], COLUMNS[:2], COLUMNS[:3], (*COLUMNS, "trace")])
def test_the_lowest_panel_of_every_column_has_the_radii(columns):
    figure = against_radius(columns=columns)
    draw(figure)
    assert len(figure.axes) == len(columns)
    numbered = [bool(axes.xaxis.get_tick_params()["labelbottom"]) for axes in figure.axes]
    assert numbered == [k >= len(columns) - 2 for k in range(len(columns))]


@pytest.mark.parametrize(
    ("rhos", "shown"),
    [
        ((0.1,), ["0.1"]),
        ((0.0, 0.1), ["0.1"]),
        ((0.0005, 0.001, 0.002, 0.005), ["0.0005", "0.001", "0.002", "0.005"]),
        ((0.01, 0.011, 0.1), ["0.01", "0.1"]),
        ((0.01, 0.09, 0.1), ["0.01", "0.1"]),
    ],
)
def test_the_radii_are_on_the_axis_where_their_numbers_have_room(rhos, shown):
    figure = against_radius(rhos=rhos)
    draw(figure)
    assert [text.get_text() for text in shown_ticks(figure.axes[-1].xaxis)] == shown


# Condition (6) against the simulation ------------------------------------------------------------------------------


def verdicts(multiples=(1.0, 4.0), networks=5) -> pd.DataFrame:
    rows = [
        {"multiple": m, "second_moment": 1 + (m - 0.9) * 10.0 ** (k - 4), "growth": 1 + (m - 2) * 10.0 ** (k - 5)}
        for k in range(networks)
        for m in multiples
    ]
    return pd.DataFrame(rows, columns=["multiple", "second_moment", "growth"])


def test_every_network_is_a_point_of_what_both_exceed_1_by():
    judged = verdicts()
    figure = mechanism_figures.second_moment_against_growth(judged)
    (axes,) = figure.axes
    assert len(axes.lines) == 2
    for drawn, multiple in zip(axes.lines, (1.0, 4.0), strict=True):
        rows = judged[judged["multiple"] == multiple]
        np.testing.assert_allclose(drawn.get_xydata(), rows[["second_moment", "growth"]] - 1)
        assert drawn.get_marker() not in ("None", "")
    assert labels(figure) == ["learning rate of training", "4 times"]
    assert (axes.get_xscale(), axes.get_yscale()) == ("symlog", "symlog")


def test_what_is_1_to_a_thousandth_is_shaded_on_both_axes():
    (axes,) = mechanism_figures.second_moment_against_growth(verdicts()).axes
    upright, lying = (patch.get_bbox() for patch in axes.patches)
    assert (upright.x0, upright.x1) == (lying.y0, lying.y1) == (-1e-3, 1e-3)


def test_equal_places_of_different_learning_rates_have_other_marks():
    multiples = tuple(float(2**k) for k in range(8))
    figure = mechanism_figures.second_moment_against_growth(verdicts(multiples))
    looks = {(to_hex(line.get_color()), line.get_marker()) for line in figure.axes[0].lines}
    assert len(looks) == len(labels(figure)) == 8


# Loss against steps ------------------------------------------------------------------------------------------------


def loss_curves(widths=(4, 10), networks=(("sgd", 0.0), ("sam", 0.01), ("sam", 0.1)), spread=2.0, epochs=30):
    """Geometric falls, by 0.9 less a hundredth per network and epoch of 10 steps."""
    rows = [
        {"width": width, "num_params": 100 * width, "method": method, "rho": rho, "step": 10 * epoch}
        | {"loss": loss, "low": loss / spread, "high": loss * spread}
        for width in widths
        for k, (method, rho) in enumerate(networks)
        for epoch in range(1, epochs + 1)
        for loss in ((0.9 - 0.01 * k) ** epoch,)
    ]
    return pd.DataFrame(rows, columns=["width", "num_params", "method", "rho", "step", "loss", "low", "high"])


def test_losses_have_a_panel_per_width_and_a_line_and_a_band_per_network():
    curves = loss_curves()
    figure = mechanism_figures.loss_against_steps(curves, WORDING, {})
    assert [axes.get_title() for axes in figure.axes] == ["width 4 (400 parameters)", "width 10 (1,000 parameters)"]
    for axes, width in zip(figure.axes, (4, 10), strict=True):
        rows = curves[curves["width"] == width]
        expected = [group[["step", "loss"]] for _, group in rows.groupby(["method", "rho"])]
        drawn = [*lines(axes, "-"), *lines(axes, "--")]
        np.testing.assert_array_equal(drawn, np.array(expected))
        assert len(axes.collections) == 3
        corners = {tuple(point) for point in axes.collections[0].get_paths()[0].vertices}
        first = rows[rows["method"] == "sgd"].iloc[-1]
        assert {(first.step, first.low), (first.step, first.high)} <= corners
        assert axes.get_yscale() == "log"
    assert [axes.get_ylabel() for axes in figure.axes] == ["training loss", ""]


def test_one_method_is_named_once_and_several_at_every_radius():
    figure = mechanism_figures.loss_against_steps(loss_curves(), WORDING, {})
    assert labels(figure) == ["SGD", "rho 0.01", "rho 0.1"]
    assert title(figure) == "SAM; geometric mean over seeds; band: all seeds"
    figure = mechanism_figures.loss_against_steps(
        loss_curves(networks=(("sgd", 0.0), ("sam", 0.1), ("asam", 1.0))), WORDING, {}
    )
    assert labels(figure) == ["SGD", "SAM, rho 0.1", "ASAM, rho 1"]
    assert title(figure) == "geometric mean over seeds; band: all seeds"


def test_one_seed_has_no_band_to_explain():
    figure = mechanism_figures.loss_against_steps(loss_curves(spread=1.0), WORDING, {})
    assert title(figure) == "SAM"


@pytest.mark.parametrize("place", [0, 1, 2])
def test_the_baseline_is_grey_dashed_and_on_top_wherever_it_comes(place):
    networks = [("sam", 0.01), ("sam", 0.1)]
    networks.insert(place, ("sgd", 0.0))
    figure = mechanism_figures.loss_against_steps(loss_curves(networks=networks), WORDING, {})
    colours = [to_hex(line.get_color()) for line in figure.axes[0].lines]
    styles = [line.get_linestyle() for line in figure.axes[0].lines]
    heights = [line.get_zorder() for line in figure.axes[0].lines]
    assert [style == "--" for style in styles] == [k == place for k in range(3)]
    assert len(set(colours)) == 3
    assert colours[place] == to_hex("0.4")
    assert heights[place] > max(heights[:place] + heights[place + 1 :])


def test_what_is_guaranteed_begins_at_the_first_loss_and_falls_by_its_factor():
    curves = loss_curves()
    figure = mechanism_figures.loss_against_steps(
        curves, WORDING, {(10, "sam", 0.1): (0.995, 0.0), (99, "sam", 0.1): (0.5, 0.0)}
    )
    assert lines(figure.axes[0], ":") == []
    (drawn,) = lines(figure.axes[1], ":")
    steps = 10 * np.arange(1, 31)
    np.testing.assert_array_equal(drawn[:, 0], steps)
    np.testing.assert_allclose(drawn[:, 1], 0.88 * 0.995 ** (steps - 10))
    assert labels(figure)[-1] == "guaranteed"
    assert "guaranteed" not in labels(
        mechanism_figures.loss_against_steps(curves, WORDING, {(99, "sam", 0.1): (0.5, 0.0)})
    )


def test_a_steep_guarantee_does_not_stretch_the_axis():
    curves = loss_curves()
    figure = mechanism_figures.loss_against_steps(curves, WORDING, {(4, "sam", 0.1): (0.1, 0.0)})
    np.testing.assert_allclose(figure.axes[0].get_ylim(), [curves["low"].min() / 2, 2 * curves["high"].max()])


# Functions on a line -----------------------------------------------------------------------------------------------

POINTS = np.linspace(-1, 1, 5), np.linspace(-1, 1, 5) ** 2


def functions(widths=(10, 100), networks=(("sgd", 0.0), ("sam", 0.1)), seeds=(3, 4, 5)) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"width": width, "method": method, "rho": rho, "seed": seed, "x": x, "output": x**2 + rho * seed}
            for width in widths
            for method, rho in networks
            for seed in seeds
            for x in np.linspace(-1.25, 1.25, 9)
        ]
    )


def test_every_function_is_drawn_and_one_seed_in_full():
    outputs = functions()
    figure = mechanism_figures.functions_on_a_line(outputs, WORDING, POINTS, seed=4)
    assert [axes.get_title() for axes in figure.axes] == ["10 neurons", "100 neurons"]
    for axes in figure.axes:
        *drawn, points = axes.lines
        np.testing.assert_array_equal(points.get_xydata(), np.transpose(POINTS))
        assert (points.get_linestyle(), points.get_marker()) == ("None", "o")
        rows = outputs[outputs["width"] == 10].groupby(["method", "rho", "seed"], sort=False)
        np.testing.assert_array_equal([line.get_xydata() for line in drawn], [one[["x", "output"]] for _, one in rows])
        assert [line.get_alpha() == 1 for line in drawn] == [False, True, False] * 2
        assert [line.get_linestyle() for line in drawn] == ["--"] * 3 + ["-"] * 3
        assert len({line.get_color() for line in drawn}) == 2
    assert labels(figure) == ["SGD", "SAM, rho 0.1", "training points"]
    assert title(figure) == "thick: seed 4; faint: the other seeds"


def test_one_seed_has_no_others_to_explain():
    assert title(mechanism_figures.functions_on_a_line(functions(seeds=(0,)), WORDING, POINTS, seed=0)) == ""
    mechanism_figures.functions_on_a_line(functions().iloc[:0], WORDING, POINTS, seed=0)  # all networks diverged


@pytest.mark.parametrize("count", [5, 6, 9])
def test_networks_of_a_line_differ_in_colour_from_each_other_and_from_the_points(count):
    networks = [("sgd", 0.0), *(("sam", 0.1 * k) for k in range(1, count))]
    figure = mechanism_figures.functions_on_a_line(functions(networks=networks, seeds=(0,)), WORDING, POINTS, seed=0)
    assert len({to_hex(line.get_color()) for line in figure.axes[0].lines}) == count + 1
    assert labels(figure) == ["SGD", *(f"rho {rho:g}" for _, rho in networks[1:]), "training points"]
    assert title(figure) == "SAM"


# Spectra and landscapes --------------------------------------------------------------------------------------------


def spectra(names=("one", "other"), spread=1.0) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"network": name, "eigenvalue": spread * value + k * spread, "weight": weight}
            for k, name in enumerate(names)
            for value, weight in ((-0.1, 0.1), (0.0, 0.6), (3.0, 0.3))
        ]
    )


@pytest.mark.parametrize("spread", [1e-6, 1.0, 1e5])
def test_densities_have_the_mass_and_the_mean_of_the_nodes(spread):
    figure = mechanism_figures.spectral_densities(spectra(spread=spread))
    for k, drawn in enumerate(figure.axes[0].lines):
        x, density = drawn.get_xydata().T
        np.testing.assert_allclose(np.trapezoid(density, x), 1.0, rtol=2e-3)
        np.testing.assert_allclose(np.trapezoid(x * density, x) / spread, 0.89 + k, atol=0.02)
    assert labels(figure) == ["one", "other"]
    assert figure.axes[0].get_yscale() == "log"
    # A single eigenvalue of ten thousand is still seen.
    low, high = figure.axes[0].get_ylim()
    width = spread * 4.1 / 100
    assert low < 1e-4 / (width * np.sqrt(2 * np.pi))
    # The tails, which underflow, do not stretch the axis.
    highest = max(line.get_ydata().max() for line in figure.axes[0].lines)
    assert highest < high < 10 * highest


def test_one_eigenvalue_alone_has_a_density():
    one = pd.DataFrame({"network": ["a"], "eigenvalue": [2.0], "weight": [1.0]})
    (drawn,) = mechanism_figures.spectral_densities(one).axes[0].lines
    x, density = drawn.get_xydata().T
    assert x[np.argmax(density)] == pytest.approx(2.0, abs=0.02)


def landscapes(names=("one", "other"), lowest=0.1, highest=2.0) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"network": name, "direction": direction, "offset": x}
            | {"loss": lowest + (highest - lowest) * x**2 / (1 + k + (direction == "random"))}
            for k, name in enumerate(names)
            for direction in ("random", "eigenvector")
            for x in np.linspace(-1, 1, 11)
        ]
    )


def test_landscapes_have_a_panel_per_direction_and_a_line_per_network():
    losses = landscapes()
    figure = mechanism_figures.loss_along_directions(losses)
    assert [axes.get_title() for axes in figure.axes] == ["random, filter-normalized", "top eigenvector"]
    for axes, direction in zip(figure.axes, ("random", "eigenvector"), strict=True):
        rows = losses[losses["direction"] == direction]
        expected = [rows[rows["network"] == name][["offset", "loss"]] for name in ("one", "other")]
        np.testing.assert_array_equal([line.get_xydata() for line in axes.lines], expected)
    assert [line.get_color() for line in figure.axes[0].lines] == [line.get_color() for line in figure.axes[1].lines]
    assert labels(figure) == ["one", "other"]


@pytest.mark.parametrize(
    ("lowest", "highest", "scale"),
    [(0.1, 2.0, "log"), (1.0, 5.0, "linear"), (0.0, 5.0, "linear"), (-1.0, 5.0, "linear")],
)
def test_losses_are_on_a_logarithmic_axis_where_it_helps(lowest, highest, scale):
    figure = mechanism_figures.loss_along_directions(landscapes(lowest=lowest, highest=highest))
    assert {axes.get_yscale() for axes in figure.axes} == {scale}


# All ---------------------------------------------------------------------------------------------------------------

LONG = tuple(
    f"width 400, unnormalized SAM, rho 0.0005, label noise {k}0%, weight decay 0.0001, learning rate 0.01"
    for k in range(6)
)
MANY = [("sgd", 0.0), *(("random-perturbation", 0.001 * 2**k) for k in range(8))]


# The linearized regime ---------------------------------------------------------------------------------------------


def by_scale(scales=(0.1, 1.0, 100.0, 1e6), methods=("sam", "unnormalized-sam")) -> pd.DataFrame:
    """Rows of a table of gains, of which the figure takes the values: the baseline's and those of the methods."""
    rows = [
        {"output_scale": scale, "method": method, "baseline_value": 80.0 - number, "value": 82.0 - 3 * number + place}
        for number, scale in enumerate(scales)
        for place, method in enumerate(methods)
    ]
    return pd.DataFrame(rows)


def unchanged_shares(scales=(0.1, 1.0, 100.0, 1e6), methods=("sgd", "sam"), seeds=3, spread=0.02) -> pd.DataFrame:
    rows = [
        {"output_scale": scale, "method": method, "seed": seed}
        | {"unchanged": (number + 1) / 5 - 0.1 * place + spread * (seed - 1)}
        for place, method in enumerate(methods)
        for number, scale in enumerate(scales)
        for seed in range(seeds)
    ]
    return means_over_seeds(pd.DataFrame(rows), ["output_scale", "method"], ["unchanged"])


def test_the_metric_against_the_scale_is_the_baselines_dashed_and_the_methods():
    table = by_scale()
    figure = mechanism_figures.metric_against_scale(table, WORDING)
    (axes,) = figure.axes
    assert labels(figure) == ["SGD", "SAM", "unnormalized SAM"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("scale alpha of the outputs", "test accuracy (%)")
    assert axes.get_xscale() == "log"
    (dashed,) = lines(axes, "--")
    np.testing.assert_array_equal(dashed, table[table["method"] == "sam"][["output_scale", "baseline_value"]])
    for drawn, method in zip(lines(axes, "-"), ("sam", "unnormalized-sam"), strict=True):
        np.testing.assert_array_equal(drawn, table[table["method"] == method][["output_scale", "value"]])


def test_unchanged_activations_are_in_percent_with_bands_that_end_at_0_and_100():
    means = unchanged_shares(spread=0.2)
    figure = mechanism_figures.unchanged_against_scale(means, WORDING)
    (axes,) = figure.axes
    assert labels(figure) == ["SGD", "SAM"]
    assert axes.get_ylabel() == "unchanged activations (%)"
    assert title(figure).endswith("; band: 95% interval")
    for drawn, method in zip((*lines(axes, "--"), *lines(axes, "-")), ("sgd", "sam"), strict=True):
        rows = means[means["method"] == method]
        np.testing.assert_allclose(drawn, np.c_[rows["output_scale"], 100 * rows["unchanged"]])
    assert means["unchanged_low"].min() < 0 < 1 < means["unchanged_high"].max()
    corners = np.concatenate([band.get_paths()[0].vertices[:, 1] for band in axes.collections])
    assert (corners.min(), corners.max()) == (0, 100)
    low, high = axes.get_ylim()
    assert low <= 0 < 100 <= high <= 102


def test_shares_that_are_all_small_have_an_axis_of_their_own():
    figure = mechanism_figures.unchanged_against_scale(unchanged_shares((1.0,), spread=0.001), WORDING)
    assert figure.axes[0].get_ylim()[1] < 30


def test_one_seed_has_shares_without_a_band():
    assert "interval" not in title(mechanism_figures.unchanged_against_scale(unchanged_shares(seeds=1), WORDING))


FIGURES = {
    "metric by scale": lambda: mechanism_figures.metric_against_scale(by_scale(), WORDING),
    "metric by scale, one": lambda: mechanism_figures.metric_against_scale(by_scale((1.0,), ("sam",)), WORDING),
    "metric by scale, all methods": lambda: mechanism_figures.metric_against_scale(
        by_scale((1e-2, 1e7), [method for method in METHODS if method != "sgd"]), WORDING
    ),
    "unchanged": lambda: mechanism_figures.unchanged_against_scale(unchanged_shares(), WORDING),
    "unchanged, one network": lambda: mechanism_figures.unchanged_against_scale(
        unchanged_shares((1e4,), ("sgd",), seeds=1), WORDING
    ),
    "unchanged, all methods": lambda: mechanism_figures.unchanged_against_scale(
        unchanged_shares(methods=METHODS), WORDING
    ),
    "curvature": against_radius,
    "curvature, one quantity, one radius, one seed": lambda: against_radius(
        columns=COLUMNS[:1], rhos=(0.1,), seeds=1, bounds={("sharpness", 0.1): 9.0}
    ),
    "curvature, three quantities, many close radii, all methods": lambda: against_radius(
        {("s2", 0.001): 25.0},
        COLUMNS[:3],
        methods=[m for m in METHODS if m != "sgd"],
        rhos=(0.001, 0.0012, 0.0015, 0.002),
    ),
    "curvature, large numbers": lambda: mechanism_figures.curvature_against_radius(
        means_over_seeds(
            pd.DataFrame(
                {"method": "sam", "rho": [0.1, 0.1, 0.2, 0.2], "seed": [0, 1] * 2, "trace": [1e6, 1.1e6, 2e5, 2.2e5]}
            ),
            ["method", "rho"],
            ["trace"],
        ),
        WORDING,
        ["trace"],
        {},
    ),
    "curvature, no network": lambda: against_radius(methods=(), baseline=False),
    "curvature, baseline alone": lambda: against_radius(methods=()),
    "verdicts": lambda: mechanism_figures.second_moment_against_growth(verdicts()),
    "verdicts, one": lambda: mechanism_figures.second_moment_against_growth(verdicts((1.0,), 1)),
    "verdicts, many": lambda: mechanism_figures.second_moment_against_growth(verdicts((0.5, 1.0, 2.0, 4.0, 8.0, 16.0))),
    "verdicts, none": lambda: mechanism_figures.second_moment_against_growth(verdicts(networks=0)),
    "losses": lambda: mechanism_figures.loss_against_steps(loss_curves(), WORDING, {(4, "sam", 0.1): (0.99, 0.0)}),
    "losses, one": lambda: mechanism_figures.loss_against_steps(
        loss_curves((4,), (("sgd", 0.0),), spread=1.0, epochs=1), WORDING, {}
    ),
    "losses, many": lambda: mechanism_figures.loss_against_steps(
        loss_curves((10, 20, 1000), MANY).assign(step=lambda t: 10_000 * t["step"]),
        WORDING,
        {(10, *MANY[1]): (0.999, 0.0)},
    ),
    "losses, none": lambda: mechanism_figures.loss_against_steps(loss_curves(()), WORDING, {}),
    "functions": lambda: mechanism_figures.functions_on_a_line(functions(), WORDING, POINTS, 3),
    "functions, one": lambda: mechanism_figures.functions_on_a_line(functions((10,), seeds=(0,)), WORDING, POINTS, 0),
    "functions, many": lambda: mechanism_figures.functions_on_a_line(
        functions((5, 10, 20, 50, 100), MANY), WORDING, POINTS, 3
    ),
    "spectra": lambda: mechanism_figures.spectral_densities(spectra()),
    "spectra, long names": lambda: mechanism_figures.spectral_densities(spectra(LONG, 1e6)),
    "landscapes": lambda: mechanism_figures.loss_along_directions(landscapes()),
    "landscapes, long names": lambda: mechanism_figures.loss_along_directions(landscapes(LONG, 1.0, 3.0)),
}  # fmt: skip


# Some in the default run; the rest of them after it.
USUAL = ("metric by scale", "curvature", "verdicts", "losses", "spectra")


@pytest.mark.parametrize(
    "name", [name if name in USUAL else pytest.param(name, marks=pytest.mark.slow) for name in FIGURES]
)
def test_nothing_is_cut_off_or_covered_or_too_small(name):
    figure = FIGURES[name]()
    assert_nothing_is_cut_off(figure)
    assert_letters_can_be_read(figure)
    renderer = figure.canvas.get_renderer()
    for axes in figure.axes:
        for legend in figure.legends:
            assert not legend.get_window_extent(renderer).overlaps(axes.get_tightbbox(renderer))
        for axis in (axes.xaxis, axes.yaxis):
            boxes = [text.get_window_extent(renderer) for text in shown_ticks(axis) if text.get_visible()]
            assert not any(one.overlaps(other) for one, other in itertools.pairwise(boxes))
    for one, other in itertools.combinations(figure.axes, 2):
        assert not one.get_tightbbox(renderer).overlaps(other.get_tightbbox(renderer))
    # Half of the figure at least is the panels and their numbers.
    heights = [legend.get_window_extent(renderer).height for legend in figure.legends]
    assert sum(heights) < 0.5 * figure.bbox.height


def sizes_by_width(low, high):
    """One layer, twice: 1 at width 10, and 10 or 0.1 at width 100, with an interval at the last."""
    rows = []
    for parametrization, sign in (("standard", 1), ("mup", -1)):
        for width, power in ((10, 0.0), (100, 1.0)):
            ends = (low, high) if sign * power < 0 else (np.nan, np.nan)
            named = {"parametrization": parametrization, "layer": "last", "role": "output", "width": width}
            rows.append(named | {"update": sign * power, "update_low": ends[0], "update_high": ends[1]})
    return pd.DataFrame(rows)


@pytest.mark.parametrize(("low", "high", "cut"), [(-1.5, -0.5, False), (-9.0, 7.0, True)])
def test_sizes_against_the_width_are_seen_whatever_their_intervals(low, high, cut):
    figure = mechanism_figures.size_against_width(sizes_by_width(low, high), "update", "RMS")
    standard, mup = figure.axes
    assert [axes.get_title() for axes in figure.axes] == ["standard", "mup"]
    np.testing.assert_allclose(standard.lines[0].get_ydata(), [1, 10])
    np.testing.assert_allclose(mup.lines[0].get_ydata(), [1, 0.1])
    bottom, top = np.log10(mup.get_ylim())
    assert (-2.3 if cut else -1.7) < bottom < -1.5
    assert 1 < top < (2.3 if cut else 1.3)
    assert ("cut off" in figure.legends[0].get_title().get_text()) == cut
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["last, output"]
    draw(figure)
    assert_nothing_is_cut_off(figure)
    assert_letters_can_be_read(figure)
