"""The figures of gains, one function each: from a table to a matplotlib figure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from widebasin.report.drawing import (
    COLOURS,
    GREY,
    HEIGHT,
    MARKERS,
    WIDTH,
    clean,
    legend,
    limit_gains,
    marks_apart,
    move_beside,
    new_figure,
    parameters_axis,
    shades,
)
from widebasin.report.wording import Wording
from widebasin.statistics.intervals import interval_name

# With more learning curves than this, the legend names widths and methods instead of curves.
NAMED_CURVES = 8


def gain_against_parameters(
    gains: pd.DataFrame, wording: Wording, published: Mapping[int, float] | None = None, published_label: str = ""
) -> Figure:
    """Paired gain over the baseline against the number of parameters, with its t interval.

    A single series has its interval as a band; several series have bars, drawn a few points apart. An interval far
    wider than the range of the gains is cut at the axis, and the legend says so.

    Args:
        gains: rows of ``statistics.gains.gain_table``.
        wording: the wording of the table.
        published: number of parameters -> gain that a paper reports, drawn as a separate line.
        published_label: its name in the legend.
    """
    figure, axes = new_figure("number of parameters", wording.metric.gain_label)
    axes.axhline(0, color="0.5", linewidth=0.8)
    series = _series(gains, wording)
    certain = gains[np.isfinite(gains["low"]) & np.isfinite(gains["high"])]
    band = len(series) == 1 and len(certain) > 1
    for number, one in enumerate(series):
        drawn: list[Artist] = [
            *axes.plot(one.rows["num_params"], one.rows["gain"], one.format, color=one.colour, label=one.label)
        ]
        rows = one.rows[one.rows.index.isin(certain.index)]
        if band:
            axes.fill_between(
                one.rows["num_params"], one.rows["low"], one.rows["high"], color=one.colour, alpha=0.18, linewidth=0
            )
        elif len(rows):
            drawn.append(axes.vlines(rows["num_params"], rows["low"], rows["high"], color=one.colour, alpha=0.6))
        move_beside(axes, drawn, number, len(series))
    extra = []
    if published:
        extra = axes.plot(list(published), list(published.values()), "s--", color="0.35", label=published_label)
    cut = limit_gains(axes, [*gains["gain"], 0.0, *(published or {}).values()], certain)
    parameters_axis(axes, [*gains["num_params"], *(published or {})])
    title = _gain_title(gains, wording, len(certain) > 0, "band" if band else "bars", cut)
    legend(figure, [*_handles(series), *extra], title)
    return figure


def gain_against_sparsity(gains: pd.DataFrame, wording: Wording) -> Figure:
    """Paired gain over the baseline against the fraction of pruned weights, with its t interval.

    One line per pruning method and training method; all start at the dense network. Colours and markers are those of
    ``gain_against_parameters``.

    Args:
        gains: rows of ``statistics.gains.gain_table`` of one width, including dense networks (sparsity 0), with a
            column ``network``: how each was pruned.
        wording: the wording of the table.
    """
    figure, axes = new_figure("sparsity (share of weights pruned)", wording.metric.gain_label)
    axes.axhline(0, color="0.5", linewidth=0.8)
    levels = sorted(set(gains["sparsity"]))
    # Levels are on the axis: they tell no series apart.
    gains = gains.sort_values("sparsity", kind="stable").rename(columns={"sparsity": "level"})
    series = _series(gains.assign(sparsity=0.0, pruner=""), wording)
    begins = {one.method: one.rows.iloc[0] for one in series if (one.rows["level"] == 0).all()}
    for number, one in enumerate(series):
        kept = 1 - one.rows["level"]
        drawn: list[Artist] = [*axes.plot(kept, one.rows["gain"], one.format, color=one.colour, label=one.label)]
        drawn.append(axes.vlines(kept, one.rows["low"], one.rows["high"], color=one.colour, alpha=0.6))
        if one.method in begins and (one.rows["level"] > 0).all():
            first, begin = one.rows.sort_values("level").iloc[0], begins[one.method]
            drawn += axes.plot([1, 1 - first["level"]], [begin["gain"], first["gain"]], "-", color=one.colour, zorder=1)
        move_beside(axes, drawn, number, len(series))
    certain = gains[np.isfinite(gains["low"])]
    cut = limit_gains(axes, [*gains["gain"], 0.0], certain)
    marks = [1 - level for level in levels]
    margin = (marks[0] / marks[-1]) ** 0.05 if len(marks) > 1 else 2.0
    # Limits first: a logarithmic axis cannot find its own where there is one level, or no finite gain.
    axes.set_xlim(marks[0] * margin, marks[-1] / margin)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(marks_apart(marks, 0.14)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: wording.value("sparsity", 1 - x)))
    legend(figure, _handles(series), _gain_title(gains, wording, len(certain) > 0, "bars", cut))
    return figure


def gain_by_cost(gains: pd.DataFrame, wording: Wording, costs: Mapping[str, float]) -> Figure:
    """Paired gain of every method with its t interval, one row each, sorted by gradients per step, then by gain.

    Args:
        gains: rows of ``statistics.gains.gain_table`` of one setting, one per method.
        wording: the wording of the table.
        costs: method -> gradients per step.
    """
    rows = gains.assign(cost=gains["method"].map(costs)).sort_values(["cost", "gain"], ascending=[False, True])
    figure, axes = new_figure(wording.metric.gain_label, "")
    figure.set_figheight(max(1.4, 0.24 * len(rows) + 0.7))
    axes.axvline(0, color="0.5", linewidth=0.8)
    levels = sorted(set(rows["cost"]))
    colours = dict(zip(levels, shades(len(levels)), strict=True))
    for height, row in enumerate(rows.to_dict("records")):
        colour = colours[row["cost"]]
        if np.isfinite(row["low"]):
            axes.hlines(height, row["low"], row["high"], color=colour, alpha=0.6)
        axes.plot(row["gain"], height, "o", color=colour)
    certain = rows[np.isfinite(rows["low"])]
    finite = rows["gain"][np.isfinite(rows["gain"])]
    cut = limit_gains(axes, [*finite, 0.0], certain, "x")
    axes.set_yticks(range(len(rows)), [wording.method(m) for m in rows["method"]])
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.grid(visible=False, axis="y")
    handles = [Line2D([], [], color=colours[c], marker="o", linestyle="", label=f"{c:.3g}") for c in levels]
    title = f"gain over {wording.baseline}; gradients per step by colour"
    if len(certain):
        title += f"; lines: {interval_name()}{', cut at the axis' if cut else ''}"
    legend(figure, handles, title)
    return figure


def radius_against_parameters(gains: pd.DataFrame, wording: Wording) -> Figure:
    """The chosen radius rho* against the number of parameters; equal radii are drawn a few points apart."""
    figure, axes = new_figure("number of parameters", "chosen radius rho*")
    series = _series(gains, wording)
    for number, one in enumerate(series):
        drawn = axes.plot(one.rows["num_params"], one.rows["rho_star"], one.format, color=one.colour, label=one.label)
        move_beside(axes, drawn, number, len(series), diagonal=True)
    parameters_axis(axes, gains["num_params"])
    radii = sorted(set(gains["rho_star"]))
    if radii[-1] > 0:
        smallest = next(r for r in radii if r > 0)
        axes.set_yscale("log") if radii[0] > 0 else axes.set_yscale("symlog", linthresh=smallest)
    axes.yaxis.set_major_locator(FixedLocator(radii))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    legend(figure, _handles(series))
    return figure


def metric_against_parameters(gains: pd.DataFrame, wording: Wording) -> Figure:
    """The test metric of baseline and methods against the number of parameters."""
    return _baseline_and_methods(gains, wording, f"test {wording.metric.label}", "baseline_value", "value")


def train_loss_against_parameters(gains: pd.DataFrame, wording: Wording) -> Figure:
    """Final loss on the whole training set against the number of parameters; near 0, networks interpolate."""
    return _baseline_and_methods(gains, wording, "training loss", "baseline_train_loss", "train_loss")


def metric_against_radius(radii: pd.DataFrame, wording: Wording) -> Figure:
    """The test metric against the radius, one line per network size; the baseline is at the left, as radius 0.

    Args:
        radii: rows of ``statistics.gains.radius_table`` for the baseline and one method, in one setting except for the
            size (width or sparsity).
        wording: the wording of the table.
    """
    figure, axes = new_figure("radius rho", f"test {wording.metric.label}")
    # Widths alone tell no sizes apart: networks of one width may be pruned to several.
    sizes = list(radii.groupby(["num_params", "width"]))
    mine = radii[radii["method"] != wording.design.baseline]
    positive = sorted(r for r in mine["rho"].unique() if r > 0)
    at_zero = positive[0] / 3 if positive else 1.0
    zero = f"0 ({wording.baseline})" if (mine["rho"] == 0).any() else wording.baseline
    handles = []
    for number, (((num_params, _), size), shade) in enumerate(zip(sizes, shades(len(sizes)), strict=True)):
        count = f"{num_params:,}"
        rows = size[size["method"] != wording.design.baseline]
        rows = rows.assign(at=rows["rho"].where(rows["rho"] > 0, at_zero)).sort_values("at")
        drawn = axes.errorbar(
            rows["at"], rows["value"], rows["standard_error"], fmt="o-", color=shade, label=count, markersize=5
        )
        base = size[size["method"] == wording.design.baseline]
        drawn_base = axes.errorbar([at_zero] * len(base), base["value"], base["standard_error"], fmt="x", color=shade)
        for line, _, bars in (drawn, drawn_base):
            move_beside(axes, [line, *bars], number, len(sizes))
        handles.append(Line2D([], [], color=shade, marker="o", markersize=5, label=count))
    axes.set_xscale("log")
    axes.set_xlim(at_zero / 1.3, max(positive, default=at_zero) * 1.3)
    axes.xaxis.set_major_locator(FixedLocator([at_zero, *positive]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: zero if x == at_zero else f"{x:g}"))
    legend(figure, handles, f"number of parameters; ×: {wording.baseline}; bars: standard error")
    return figure


def methods_against_radius(radii: pd.DataFrame, wording: Wording, methods: Sequence[str], reference: str) -> Figure:
    """The test metric against the radius, one panel per method, each with the baseline and a reference method.

    Args:
        radii: rows of ``statistics.gains.radius_table`` of one setting.
        wording: the wording of the table.
        methods: the methods in the order of the panels, without the baseline.
        reference: the method drawn in grey in every panel.
    """
    columns = min(3, len(methods))
    rows = -(-len(methods) // columns)
    figure = Figure(figsize=(WIDTH, 0.5 + 1.15 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    positive = radii[radii["rho"] > 0].sort_values("rho")
    lines = {method: positive[positive["method"] == method] for method in (*methods, reference)}
    level = radii.loc[radii["method"] == wording.design.baseline, "value"]
    marks = sorted(positive["rho"].unique())
    for axes, method in zip(panels, methods, strict=False):
        clean(axes)
        axes.axhline(level.iloc[0], color=GREY, linestyle="--", linewidth=1)
        if len(lines[reference]):
            axes.plot(lines[reference]["rho"], lines[reference]["value"], "-", color="0.75")
        axes.plot(lines[method]["rho"], lines[method]["value"], "o-", color=COLOURS[0], markersize=3)
        axes.set_title(wording.method(method), fontsize="small")
        axes.tick_params(labelsize="small")
    for axes in panels[len(methods) :]:
        axes.set_visible(False)
    for axes in panels[max(0, len(methods) - columns) : len(methods)]:
        axes.tick_params(labelbottom=True)
    panels[0].set_xscale("log")
    panels[0].xaxis.set_major_locator(FixedLocator([marks[0], marks[len(marks) // 2], marks[-1]] if marks else []))
    panels[0].xaxis.set_minor_locator(NullLocator())
    panels[0].xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    figure.supxlabel("radius rho", fontsize="medium")
    figure.supylabel(f"test {wording.metric.label}", fontsize="medium")
    handles = [Line2D([], [], color=COLOURS[0], marker="o", markersize=3, label="method")]
    if len(lines[reference]):
        handles.append(Line2D([], [], color="0.75", label=wording.method(reference)))
    handles.append(Line2D([], [], color=GREY, linestyle="--", linewidth=1, label=wording.baseline))
    legend(figure, handles)
    return figure


def learning_curves(history: pd.DataFrame, wording: Wording) -> Figure:
    """Training loss and validation metric against the epoch, one line per group of networks that differ only by seed.

    A line is the mean over its networks and ends where one of them diverges. A few lines are named one by one; for
    many, the legend gives the widths by colour and the methods by dashes.
    """
    figure = Figure(figsize=(WIDTH, 1.7 * HEIGHT), layout="constrained")
    upper, lower = figure.subplots(2, sharex=True)
    settings = wording.design.varying(history)
    groups = list(history.groupby(["width", "method", "rho", *settings]))
    widths = sorted(history["width"].unique())
    methods = list(dict.fromkeys(history["method"]))
    few = len(groups) <= NAMED_CURVES
    # One colour per line if they are few, else one per width.
    colours = dict(zip(widths, shades(len(widths)), strict=True))
    each = shades(len(groups))
    styles = dict(zip(methods, ("-", "--", ":", "-.") * len(methods), strict=False))
    marker = "o" if history["epoch"].nunique() == 1 else ""
    valid = wording.design.column("valid")
    handles = []
    for number, ((width, method, *_), rows) in enumerate(groups):
        means = rows.groupby("epoch")[["train_loss", valid]].agg(lambda values: values.to_numpy(float).mean())
        look: dict[str, Any] = {
            "color": each[number] if few else colours[width],
            "linestyle": styles[method],
            "marker": marker,
            "label": wording.network(rows.iloc[0], settings),
        }
        handles += upper.plot(means.index, means["train_loss"], **look)
        lower.plot(means.index, wording.metric.scale * means[valid], **look)
    if not few:
        handles = [Line2D([], [], color=colours[w], label=f"width {w}") for w in widths]
        handles += [Line2D([], [], color=GREY, linestyle=styles[m], label=wording.method(m)) for m in methods]
    for axes, label in ((upper, "training loss, epoch's mean"), (lower, f"validation {wording.metric.label}")):
        clean(axes)
        axes.set_ylabel(label)
    lower.set_xlabel("epoch")
    lower.xaxis.get_major_locator().set_params(integer=True)
    legend(figure, handles, "" if few else "one line per radius and setting, mean over seeds")
    return figure


@dataclass(frozen=True)
class _Series:
    """One line: a method in one setting, in order of size."""

    method: str
    setting: str
    colour: Any
    marker: str
    rows: pd.DataFrame

    @property
    def label(self) -> str:
        return f"{self.method}, {self.setting}" if self.setting else self.method

    @property
    def format(self) -> str:
        return f"{self.marker}-"


def _series(gains: pd.DataFrame, wording: Wording) -> list[_Series]:
    """Colours distinguish settings if there are several, else methods; markers distinguish methods."""
    columns = wording.design.varying(gains)
    names = pd.Series(wording.settings(gains), gains.index)
    settings, methods = list(dict.fromkeys(names)), list(dict.fromkeys(gains["method"]))
    coloured = settings if columns else methods
    colours = COLOURS if len(coloured) <= len(COLOURS) else shades(len(coloured))
    return [
        _Series(
            method=wording.method(method),
            setting=setting,
            colour=colours[coloured.index(setting if columns else method)],
            marker=MARKERS[methods.index(method) % len(MARKERS)],
            rows=gains[(names == setting) & (gains["method"] == method)].sort_values("num_params"),
        )
        for setting in settings
        for method in methods
        if ((names == setting) & (gains["method"] == method)).any()
    ]


def _handles(series: Sequence[_Series], baseline: str = "") -> list[Line2D]:
    """Legend entries: the settings by colour and, if there are several, baseline and methods by marker."""
    settings = {s.setting: s for s in series}
    methods = {s.method: s for s in series}
    several = "" not in settings
    handles = []
    if several:
        alone = len(methods) == 1 and not baseline
        for setting, one in settings.items():
            handles.append(Line2D([], [], color=one.colour, marker=one.marker if alone else "", label=setting))
    if baseline:
        handles.append(Line2D([], [], color=GREY, marker="s", linestyle="--", label=baseline))
    if not several or len(methods) > 1 or baseline:
        for method, one in methods.items():
            handles.append(Line2D([], [], color=GREY if several else one.colour, marker=one.marker, label=method))
    return handles


def _gain_title(gains: pd.DataFrame, wording: Wording, certain: bool, interval: str, cut: bool) -> str:
    """The legend's title: which method gains over which baseline, and how intervals are drawn."""
    methods = {wording.method(m) for m in gains["method"]}
    title = f"gain{f' of {methods.pop()}' if len(methods) == 1 else ''} over {wording.baseline}"
    return f"{title}; {interval}: {interval_name()}{', cut at the axis' if cut else ''}" if certain else title


def _baseline_and_methods(
    gains: pd.DataFrame, wording: Wording, label: str, baseline_column: str, column: str
) -> Figure:
    figure, axes = new_figure("number of parameters", label)
    series = _series(gains, wording)
    baseline = wording.baseline
    drawn = set()
    for one in series:
        if one.setting not in drawn:
            name = f"{baseline}, {one.setting}" if one.setting else baseline
            colour = one.colour if one.setting else GREY
            axes.plot(one.rows["num_params"], one.rows[baseline_column], "s--", color=colour, label=name)
            drawn.add(one.setting)
        axes.plot(one.rows["num_params"], one.rows[column], one.format, color=one.colour, label=one.label)
    parameters_axis(axes, gains["num_params"])
    legend(figure, _handles(series, baseline))
    return figure
