"""How figures look: sizes, colours, axes and legends, shared by all of them."""

import textwrap
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from widebasin.sam import METHODS

# Inches; small, so that the letters of a figure as wide as a phone can be read.
WIDTH, HEIGHT, LEGEND_ROW = 4.6, 3.3, 0.19
# Letters that fit the width of a figure: of labels, each with its line, and of a legend's title.
LEGEND_LETTERS, TITLE_LETTERS = 66, 72
# As many letters are as wide as the line before a label.
LINE_LETTERS = 7
# Okabe & Ito's colours, distinguishable with any colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "D", "^", "v", "P", "X")
GREY = "0.4"


def method_name(method: Hashable) -> str:
    """A method's name as it is written in text."""
    return METHODS[str(method)].title if method in METHODS else str(method)


def setting_value(column: str, value: Any) -> str:
    """A value of a column of the setting as it is written in text: shares in percent."""
    if column in ("label_noise", "sparsity"):
        return f"{100 * value:.6g}%"
    return f"{value:g}" if isinstance(value, float) else str(value)


def setting_name(values: Mapping[str, Any] | pd.Series, columns: Sequence[str]) -> str:
    """The values of the given columns in words, such as ``label noise 20%``; empty without columns."""
    phrases = {"network": "{}"}
    return ", ".join(
        phrases.get(column, f"{column.replace('_', ' ')} {{}}").format(setting_value(column, values[column]))
        for column in columns
    )


def shades(count: int) -> list[Any]:
    """Colours of an ordered quantity, dark to light."""
    return list(colormaps["viridis"](np.linspace(0.0, 0.88, count)))


def marks_apart(marks: Sequence[float], room: float) -> list[float]:
    """Of marks of a logarithmic axis, in order, those whose numbers have room: the ends, and what lies apart.

    Args:
        marks: positive, all rising or all falling.
        room: the least distance between two, as a share of that between the ends.
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
    axes.set_ylabel(y)
    clean(axes)
    return figure, axes


def clean(axes: Axes) -> None:
    """Two spines and a faint grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.6)


def legend(figure: Figure, handles: Sequence[Any], title: str = "") -> None:
    """Above the axes, where it covers no data; the figure grows by its rows. Long labels and titles are broken."""
    if not handles:
        return
    for handle in handles:
        handle.set_label(textwrap.fill(handle.get_label(), LEGEND_LETTERS - LINE_LETTERS))
    title = textwrap.fill(title, TITLE_LETTERS)
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
