"""Figures of the mechanisms behind SAM: curvature against the radius, loss against steps, functions, spectra."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, FixedLocator, FuncFormatter, MaxNLocator, NullLocator, SymmetricalLogLocator

from widebasin.report.drawing import (
    COLOURS,
    GREY,
    HEIGHT,
    MARKERS,
    WIDTH,
    clean,
    legend,
    marks_apart,
    new_figure,
    shades,
)
from widebasin.report.mechanism_tables import TOLERANCE
from widebasin.report.wording import Wording
from widebasin.statistics.intervals import interval_name

QUANTITIES = {
    "sharpness": "sharpness",
    "s2": "non-uniformity s₂",
    "s3": "non-uniformity s₃",
    "s4": "non-uniformity s₄",
    "trace": "trace",
}


def curvature_against_radius(
    means: pd.DataFrame, wording: Wording, columns: Sequence[str], bounds: Mapping[tuple[str, float], float | None]
) -> Figure:
    """Curvature quantities against the radius, one panel each, with t intervals over seeds and the baseline's level.

    Args:
        means: rows of ``statistics.measurements.means_over_seeds`` by method and radius, of one setting.
        wording: the wording of the table.
        columns: the quantities.
        bounds: (quantity, radius) -> bound of the necessary condition, where one exists.
    """
    figure, panels = _panels(len(columns), 0.4 + 1.75 * -(-len(columns) // 2), sharey=False)
    base, rest = (
        means[means["method"] == wording.design.baseline],
        means[means["method"] != wording.design.baseline].sort_values("rho", kind="stable"),
    )
    methods = list(dict.fromkeys(rest["method"]))
    looks = list(zip(methods, itertools.cycle(COLOURS), itertools.cycle(MARKERS), strict=False))
    marks = sorted(rest.loc[rest["rho"] > 0, "rho"].unique())
    bound_look: dict[str, Any] = {"color": "black", "linestyle": ":", "linewidth": 1, "marker": "_", "markersize": 8}
    bounded = False
    for axes, column in zip(panels, columns, strict=True):
        axes.set_title(QUANTITIES.get(column, column), fontsize="small")
        axes.tick_params(labelsize="small")
        if len(base):
            axes.axhline(base[column].iloc[0], color=GREY, linestyle="--", linewidth=1)
            if np.isfinite(base[f"{column}_low"].iloc[0]):
                axes.axhspan(
                    base[f"{column}_low"].iloc[0], base[f"{column}_high"].iloc[0], color=GREY, alpha=0.12, lw=0
                )
        for method, colour, marker in looks:
            rows = rest[(rest["method"] == method) & (rest["rho"] > 0)]
            axes.plot(rows["rho"], rows[column], marker=marker, color=colour, markersize=4)
            axes.vlines(rows["rho"], rows[f"{column}_low"], rows[f"{column}_high"], color=colour, alpha=0.6)
        # A bound far above what is measured would flatten it: it is in the table.
        top = axes.get_ylim()[1]
        limits = [(rho, bounds.get((column, rho))) for rho in marks]
        near = [(rho, limit) for rho, limit in limits if limit is not None and limit < 1.5 * top]
        if near:
            axes.plot(*zip(*near, strict=True), **bound_look)
            bounded = True
        axes.set_ylim(bottom=0)
    _radius_axis(panels[0], marks)
    figure.supxlabel("radius rho", fontsize="medium")
    handles: list[Line2D] = []
    if len(base):
        handles.append(Line2D([], [], color=GREY, linestyle="--", linewidth=1, label=wording.baseline))
    handles += [Line2D([], [], color=c, marker=m, markersize=4, label=wording.method(n)) for n, c, m in looks]
    if bounded:
        handles.append(Line2D([], [], label="bound of condition (7)", **bound_look))
    has_intervals = np.isfinite(means[[f"{column}_low" for column in columns]].to_numpy(float)).any()
    legend(figure, handles, f"mean over seeds; bars and band: {interval_name()}" if has_intervals else "")
    return figure


def second_moment_against_growth(judged: pd.DataFrame) -> Figure:
    """Condition (6) against the simulation: the eigenvalue of S and the simulated growth, one point per network.

    Both minus 1, on axes linear within 0.001, the accuracy of the eigenvalues, and logarithmic beyond.

    Args:
        judged: measurements of ``stability``: ``second_moment``, ``growth``, ``multiple``.
    """
    figure, axes = new_figure("condition (6): largest eigenvalue of S, less 1", "simulated growth per step, less 1")
    multiples = sorted(judged["multiple"].unique())
    handles = []
    for multiple, colour, marker in zip(multiples, shades(len(multiples)), itertools.cycle(MARKERS), strict=False):
        rows = judged[judged["multiple"] == multiple]
        name = "learning rate of training" if multiple == 1 else f"{multiple:g} times"
        axes.plot(
            rows["second_moment"] - 1,
            rows["growth"] - 1,
            marker,
            color=colour,
            alpha=0.7,
            markersize=5,
            mew=0,
            zorder=3,
        )
        handles.append(Line2D([], [], color=colour, marker=marker, linestyle="", label=name))
    axes.axvspan(-TOLERANCE, TOLERANCE, color=GREY, alpha=0.15, lw=0)
    axes.axhspan(-TOLERANCE, TOLERANCE, color=GREY, alpha=0.15, lw=0)
    axes.set_xscale("symlog", linthresh=TOLERANCE)
    axes.set_yscale("symlog", linthresh=TOLERANCE)
    # Numbers beside each other need more room than above each other.
    decades = SymmetricalLogLocator(base=10, linthresh=TOLERANCE)
    decades.set_params(numticks=5)
    axes.xaxis.set_major_locator(decades)
    legend(figure, handles, "mean squared distance, linearized dynamics; grey: 1 to a thousandth")
    return figure


def loss_against_steps(
    curves: pd.DataFrame, wording: Wording, guarantees: Mapping[tuple[int, str, float], tuple[float, float]]
) -> Figure:
    """Training loss on a logarithmic axis against steps, one panel per width, one line per method and radius.

    Args:
        curves: one row per width, method, radius and epoch: ``step``, ``loss`` (geometric mean over seeds), ``low`` and
            ``high`` (smallest and largest); all positive.
        wording: the wording of the table.
        guarantees: (width, method, radius) -> factor per step that the theory guarantees, and the first step it applies
            to.
    """
    widths = sorted(curves["width"].unique())
    figure, panels = _panels(len(widths))
    groups = list(dict.fromkeys(zip(curves["method"], curves["rho"], strict=True)))
    others = [group for group in groups if group[0] != wording.design.baseline]
    shade = iter(shades(len(others)))
    colours = {group: next(shade) if group in others else GREY for group in groups}
    guaranteed = False
    for axes, width in zip(panels, widths, strict=False):
        rows = curves[curves["width"] == width]
        axes.set_title(f"width {width} ({rows['num_params'].iloc[0]:,} parameters)", fontsize="small")
        for method, rho in groups:
            one = rows[(rows["method"] == method) & (rows["rho"] == rho)]
            # The baseline lies on top, dashed: where methods agree, all of them are seen.
            look: dict[str, Any] = {
                "color": colours[method, rho],
                "linewidth": 1.2,
                "zorder": 2 + (method == wording.design.baseline),
            }
            axes.plot(one["step"], one["loss"], linestyle=_line_style(method, wording), **look)
            axes.fill_between(one["step"], one["low"], one["high"], color=colours[method, rho], alpha=0.15, linewidth=0)
            factor, begin = guarantees.get((width, method, rho), (None, 0.0))
            late = one[one["step"] >= begin]
            if factor is not None and len(late):
                steps = late["step"].to_numpy(float)
                line = late["loss"].iloc[0] * np.exp((steps - steps[0]) * np.log(factor))
                axes.plot(steps, line, ":", color=colours[method, rho], linewidth=1)
                guaranteed = True
    panels[0].set_yscale("log")
    if len(curves):
        panels[0].set_ylim(curves["low"].min() / 2, 2 * curves["high"].max())
    panels[0].xaxis.set_major_locator(MaxNLocator(4))
    panels[0].xaxis.set_major_formatter(EngFormatter(sep=""))
    _label_left(panels, "training loss")
    figure.supxlabel("steps", fontsize="medium")
    handles, title = _group_handles(colours, wording)
    if guaranteed:
        handles.append(Line2D([], [], color="black", linestyle=":", linewidth=1, label="guaranteed"))
    several = bool((curves["low"] < curves["high"]).any())
    title += ["geometric mean over seeds", "band: all seeds"] if several else []
    legend(figure, handles, "; ".join(title))
    return figure


def functions_on_a_line(
    outputs: pd.DataFrame, wording: Wording, points: tuple[np.ndarray, np.ndarray], seed: int
) -> Figure:
    """The functions that one-input networks compute, one panel per width; one seed drawn in full, the others faint.

    Args:
        outputs: one row per network and input: ``width``, ``method``, ``rho``, ``seed``, ``x``, ``output``.
        wording: the wording of the table.
        points: inputs and targets that the networks were trained on.
        seed: the seed drawn in full.
    """
    widths = sorted(outputs["width"].unique())
    figure, panels = _panels(len(widths))
    groups = list(dict.fromkeys(zip(outputs["method"], outputs["rho"], strict=True)))
    # The last colour is that of the points.
    palette = COLOURS if len(groups) < len(COLOURS) else shades(len(groups))
    colours = dict(zip(groups, palette, strict=False))
    for axes, width in zip(panels, widths, strict=False):  # one panel, empty, where all networks diverged
        axes.set_title(f"{width} neurons", fontsize="small")
        for (method, rho, of), rows in outputs[outputs["width"] == width].groupby(
            ["method", "rho", "seed"], sort=False
        ):
            chosen = of == seed
            look: dict[str, Any] = {"color": colours[method, rho], "linestyle": _line_style(method, wording)}
            axes.plot(rows["x"], rows["output"], linewidth=1.6 if chosen else 0.6, alpha=1 if chosen else 0.25, **look)
        axes.plot(*points, "o", color="black", markersize=3.5, zorder=5)
    _label_left(panels, "output")
    figure.supxlabel("input", fontsize="medium")
    handles, title = _group_handles(colours, wording)
    handles.append(Line2D([], [], color="black", marker="o", markersize=3.5, linestyle="", label="training points"))
    title += [f"thick: seed {seed}", "faint: the other seeds"] if outputs["seed"].nunique() > 1 else []
    legend(figure, handles, "; ".join(title))
    return figure


def _group_handles(colours: Mapping[tuple[str, float], Any], wording: Wording) -> tuple[list[Line2D], list[str]]:
    """Legend entries, one per method and radius, and words for the title: the method, if it has several lines."""
    methods = [method for method, _ in colours if method != wording.design.baseline]
    common = methods[0] if len(methods) > 1 and len(set(methods)) == 1 else None
    handles = []
    for (method, rho), colour in colours.items():
        words = [] if method == common else [wording.method(method)]
        words += [] if method == wording.design.baseline else [f"rho {rho:g}"]
        style = _line_style(method, wording)
        handles.append(Line2D([], [], color=colour, linestyle=style, label=", ".join(words)))
    return handles, [wording.method(common)] if common else []


def _line_style(method: str, wording: Wording) -> Literal["--", "-"]:
    return "--" if method == wording.design.baseline else "-"


def _panels(count: int, height: float | None = None, sharey: bool = True) -> tuple[Figure, list[Axes]]:
    """A figure with at least one panel, two per row."""
    rows, columns = max(1, -(-count // 2)), min(max(1, count), 2)
    figure = Figure(figsize=(WIDTH, height or HEIGHT + 1.9 * (rows - 1)), layout="constrained")
    panels = list(figure.subplots(rows, columns, sharex=True, sharey=sharey, squeeze=False).ravel())
    for axes in panels:
        clean(axes)
    for axes in panels[max(1, count) :]:
        axes.remove()
    # Above a place without a panel, the axis has its numbers.
    panels[max(0, count - columns)].tick_params(labelbottom=True)
    return figure, panels[: max(1, count)]


def _label_left(panels: Sequence[Axes], label: str) -> None:
    for axes in panels[::2]:
        axes.set_ylabel(label)


def _radius_axis(axes: Axes, marks: Sequence[float]) -> None:
    """Makes the axis logarithmic and labels the radii that have room: the ends, and radii far enough apart."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(marks_apart(marks, 0.28)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))


def spectral_densities(nodes: pd.DataFrame) -> Figure:
    """Spectra of the Hessian, smoothed, on a logarithmic axis, one line per network.

    Args:
        nodes: ``network`` (its name), ``eigenvalue``, ``weight``.
    """
    figure, axes = new_figure("eigenvalue of the Hessian", "density")
    low, high = float(nodes["eigenvalue"].min()), float(nodes["eigenvalue"].max())
    width = (high - low) / 100 or 1.0
    grid = np.linspace(low - 3 * width, high + 3 * width, 600)
    handles = []
    for (name, rows), colour in zip(
        nodes.groupby("network", sort=False), shades(nodes["network"].nunique()), strict=True
    ):
        distance = (grid[:, None] - rows["eigenvalue"].to_numpy()[None]) / width
        density = np.exp(-0.5 * distance**2) @ rows["weight"].to_numpy() / (width * np.sqrt(2 * np.pi))
        handles += axes.plot(grid, density, color=colour, label=str(name), linewidth=1.2)
    axes.set_yscale("log")
    # Below one eigenvalue in a hundred thousand there is nothing but the tails of the smoothing.
    highest = max(line.get_ydata().max() for line in handles)
    axes.set_ylim(1e-5 / (width * np.sqrt(2 * np.pi)), 2 * highest)
    legend(figure, handles)
    return figure


def loss_along_directions(losses: pd.DataFrame) -> Figure:
    """Loss along a filter-normalized random direction and along the top eigenvector, one line per network.

    The loss axis is logarithmic if the positive losses span more than a decade.

    Args:
        losses: ``network`` (its name), ``direction`` (``random`` or ``eigenvector``), ``offset``, ``loss``.
    """
    figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    names = list(dict.fromkeys(losses["network"]))
    colours = dict(zip(names, shades(len(names)), strict=True))
    for axes, direction, title in zip(
        panels, ("random", "eigenvector"), ("random, filter-normalized", "top eigenvector"), strict=True
    ):
        clean(axes)
        axes.set_title(title, fontsize="small")
        for name in names:
            rows = losses[(losses["network"] == name) & (losses["direction"] == direction)]
            axes.plot(rows["offset"], rows["loss"], color=colours[name], linewidth=1.2)
    low, high = losses["loss"].min(), losses["loss"].max()
    if 0 < 10 * low < high:
        panels[0].set_yscale("log")
    panels[0].set_ylabel("training loss")
    figure.supxlabel("offset of the parameters", fontsize="medium")
    legend(figure, [Line2D([], [], color=colours[name], label=name) for name in names])
    return figure


def metric_against_scale(gains: pd.DataFrame, wording: Wording) -> Figure:
    """The test metric of the baseline and the methods, each at its chosen radius, against the scale alpha.

    Args:
        gains: rows of ``statistics.gains.gain_table`` of one width.
        wording: the wording of the table.
    """
    figure, axes = new_figure("scale alpha of the outputs", f"test {wording.metric.label}")
    first = gains.drop_duplicates("output_scale").sort_values("output_scale")
    handles = axes.plot(first["output_scale"], first["baseline_value"], "s--", color=GREY, label=wording.baseline)
    for number, (method, rows) in enumerate(gains.sort_values("output_scale").groupby("method", sort=False)):
        look = f"{MARKERS[number % len(MARKERS)]}-"
        handles += axes.plot(
            rows["output_scale"],
            rows["value"],
            look,
            color=COLOURS[number % len(COLOURS)],
            label=wording.method(method),
        )
    axes.set_xscale("log")
    legend(figure, handles, "mean over seeds, every method at its own radius")
    return figure


def unchanged_against_scale(means: pd.DataFrame, wording: Wording) -> Figure:
    """The fraction of activations unchanged since initialization against the scale alpha, one line per method.

    Args:
        means: rows of ``statistics.measurements.means_over_seeds`` for ``unchanged``, by ``output_scale`` and
            ``method``.
        wording: the wording of the table.
    """
    figure, axes = new_figure("scale alpha of the outputs", "unchanged activations (%)")
    handles: list[Line2D] = []
    for number, (method, rows) in enumerate(means.groupby("method", sort=False)):
        # An interval of a share goes no further than the share can.
        low, high = (100 * rows[f"unchanged_{end}"].clip(0, 1) for end in ("low", "high"))
        colour = GREY if method == wording.design.baseline else COLOURS[(number - 1) % len(COLOURS)]
        look = "s--" if method == wording.design.baseline else f"{MARKERS[(number - 1) % len(MARKERS)]}-"
        handles += axes.plot(
            rows["output_scale"], 100 * rows["unchanged"], look, color=colour, label=wording.method(method)
        )
        axes.fill_between(rows["output_scale"], low, high, color=colour, alpha=0.18, linewidth=0)
    axes.set_xscale("log")
    axes.set_ylim(top=min(102, axes.get_ylim()[1]))
    certain = means["unchanged_low"].notna().any()
    band = f"; band: {interval_name()}" if certain else ""
    legend(figure, handles, f"ReLU and max-pool patterns on test examples{band}")
    return figure


def size_against_width(means: pd.DataFrame, column: str, label: str) -> Figure:
    """A size of every layer against the width, on logarithmic axes, one panel per parametrization, one line per layer.

    Bars are t intervals over seeds. Of more layers than there are colours, those of one role share a colour.

    Args:
        means: rows of ``statistics.measurements.means_over_seeds`` for the logarithm to base 10 of the size, by
            ``parametrization``, ``layer``, ``role`` and ``width``.
        column: the size.
        label: its name.
    """
    parametrizations = list(dict.fromkeys(means["parametrization"]))
    figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
    panels = list(figure.subplots(1, len(parametrizations), sharex=True, sharey=True, squeeze=False).ravel())
    layers = dict(zip(means["layer"], means["role"], strict=True))
    by_layer = len(layers) <= len(COLOURS)
    kinds = list(layers) if by_layer else list(dict.fromkeys(layers.values()))
    looks = dict(zip(kinds, zip(COLOURS, itertools.cycle(MARKERS), strict=False), strict=False))
    for axes, parametrization in zip(panels, parametrizations, strict=True):
        clean(axes)
        axes.set_title(parametrization, fontsize="small")
        for layer, role in layers.items():
            rows = means[(means["parametrization"] == parametrization) & (means["layer"] == layer)]
            colour, marker = looks[layer if by_layer else role]
            look: dict[str, Any] = {"color": colour, "linewidth": 1.2 if by_layer else 0.7}
            axes.plot(rows["width"], 10 ** rows[column], marker=marker, markersize=4 if by_layer else 2, **look)
            if by_layer:
                ends = (10 ** rows[f"{column}_{end}"] for end in ("low", "high"))
                axes.vlines(rows["width"], *ends, color=colour, alpha=0.5)
        axes.set_yscale("log")
    certain = means[np.isfinite(means[f"{column}_low"])] if by_layer else means.head(0)
    cut = _limit_sizes(panels[0], means[column], certain[f"{column}_low"], certain[f"{column}_high"])
    widths = sorted(means["width"].unique())
    _radius_axis(panels[0], widths)
    panels[0].xaxis.set_major_locator(FixedLocator(marks_apart(widths, 0.12 * len(parametrizations))))
    panels[0].set_ylabel(label)
    figure.supxlabel("width", fontsize="medium")
    handles = [
        Line2D([], [], color=colour, marker=marker, markersize=4, label=f"{kind}, {layers[kind]}" if by_layer else kind)
        for kind, (colour, marker) in looks.items()
    ]
    bars = f"; bars: {interval_name()}{', cut off where it is long' if cut else ''}" if len(certain) else ""
    legend(figure, handles, f"geometric mean over seeds{bars}")
    return figure


def _limit_sizes(axes: Axes, logarithms: pd.Series, lows: pd.Series, highs: pd.Series) -> bool:
    """Sets the limits of a logarithmic axis: intervals may double its range; returns whether one is cut off."""
    low, high = logarithms.min(), logarithms.max()
    room = max(high - low, 0.3)
    lowest, highest = min([low, *lows]), max([high, *highs])
    bottom, top = max(lowest, low - room / 2), min(highest, high + room / 2)
    margin = 0.05 * max(top - bottom, 0.3)
    axes.set_ylim(10 ** (bottom - margin), 10 ** (top + margin))
    return (bottom, top) != (lowest, highest)
