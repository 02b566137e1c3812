"""The figures of why it helps: curvature against the radius, loss against steps, functions, spectra."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from widebasin.report import BASELINE
from widebasin.report.drawing import (
    COLOURS,
    GREY,
    HEIGHT,
    MARKERS,
    WIDTH,
    clean,
    legend,
    method_name,
    new_figure,
    shades,
)

QUANTITIES = {
    "sharpness": "sharpness",
    "s2": "non-uniformity s₂",
    "s3": "non-uniformity s₃",
    "s4": "non-uniformity s₄",
    "trace": "trace",
}


def curvature_against_radius(
    means: pd.DataFrame,
    columns: Sequence[str],
    bounds: Mapping[tuple[str, float], float | None],
    baseline: str = BASELINE,
) -> Figure:
    """Quantities of curvature against the radius, a panel each, with 95% t intervals over seeds; the baseline level.

    Args:
        means: rows of ``statistics.means_over_seeds`` by method and radius, of one setting.
        columns: the quantities.
        bounds: (quantity, radius) -> bound of the necessary condition, where one exists.
        baseline: the method without a radius.
    """
    figure = Figure(figsize=(WIDTH, 0.4 + 1.75 * -(-len(columns) // 2)), layout="constrained")
    panels = figure.subplots(-(-len(columns) // 2), 2, sharex=True, squeeze=False).ravel()
    base, rest = means[means["method"] == baseline], means[means["method"] != baseline].sort_values("rho")
    methods = list(dict.fromkeys(rest["method"]))
    marks = sorted(rest.loc[rest["rho"] > 0, "rho"].unique())
    handles: list[Line2D] = []
    shown = False
    for axes, column in zip(panels, columns, strict=False):
        clean(axes)
        axes.set_title(QUANTITIES.get(column, column), fontsize="small")
        axes.tick_params(labelsize="small")
        if len(base):
            axes.axhline(base[column].iloc[0], color=GREY, linestyle="--", linewidth=1)
            if np.isfinite(base[f"{column}_low"].iloc[0]):
                axes.axhspan(
                    base[f"{column}_low"].iloc[0], base[f"{column}_high"].iloc[0], color=GREY, alpha=0.12, lw=0
                )
        for method, colour, marker in zip(methods, COLOURS, MARKERS, strict=False):
            rows = rest[(rest["method"] == method) & (rest["rho"] > 0)]
            axes.plot(rows["rho"], rows[column], marker=marker, color=colour, markersize=4)
            axes.vlines(rows["rho"], rows[f"{column}_low"], rows[f"{column}_high"], color=colour, alpha=0.6)
        # A bound far above what is measured would flatten it: it is in the table.
        top = axes.get_ylim()[1]
        limits = [(rho, bounds.get((column, rho))) for rho in marks]
        near = [(rho, limit) for rho, limit in limits if limit is not None and limit < 1.5 * top]
        if near:
            axes.plot(*zip(*near, strict=True), ":", color="black", linewidth=1)
            shown = True
        axes.set_ylim(bottom=0)
    for axes in panels[len(columns) :]:
        axes.set_visible(False)
    for axes in panels[max(0, len(columns) - 2) : len(columns)]:
        axes.tick_params(labelbottom=True)
    _radius_axis(panels[0], marks)
    figure.supxlabel("radius rho", fontsize="medium")
    if len(base):
        handles.append(Line2D([], [], color=GREY, linestyle="--", linewidth=1, label=method_name(baseline)))
    handles += [
        Line2D([], [], color=c, marker=m, markersize=4, label=method_name(n))
        for n, c, m in zip(methods, COLOURS, MARKERS, strict=False)
    ]
    if shown:
        handles.append(Line2D([], [], color="black", linestyle=":", linewidth=1, label="bound of condition (7)"))
    legend(figure, handles, "mean over seeds; bars and band: 95% interval")
    return figure


def second_moment_against_growth(judged: pd.DataFrame) -> Figure:
    """Condition (6) against the simulation: the verdict's eigenvalue and the simulated growth, a point per network.

    Args:
        judged: measurements of ``stability``: ``second_moment``, ``growth``, ``multiple``.
    """
    figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
    axes = figure.subplots()
    clean(axes)
    multiples = sorted(judged["multiple"].unique())
    handles = []
    for multiple, colour, marker in zip(multiples, shades(len(multiples)), MARKERS * len(multiples), strict=False):
        rows = judged[judged["multiple"] == multiple]
        name = "learning rate of training" if multiple == 1 else f"{multiple:g} times"
        axes.plot(rows["second_moment"], rows["growth"], marker, color=colour, alpha=0.8, markersize=5)
        handles.append(Line2D([], [], color=colour, marker=marker, linestyle="", label=name))
    axes.axvline(1, color="0.5", linewidth=0.8)
    axes.axhline(1, color="0.5", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("condition (6): largest eigenvalue of S")
    axes.set_ylabel("simulated growth per step")
    legend(figure, handles, "growth of the mean squared distance, linearized dynamics")
    return figure


def loss_against_steps(
    curves: pd.DataFrame, guarantees: Mapping[tuple[int, str, float], float], baseline: str = BASELINE
) -> Figure:
    """Training loss against steps on a logarithmic axis, a panel per width, one line per method and radius.

    Args:
        curves: one row per width, method, radius and epoch: ``step``, ``loss`` (geometric mean over seeds), ``low`` and
            ``high`` (smallest and largest).
        guarantees: (width, method, radius) -> factor per step that the theory guarantees.
        baseline: the method without a radius.
    """
    widths = sorted(curves["width"].unique())
    figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
    panels = figure.subplots(1, len(widths), sharex=True, sharey=True, squeeze=False).ravel()
    groups = list(dict.fromkeys(zip(curves["method"], curves["rho"], strict=True)))
    colours = dict(
        zip(groups, [GREY, *shades(len(groups) - 1)] if groups[0][0] == baseline else shades(len(groups)), strict=True)
    )
    lowest = curves["loss"][curves["loss"] > 0].min()
    for axes, width in zip(panels, widths, strict=True):
        clean(axes)
        rows = curves[curves["width"] == width]
        axes.set_title(f"width {width} ({rows['num_params'].iloc[0]:,} parameters)", fontsize="small")
        for method, rho in groups:
            one = rows[(rows["method"] == method) & (rows["rho"] == rho)]
            look: dict[str, Any] = {"color": colours[method, rho], "linewidth": 1.2}
            axes.plot(one["step"], one["loss"], linestyle="--" if method == baseline else "-", **look)
            axes.fill_between(one["step"], one["low"], one["high"], color=colours[method, rho], alpha=0.15, linewidth=0)
            factor = guarantees.get((width, method, rho))
            if factor is not None and len(one):
                steps = one["step"].to_numpy(float)
                line = one["loss"].iloc[0] * np.exp((steps - steps[0]) * np.log(factor))
                axes.plot(steps, line, ":", color=colours[method, rho], linewidth=1)
    panels[0].set_yscale("log")
    panels[0].set_ylim(bottom=lowest / 3)
    panels[0].set_ylabel("training loss")
    figure.supxlabel("steps", fontsize="medium")
    handles = []
    for method, rho in groups:
        radius = "" if method == baseline else f", rho {rho:g}"
        style = "--" if method == baseline else "-"
        handles.append(
            Line2D([], [], color=colours[method, rho], linestyle=style, label=f"{method_name(method)}{radius}")
        )
    if guarantees:
        handles.append(Line2D([], [], color="black", linestyle=":", linewidth=1, label="guaranteed"))
    legend(figure, handles, "geometric mean over seeds; band: smallest to largest")
    return figure


def functions_on_a_line(
    outputs: pd.DataFrame, points: tuple[np.ndarray, np.ndarray], seed: int, baseline: str = BASELINE
) -> Figure:
    """The functions that networks of one input compute, a panel per width; one seed in full, the others faint.

    Args:
        outputs: one row per network and place: ``width``, ``method``, ``rho``, ``seed``, ``x``, ``output``.
        points: inputs and targets that the networks were trained on.
        seed: the one in full.
        baseline: drawn first.
    """
    widths = sorted(outputs["width"].unique())
    figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
    panels = figure.subplots(1, len(widths), sharex=True, sharey=True, squeeze=False).ravel()
    groups = list(dict.fromkeys(zip(outputs["method"], outputs["rho"], strict=True)))
    colours = dict(zip(groups, COLOURS, strict=False))
    for axes, width in zip(panels, widths, strict=True):
        clean(axes)
        axes.set_title(f"{width} neurons", fontsize="small")
        for (method, rho, of), rows in outputs[outputs["width"] == width].groupby(
            ["method", "rho", "seed"], sort=False
        ):
            chosen = of == seed
            look: dict[str, Any] = {"color": colours[method, rho], "linestyle": "--" if method == baseline else "-"}
            axes.plot(rows["x"], rows["output"], linewidth=1.6 if chosen else 0.6, alpha=1 if chosen else 0.25, **look)
        axes.plot(*points, "o", color="black", markersize=3.5, zorder=5)
    panels[0].set_ylabel("output")
    figure.supxlabel("input", fontsize="medium")
    handles = [
        Line2D(
            [],
            [],
            color=colours[method, rho],
            linestyle="--" if method == baseline else "-",
            label=method_name(method) + ("" if method == baseline else f", rho {rho:g}"),
        )
        for method, rho in groups
    ]
    handles.append(Line2D([], [], color="black", marker="o", markersize=3.5, linestyle="", label="training points"))
    legend(figure, handles, f"thick: seed {seed}; faint: the other seeds")
    return figure


def _radius_axis(axes: Axes, marks: Sequence[float]) -> None:
    """Logarithmic, with the radii themselves on it, or the ends and the middle of many."""
    axes.set_xscale("log")
    few = list(marks) if len(marks) <= 4 else [marks[0], marks[len(marks) // 2], marks[-1]]
    axes.xaxis.set_major_locator(FixedLocator(few))
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
    axes.set_ylim(bottom=1e-5 / (width * np.sqrt(2 * np.pi)))
    legend(figure, handles)
    return figure


def loss_along_directions(losses: pd.DataFrame) -> Figure:
    """Loss along a filter-normalized random direction and along the top eigenvector, one line per network.

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
    positive = losses["loss"][losses["loss"] > 0]
    if len(positive) == len(losses):
        panels[0].set_yscale("log")
    panels[0].set_ylabel("training loss")
    figure.supxlabel("offset of the parameters", fontsize="medium")
    legend(figure, [Line2D([], [], color=colours[name], label=name) for name in names])
    return figure
