"""The style of all figures: sizes, colours, axes and legends."""

import contextlib
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

import matplotlib
import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogFormatterMathtext, LogFormatterSciNotation, NullFormatter
from matplotlib.transforms import ScaledTranslation

from widebasin.shown import shown

# Inches; small, so that the letters of a figure as wide as a phone can be read.
WIDTH, HEIGHT, LEGEND_ROW = 4.6, 3.3, 0.19
# Characters that fit along the vertical axis.
LABEL = 42
# Letters that fit the width of a figure: of labels, each with its line, and of a legend's title.
LEGEND_LETTERS, TITLE_LETTERS = 66, 72
# As many letters are as wide as the line before a label.
LINE_LETTERS = 7
# Okabe & Ito's colours, distinguishable with any colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "D", "^", "v", "P", "X", "<", ">", "p", "h", "d")
GREY = "0.4"
# Intervals may stretch the axis of the gains by this many times the range of the gains, on either side.
INTERVAL_STRETCH = 1.5
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@contextlib.contextmanager
def own_style() -> Iterator[None]:
    """A context that draws and writes figures in one style, independent of ``matplotlibrc`` and the process.

    A dollar sign in a name is printed as it is; it does not start a formula.
    """
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams["text.parse_math"] = False
        yield


class PowersOfTen(LogFormatterSciNotation):
    """Labels of a logarithmic axis as plain text, such as 2×10⁻³, because formulas are off."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        """The number as plain text."""
        formula = super().__call__(x, pos).removeprefix(r"$\mathdefault{").removesuffix("}$")
        letters = re.sub(r"\^\{(.*?)\}", lambda power: power[1].translate(RAISED), formula.replace(r"\times", "×"))
        return letters.replace("-", "\N{MINUS SIGN}")


def without_formulas(figure: Figure) -> None:
    """Writes the tick labels of a figure's axes as plain text."""
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            if isinstance(axis.get_major_formatter(), LogFormatterMathtext):
                axis.set_major_formatter(PowersOfTen())
            if isinstance(axis.get_minor_formatter(), LogFormatterMathtext):
                axis.set_minor_formatter(PowersOfTen())


def shades(count: int) -> list[Any]:
    """Colours of an ordered quantity, dark to light."""
    return list(colormaps["viridis"](np.linspace(0.0, 0.88, count)))


def marks_apart(marks: Sequence[float], room: float) -> list[float]:
    """Selects the ticks of a logarithmic axis whose labels do not overlap: the ends, and ticks far enough apart.

    Args:
        marks: positive numbers in rising or falling order.
        room: the minimum distance between two ticks, as a fraction of the distance between the ends.
    """
    shown = list(marks[:1])
    for mark in marks[1:-1]:
        least = room * abs(np.log(marks[-1] / marks[0]))
        if min(abs(np.log(mark / shown[-1])), abs(np.log(marks[-1] / mark))) >= least:
            shown.append(mark)
    return [*shown, *marks[1:][-1:]]


def new_figure(x: str, y: str) -> tuple[Figure, Axes]:
    """A figure with one pair of axes and their labels."""
    figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(x)
    axes.set_ylabel(textwrap.fill(y, LABEL))
    clean(axes)
    return figure, axes


def clean(axes: Axes) -> None:
    """Two spines and a faint grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.6)


def legend(figure: Figure, handles: Sequence[Any], title: str = "") -> None:
    """Puts a legend above the axes, where it covers no data; the figure grows to fit. Long labels are wrapped."""
    if not handles:
        return
    for handle in handles:
        handle.set_label(textwrap.fill(shown(handle.get_label()), LEGEND_LETTERS - LINE_LETTERS))
    title = textwrap.fill(shown(title), TITLE_LETTERS)
    lines = [handle.get_label().splitlines() for handle in handles]
    longest = max(len(line) for label in lines for line in label)
    rows = -(-len(handles) // max(1, LEGEND_LETTERS // (longest + LINE_LETTERS)))
    columns = -(-len(handles) // rows)
    # Labels are broken only where there is one column.
    height = max(rows, sum(map(len, lines)) if columns == 1 else 0) + len(title.splitlines())
    figure.set_figheight(figure.get_figheight() + LEGEND_ROW * height)
    figure.legend(
        handles=handles,
        title=title or None,
        loc="outside upper left",
        ncols=columns,
        alignment="left",
        frameon=False,
        fontsize="small",
        title_fontsize="small",
        columnspacing=1.2,
        handlelength=1.8,
        labelspacing=0.25,
    )


def move_beside(axes: Axes, drawn: Iterable[Artist], number: int, count: int, diagonal: bool = False) -> None:
    """Shifts one of several series by a few points (1/72 inch), so that none hides another."""
    shift = (number - (count - 1) / 2) * min(3.0, 12.0 / count) / 72
    move = ScaledTranslation(shift, shift if diagonal else 0.0, axes.figure.dpi_scale_trans)
    # After drawing: the limits of the axes follow from the data as they are.
    for artist in drawn:
        artist.set_transform(axes.transData + move)


def limit_gains(axes: Axes, values: Iterable[float], certain: pd.DataFrame, axis: Literal["x", "y"] = "y") -> bool:
    """Sets the limits of an axis of gains; returns whether an interval is cut off."""
    finite = [v for v in values if np.isfinite(v)]
    low, high = min(finite), max(finite)
    lowest = min(low, certain["low"].min()) if len(certain) else low
    highest = max(high, certain["high"].max()) if len(certain) else high
    stretch = INTERVAL_STRETCH * (high - low) or np.inf
    shown = max(lowest, low - stretch), min(highest, high + stretch)
    margin = 0.05 * (shown[1] - shown[0]) or 1.0
    (axes.set_ylim if axis == "y" else axes.set_xlim)(shown[0] - margin, shown[1] + margin)
    return shown != (lowest, highest)


def parameters_axis(axes: Axes, counts: Iterable[int]) -> None:
    """Makes the axis logarithmic with at least one label: powers of ten, or 1, 2 and 5 times these, or the counts."""
    sizes = sorted({float(count) for count in counts})
    margin = (sizes[-1] / sizes[0]) ** 0.06 if len(sizes) > 1 else 2.0
    low, high = sizes[0] / margin, sizes[-1] * margin
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    for factors in ((1,), (1, 2, 5)):
        marks = [m * 10.0**k for k in range(13) for m in factors if low <= m * 10.0**k <= high]
        if len(marks) > 1:
            break
    else:
        marks = sizes
    axes.xaxis.set_major_locator(FixedLocator(marks))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: short_count(x)))


def short_count(value: float) -> str:
    """A number of parameters in short form: ``25.5k``."""
    value = float(f"{value:.3g}")
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:g}{name}"
    return f"{value:g}"
