"""The figures, one function each: a table in, a matplotlib figure out. The one place for drawing."""

from collections.abc import Hashable, Iterator, Mapping

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from widebasin.report.statistics import Metric, varying
from widebasin.sam import METHODS

SIZE = (5.6, 3.9)
# Okabe & Ito's colours, distinguishable with any colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


def method_name(method: Hashable) -> str:
    """A method's name as it is written in text."""
    return METHODS[str(method)].title if method in METHODS else str(method)


def gain_against_parameters(
    gains: pd.DataFrame, metric: Metric, published: Mapping[int, float] | None = None
) -> Figure:
    """Paired gain over the baseline against the number of parameters, with its 95% t interval as a band.

    Args:
        gains: rows of ``statistics.gain_table``.
        metric: of the gains.
        published: number of parameters -> gain, drawn apart and marked as the paper's own.
    """
    figure, axes = _figure("number of parameters", f"{metric.name} {metric.gain_label}")
    axes.axhline(0, color="0.5", linewidth=0.8)
    for label, colour, rows in _series(gains):
        axes.plot(rows["num_params"], rows["gain"], "o-", color=colour, label=label)
        if rows["low"].notna().any():
            axes.fill_between(rows["num_params"], rows["low"], rows["high"], color=colour, alpha=0.18, linewidth=0)
    if published:
        axes.plot(list(published), list(published.values()), "s--", color="0.35", label="published (paper)")
    _parameters_axis(axes)
    axes.legend(title=f"gain over {_baseline(gains)}, band: 95% interval", title_fontsize="small")
    return figure


def radius_against_parameters(gains: pd.DataFrame) -> Figure:
    """The chosen radius rho* against the number of parameters."""
    figure, axes = _figure("number of parameters", "chosen radius rho*")
    for label, colour, rows in _series(gains):
        axes.plot(rows["num_params"], rows["rho_star"], "o-", color=colour, label=label)
    _parameters_axis(axes)
    _radius_scale(axes, "y", gains["rho_star"])
    axes.legend()
    return figure


def metric_against_parameters(gains: pd.DataFrame, metric: Metric) -> Figure:
    """The test metric of baseline and methods against the number of parameters."""
    return _baseline_and_methods(gains, f"test {metric.label}", "baseline_value", "value")


def train_loss_against_parameters(gains: pd.DataFrame) -> Figure:
    """Final loss on the whole training set against the number of parameters: where it nears 0, networks interpolate."""
    return _baseline_and_methods(gains, "training loss", "baseline_train_loss", "train_loss")


def metric_against_radius(radii: pd.DataFrame, metric: Metric, baseline: str = "sgd") -> Figure:
    """The test metric against the radius, one line per width; the baseline at the left, as radius 0.

    Args:
        radii: rows of ``statistics.radius_table`` of one setting but for the width.
        metric: of the values.
        baseline: the method without a radius.
    """
    figure, axes = _figure("radius rho", f"test {metric.label}")
    widths = sorted(radii["width"].unique())
    shades = colormaps["viridis"](np.linspace(0.0, 0.88, len(widths)))
    methods = [m for m in dict.fromkeys(radii["method"]) if m != baseline]
    positive = sorted(r for r in radii["rho"].unique() if r > 0)
    at_zero = positive[0] / 3 if positive else 1.0
    markers = dict(zip(methods, "osD^v", strict=False))
    for width, shade in zip(widths, shades, strict=True):
        of_width = radii[radii["width"] == width]
        count = of_width["num_params"].iloc[0]
        base = of_width[of_width["method"] == baseline]
        for method in methods:
            rows = of_width[of_width["method"] == method]
            rows = rows.assign(at=rows["rho"].where(rows["rho"] > 0, at_zero)).sort_values("at")
            name = f"{count:,}" if len(methods) == 1 else f"{count:,} {method_name(method)}"
            axes.errorbar(
                rows["at"],
                rows["value"],
                rows["standard_error"],
                fmt=f"{markers.get(method, 'o')}-",
                color=shade,
                label=name,
            )
        axes.errorbar([at_zero] * len(base), base["value"], base["standard_error"], fmt="x", color=shade)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator([at_zero, *positive]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: method_name(baseline) if x == at_zero else f"{x:g}"))
    axes.legend(title="parameters; bars: standard error", title_fontsize="small", fontsize="small", ncols=2)
    return figure


def learning_curves(history: pd.DataFrame, metric: Metric) -> Figure:
    """Training loss and validation metric against the epoch, one line per width and method, mean over its networks."""
    figure = Figure(figsize=(SIZE[0], 1.6 * SIZE[1]), layout="constrained")
    upper, lower = figure.subplots(2, sharex=True)
    keys = ["width", "method", "rho"]
    groups = list(history.groupby(keys))
    colours = colormaps["viridis"](np.linspace(0.0, 0.88, len(groups)))
    for (key, rows), colour in zip(groups, colours, strict=True):
        means = rows.groupby("epoch")[["train_loss", f"valid_{metric.name}"]].mean()
        label = f"width {key[0]} {method_name(key[1])}" + (f" rho {key[2]:g}" if key[1] != "sgd" else "")
        upper.plot(means.index, means["train_loss"], color=colour, label=label)
        lower.plot(means.index, metric.scale * means[f"valid_{metric.name}"], color=colour)
    for axes, label in ((upper, "training loss, epoch's mean"), (lower, f"validation {metric.label}")):
        _clean(axes)
        axes.set_ylabel(label)
    lower.set_xlabel("epoch")
    if len(groups) <= 14:
        upper.legend(fontsize="small", ncols=2)
    return figure


def _baseline_and_methods(gains: pd.DataFrame, label: str, baseline_column: str, column: str) -> Figure:
    figure, axes = _figure("number of parameters", label)
    drawn = set()
    for name, colour, rows in _series(gains):
        setting = tuple(rows[c].iloc[0] for c in varying(gains))
        if setting not in drawn:
            what = setting_name(rows, varying(gains))
            grey = colour if varying(gains) else "0.4"
            axes.plot(
                rows["num_params"],
                rows[baseline_column],
                "s--",
                color=grey,
                label=f"{_baseline(gains)}{', ' + what if what else ''}",
            )
            drawn.add(setting)
        axes.plot(rows["num_params"], rows[column], "o-", color=colour, label=name)
    _parameters_axis(axes)
    axes.legend(fontsize="small")
    return figure


def _series(gains: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """One line per method and setting: its label, colour and rows in order of size."""
    columns = varying(gains)
    groups = gains.groupby([*columns, "method"], sort=False) if len(gains) else []
    for number, (_, rows) in enumerate(groups):
        what = setting_name(rows, columns)
        name = method_name(rows["method"].iloc[0])
        label = f"{name}, {what}" if what else name
        yield label, COLOURS[number % len(COLOURS)], rows.sort_values("num_params")


def setting_name(rows: pd.DataFrame, columns: list[str]) -> str:
    """The values of the given columns in words."""
    parts = []
    for column in columns:
        value = rows[column].iloc[0]
        text = (
            f"{100 * value:g}%" if column == "label_noise" else f"{value:g}" if isinstance(value, float) else str(value)
        )
        parts.append(f"{column.replace('_', ' ')} {text}")
    return ", ".join(parts)


def _baseline(gains: pd.DataFrame) -> str:
    return method_name(gains.attrs.get("baseline", "sgd"))


def _figure(x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    _clean(axes)
    return figure, axes


def _clean(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.6)


def _parameters_axis(axes: Axes) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_minor_formatter(FuncFormatter(lambda x, _: ""))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: _count(x)))
    low, high = axes.get_xlim()
    if high / low < 10:
        # Less than a decade: mark 1, 2 and 5 of each power of ten, or there would be no number at all.
        marks = [m * 10.0**k for k in range(-1, 12) for m in (1, 2, 5)]
        axes.xaxis.set_major_locator(FixedLocator([m for m in marks if low <= m <= high]))


def _radius_scale(axes: Axes, which: str, radii: pd.Series) -> None:
    values = sorted(set(radii))
    axis = axes.yaxis if which == "y" else axes.xaxis
    if values and values[0] > 0:
        (axes.set_yscale if which == "y" else axes.set_xscale)("log")
    axis.set_major_locator(FixedLocator(values))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))


def _count(value: float) -> str:
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:g}{name}"
    return f"{value:g}"
