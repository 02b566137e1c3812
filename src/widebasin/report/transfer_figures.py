"""Figures of the transfer from small networks to large ones: the best learning rates and radii, what transfer costs.

Tables: rows of ``statistics.gains.radius_table`` (here ``means``), with a column ``parametrization`` and the learning
rate in the setting; ``Optima.table`` (``optima``) and rows of ``transfer_costs`` from ``statistics.transfer``.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.container import Container
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from widebasin.report.drawing import (
    COLOURS,
    GREY,
    MARKERS,
    WIDTH,
    clean,
    legend,
    limit_gains,
    marks_apart,
    move_beside,
    new_figure,
    shades,
)
from widebasin.report.wording import Wording
from widebasin.statistics import Metric
from widebasin.statistics.intervals import interval_name
from widebasin.statistics.transfer import LEARNING_RATE, PARAMETRIZATION, RADIUS

# Panels of a heat map side by side, labels of its axes per inch, and inches of a panel's height.
ABREAST, LABELS_PER_INCH, PANEL = 4, 6.5, 0.95
# Share of the means, the worst ones, that have one colour: those near the best are to be told apart.
WORST = 0.2
# Of the best trials in a heat map: at the width itself, and at the smallest.
OWN: dict[str, Any] = {"marker": "*", "markersize": 8, "color": "black", "markeredgecolor": "white", "mew": 0.7}
SMALLEST: dict[str, Any] = {"marker": "o", "markersize": 9, "fillstyle": "none", "color": "#D55E00", "mew": 1.6}
TITLES = {LEARNING_RATE: "learning rate", RADIUS: "radius rho"}
LINE_STYLES = ("--", "-", ":", "-.")


def heat_maps(means: pd.DataFrame, optima: pd.DataFrame, wording: Wording) -> Figure:
    """The mean test metric at every learning rate and radius, one panel per parametrization and width.

    All panels share their colours; the baseline is the first column of each. Stars: the best trial of each method, as
    chosen at this width; rings: as chosen at the smallest width. White: networks diverged.

    Args:
        means: the means; one method besides the baseline.
        optima: the best trials.
        wording: the wording of the tables.
    """
    metric, baseline = wording.metric, wording.design.baseline
    kinds, widths = _in_order(optima, PARAMETRIZATION), sorted(means["width"].unique())
    rates = sorted(means[LEARNING_RATE].unique())
    radii = sorted(means.loc[means["method"] != baseline, RADIUS].unique())
    deep = -(-len(widths) // ABREAST)
    columns = -(-len(widths) // deep)
    rows = deep * len(kinds)
    heading = 0.2 if len(kinds) > 1 else 0.0
    figure = Figure(figsize=(WIDTH, 1.0 + PANEL * rows + 0.2 * rows + heading * len(kinds)), layout="constrained")
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    colours, extend = _colours(means["value"].to_numpy(float), metric)
    names = [wording.baseline, *(f"{rho:g}" for rho in radii)]
    places = {name: place for place, name in enumerate(rates)}
    for number, kind in enumerate(kinds):
        block = panels[deep * number : deep * (number + 1)].ravel()
        for axes in block[len(widths) :]:
            axes.remove()
        best = optima[optima[PARAMETRIZATION] == kind].set_index(["width", "method"])
        for axes, width in zip(block, widths, strict=False):
            mine = means[(means[PARAMETRIZATION] == kind) & (means["width"] == width)]
            axes.pcolormesh(
                np.arange(len(names) + 1) - 0.5,
                np.arange(len(rates) + 1) - 0.5,
                _cells(mine, rates, radii, baseline),
                **colours,
            )
            axes.axvline(0.5, color="white", linewidth=1.5)
            for look, at in ((SMALLEST, widths[0]), (OWN, width)):
                for method in _in_order(mine, "method"):
                    one = best.loc[(at, method)]
                    if not np.isfinite(one[f"best_{LEARNING_RATE}"]):
                        continue
                    column = 0 if method == baseline else 1 + radii.index(one[RADIUS])
                    axes.plot(column, places[one[LEARNING_RATE]], linestyle="", clip_on=False, **look)
            axes.set_title(f"width {width}", fontsize="small", loc="left", pad=3)
            axes.tick_params(labelsize="small", length=2)
        if len(kinds) > 1:
            first = block[0]
            first.set_title(f"{_name(wording, kind)}\n{first.get_title('left')}", fontsize="small", loc="left", pad=3)
    _label_cells(panels, names, [f"{rate:g}" for rate in rates], columns, len(widths) % columns)
    figure.supxlabel(TITLES[RADIUS], fontsize="medium")
    figure.supylabel(TITLES[LEARNING_RATE], fontsize="medium")
    drawn = [axes for axes in figure.axes if axes.collections]
    bar = figure.colorbar(
        drawn[0].collections[0], ax=drawn, location="top", extend=extend, aspect=40, pad=0.12 / rows, shrink=0.9
    )
    bar.set_label(f"test {metric.label}, mean over seeds", fontsize="medium")
    bar.ax.tick_params(labelsize="small")
    handles = [
        Line2D([], [], linestyle="", label="best at this width", **OWN),
        Line2D([], [], linestyle="", label="best at the smallest width", **SMALLEST),
    ]
    legend(figure, handles, "one mark per method; white: a network diverged")
    return figure


def metric_against_radius(means: pd.DataFrame, optima: pd.DataFrame, wording: Wording) -> Figure:
    """The test metric against the radius, each width at its own best learning rate, one panel per parametrization.

    The baseline, at its own best learning rate, is at the left; a ring marks the radius that is chosen.

    Args:
        means: the means; one method besides the baseline.
        optima: the best trials.
        wording: the wording of the tables.
    """
    rows = means.merge(_keys(optima, LEARNING_RATE), on=[PARAMETRIZATION, "width", "method", LEARNING_RATE])
    baseline = wording.design.baseline
    positive = sorted(rows.loc[rows[RADIUS] > 0, RADIUS].unique())
    at_zero = positive[0] / 3 if positive else 1.0
    other = next(method for method in _in_order(rows, "method") if method != baseline)
    rows = rows.assign(at=rows[RADIUS].where(rows[RADIUS] > 0, at_zero))
    chosen = rows.merge(_keys(optima, RADIUS, LEARNING_RATE), on=list(_keys(optima, RADIUS, LEARNING_RATE)))
    figure, panels = _stacked(_in_order(optima, PARAMETRIZATION), wording)
    handles = _lines(panels, rows[rows["method"] == other], chosen[chosen["method"] == other], "o-")
    _lines(panels, rows[rows["method"] == baseline], chosen.iloc[:0], "x")
    zero = wording.baseline if (rows.loc[rows["method"] == other, RADIUS] > 0).all() else f"0 ({wording.baseline})"
    axes = next(iter(panels.values()))
    axes.set_xscale("log")
    axes.set_xlim(at_zero / 1.4, max(positive, default=at_zero) * 1.4)
    axes.xaxis.set_major_locator(FixedLocator([at_zero, *marks_apart(positive, 0.13)]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: zero if x == at_zero else f"{x:g}"))
    figure.supxlabel(f"{TITLES[RADIUS]} of {wording.method(other)}", fontsize="medium")
    bars = "; bars: standard error" if np.isfinite(rows["standard_error"]).any() else ""
    legend(figure, handles, f"width; ring: chosen radius; ×: {wording.baseline}{bars}")
    return figure


def metric_against_learning_rate(means: pd.DataFrame, optima: pd.DataFrame, wording: Wording, method: str) -> Figure:
    """The test metric of one method against its learning rate, at its best radius, one panel per parametrization.

    Args:
        means: the means.
        optima: the best trials.
        wording: the wording of the tables.
        method: the method.
    """
    rows = means[means["method"] == method].merge(
        _keys(optima, RADIUS), on=[PARAMETRIZATION, "width", "method", RADIUS]
    )
    rows = rows.assign(at=rows[LEARNING_RATE])
    chosen = rows.merge(_keys(optima, LEARNING_RATE), on=list(_keys(optima, LEARNING_RATE)))
    figure, panels = _stacked(_in_order(optima, PARAMETRIZATION), wording)
    handles = _lines(panels, rows, chosen, "o-")
    _set_values(next(iter(panels.values())), sorted(rows["at"].unique()), "x")
    figure.supxlabel(f"{TITLES[LEARNING_RATE]} of {wording.method(method)}", fontsize="medium")
    bars = "; bars: standard error" if np.isfinite(rows["standard_error"]).any() else ""
    legend(figure, handles, f"width; ring: chosen learning rate{bars}")
    return figure


def optimum_against_width(optima: pd.DataFrame, wording: Wording, setting: str) -> Figure:
    """The best learning rate or radius against the width, with its bootstrap interval, one line per parametrization.

    Args:
        optima: the best trials.
        wording: the wording of the table.
        setting: ``learning_rate``, of all methods, or ``rho``, of those with a radius above 0.
    """
    rows = optima if setting == LEARNING_RATE else optima[optima["method"] != wording.design.baseline]
    best = f"best_{setting}"
    methods = _in_order(rows, "method")
    of = f" of {wording.method(methods[0])}" if len(methods) == 1 else ""
    figure, axes = new_figure("width", f"best {TITLES[setting]}{of}")
    # On a logarithmic axis there is no 0.
    shown = rows[rows[best] > 0]
    looks = {series: look for series, look in _looks(optima).items() if series[1] in methods}
    intervals = _series(axes, shown, looks, best, f"{best}_low", f"{best}_high")
    ends = shown[[best, setting, f"{best}_low", f"{best}_high"]].to_numpy(float).ravel()
    ends = ends[np.isfinite(ends) & (ends > 0)]
    tried = {*shown[setting], ends.min(initial=np.inf), ends.max(initial=0.0)} if len(shown) else set()
    if len(shown):
        _set_values(axes, sorted(tried), "y")
        axes.set_ylim(ends.min() / 1.2, ends.max() * 1.2)
    _width_axis(axes, optima["width"])
    title = (
        f"between those tried; bars: {interval_name()}, bootstrap over seeds" if intervals else "between those tried"
    )
    legend(figure, _handles(looks, wording), title)
    return figure


def cost_against_width(costs: pd.DataFrame, wording: Wording) -> Figure:
    """The cost of transfer against the width with its t interval, one line per parametrization and method.

    Args:
        costs: the costs.
        wording: the wording of the table.
    """
    figure, axes = new_figure("width", cost_label(wording.metric))
    axes.axhline(0, color="0.5", linewidth=0.8)
    # Of one and the same networks, the difference is 0, not measured to be.
    unsure = costs.assign(**{end: costs[end].where(~costs["same"]) for end in ("low", "high")})
    looks = _looks(costs)
    _series(axes, unsure, looks, "cost", "low", "high")
    certain = unsure[np.isfinite(unsure["low"])]
    cut = limit_gains(axes, [*costs["cost"], 0.0], certain)
    _width_axis(axes, costs["width"])
    where = f"at the best of width {costs['width'].min()} instead of its own"
    title = f"{where}; bars: {interval_name()}{', cut at the axis' if cut else ''}" if len(certain) else where
    legend(figure, _handles(looks, wording), title)
    return figure


def cost_label(metric: Metric) -> str:
    """For axes: the meaning of a cost of transfer, and its unit."""
    if metric.percent:
        return f"cost of transfer: test {metric.title} lost (percentage points)"
    change = "decrease" if metric.higher_is_better else "increase"
    return f"cost of transfer: {change} of test {metric.label}"


def _in_order(table: pd.DataFrame, column: str) -> list[Any]:
    return list(dict.fromkeys(table[column]))


def _name(wording: Wording, parametrization: str) -> str:
    """A parametrization in words."""
    return wording.setting({PARAMETRIZATION: parametrization}, [PARAMETRIZATION])


def _keys(optima: pd.DataFrame, *settings: str) -> pd.DataFrame:
    """The columns that identify a network's size and method, and the given ones of its best trial."""
    return optima[[PARAMETRIZATION, "width", "method", *settings]]


def _colours(values: np.ndarray, metric: Metric) -> tuple[dict[str, Any], str]:
    """Colours, light for the best values, and at which end of the bar values lie beyond it.

    The worst values share a colour: one far from the others would leave these no differences.
    """
    finite = values[np.isfinite(values)]
    if not len(finite):
        return {"cmap": "viridis", "norm": Normalize(0, 1)}, "neither"
    worst, best = (0.0, 1.0) if metric.higher_is_better else (1.0, 0.0)
    limit = np.quantile(finite, abs(worst - WORST))
    low, high = sorted((limit, finite.max() if best else finite.min()))
    beyond = bool((finite < low).any() or (finite > high).any())
    colours = colormaps["viridis" if metric.higher_is_better else "viridis_r"]
    extend = ("min" if metric.higher_is_better else "max") if beyond else "neither"
    return {"cmap": colours, "norm": Normalize(low, high)}, extend


def _cells(rows: pd.DataFrame, rates: Sequence[float], radii: Sequence[float], baseline: str) -> np.ndarray:
    """Means of one size, [learning rate, baseline then radii]; NaN where networks diverged."""
    cells = np.full((len(rates), 1 + len(radii)), np.nan)
    for row in rows.to_dict("records"):
        column = 0 if row["method"] == baseline else 1 + radii.index(row[RADIUS])
        cells[rates.index(row[LEARNING_RATE]), column] = row["value"]
    return np.ma.masked_invalid(cells)


def _label_cells(panels: np.ndarray, names: Sequence[str], rates: Sequence[str], columns: int, last: int) -> None:
    """Labels as many columns and rows of cells as have room; where no panel is below, the axis has its numbers."""
    across = _spread(len(names), LABELS_PER_INCH * 3.4 / columns)
    up = _spread(len(rates), LABELS_PER_INCH * PANEL)
    panels[0, 0].set_xticks(across, [names[place] for place in across])
    panels[0, 0].set_yticks(up, [rates[place] for place in up])
    for axes in panels[-1]:
        axes.tick_params(axis="x", labelrotation=90)
    if last:
        for axes in panels[-2][last:]:
            axes.tick_params(axis="x", labelbottom=True, labelrotation=90)


def _spread(count: int, room: float) -> list[int]:
    """Places with both ends, as many as have room, equally far apart but for the last step."""
    step = max(1, -(-(count - 1) // max(1, int(room) - 1)))
    places = list(range(0, count - 1, step))
    if len(places) > 1 and count - 1 - places[-1] < step:
        places.pop()
    return [*places, count - 1]


def _stacked(kinds: Sequence[str], wording: Wording) -> tuple[Figure, dict[str, Axes]]:
    """A figure with one panel per parametrization, one above the other, so that optima can be compared."""
    figure = Figure(figsize=(WIDTH, 0.6 + 1.7 * len(kinds) + 0.6 * (len(kinds) == 1)), layout="constrained")
    panels = figure.subplots(len(kinds), 1, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, kind in zip(panels, kinds, strict=True):
        clean(axes)
        if len(kinds) > 1:
            axes.set_title(_name(wording, kind), fontsize="small")
    figure.supylabel(f"test {wording.metric.label}", fontsize="medium")
    return figure, dict(zip(kinds, panels, strict=True))


def _lines(panels: dict[str, Axes], rows: pd.DataFrame, chosen: pd.DataFrame, form: str) -> list[Line2D]:
    """One line per width in the panel of its parametrization, against the column ``at``; returns legend entries."""
    widths = sorted(rows["width"].unique())
    colours = dict(zip(widths, shades(len(widths)), strict=True))
    for kind, axes in panels.items():
        for number, width in enumerate(widths):
            one, ring = (t[(t[PARAMETRIZATION] == kind) & (t["width"] == width)] for t in (rows, chosen))
            one = one.sort_values("at")
            drawn = axes.errorbar(
                one["at"], one["value"], one["standard_error"], fmt=form, color=colours[width], markersize=4
            )
            marks = axes.plot(ring["at"], ring["value"], "o", color=colours[width], fillstyle="none", markersize=9)
            move_beside(axes, [*_parts(drawn), *marks], number, len(widths))
    return [Line2D([], [], color=colours[w], marker="o", markersize=4, label=f"{w}") for w in widths]


def _parts(drawn: Container) -> Iterable[Artist]:
    line, _, bars = drawn
    return [line, *bars]


_Looks = dict[tuple[str, str], tuple[Any, str, Any]]


def _looks(rows: pd.DataFrame) -> _Looks:
    """(parametrization, method) -> colour, of the parametrization if several, marker and dashes of the method."""
    kinds, methods = _in_order(rows, PARAMETRIZATION), _in_order(rows, "method")
    count = max(len(kinds), len(methods))
    colours = COLOURS if count <= len(COLOURS) else shades(count)
    return {
        (kind, method): (
            colours[k if len(kinds) > 1 else m],
            MARKERS[m % len(MARKERS)],
            LINE_STYLES[m % len(LINE_STYLES)],
        )
        for k, kind in enumerate(kinds)
        for m, method in enumerate(methods)
    }


def _series(axes: Axes, rows: pd.DataFrame, looks: _Looks, column: str, low: str, high: str) -> bool:
    """One line per parametrization and method against the width, with its intervals; returns whether there are any."""
    found = False
    for number, ((kind, method), (colour, marker, dashes)) in enumerate(looks.items()):
        one = rows[(rows[PARAMETRIZATION] == kind) & (rows["method"] == method)].sort_values("width")
        drawn: list[Artist] = [*axes.plot(one["width"], one[column], marker, linestyle=dashes, color=colour, ms=5)]
        certain = one[np.isfinite(one[low]) & np.isfinite(one[high])]
        if len(certain):
            drawn.append(axes.vlines(certain["width"], certain[low], certain[high], color=colour, alpha=0.6))
            found = True
        move_beside(axes, drawn, number, len(looks))
    return found


def _handles(looks: _Looks, wording: Wording) -> list[Line2D]:
    """Legend entries: parametrizations by colour, and methods by marker and dashes, of each if there are several."""
    kinds, methods = (list(dict.fromkeys(names)) for names in zip(*looks, strict=True))
    if len(kinds) == 1:
        names = {series: wording.method(series[1]) for series in looks}
    elif len(methods) == 1:
        names = {series: _name(wording, series[0]) for series in looks}
    else:
        lines = [Line2D([], [], color=looks[kind, methods[0]][0], label=_name(wording, kind)) for kind in kinds]
        marks = [(looks[kinds[0], method], wording.method(method)) for method in methods]
        return lines + [
            Line2D([], [], color=GREY, marker=marker, linestyle=dashes, ms=5, label=label)
            for (_, marker, dashes), label in marks
        ]
    return [
        Line2D([], [], color=colour, marker=marker, linestyle=dashes, ms=5, label=names[series])
        for series, (colour, marker, dashes) in looks.items()
    ]


def _width_axis(axes: Axes, widths: Iterable[int]) -> None:
    """Makes the axis logarithmic and labels the widths that have room."""
    marks = sorted({int(width) for width in widths})
    margin = (marks[-1] / marks[0]) ** 0.06 if len(marks) > 1 else 2.0
    axes.set_xlim(marks[0] / margin, marks[-1] * margin)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(marks_apart(marks, 0.1)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:.3g}"))


def _set_values(axes: Axes, values: Sequence[float], axis: str) -> None:
    """Makes an axis logarithmic and labels the values tried that have room."""
    one = axes.xaxis if axis == "x" else axes.yaxis
    margin = (values[-1] / values[0]) ** 0.06 if len(values) > 1 else 2.0
    if axis == "x":
        axes.set_xlim(values[0] / margin, values[-1] * margin)
        axes.set_xscale("log")
    else:
        axes.set_ylim(values[0] / margin, values[-1] * margin)
        axes.set_yscale("log")
    one.set_major_locator(FixedLocator(marks_apart(values, 0.1)))
    one.set_minor_locator(NullLocator())
    one.set_major_formatter(FuncFormatter(lambda x, _: f"{x:.3g}"))
