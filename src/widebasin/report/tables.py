"""Formatted tables: columns with units, numbers rounded to meaningful digits."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import rich.box
import rich.table
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.text import Text

from widebasin.report.wording import Wording
from widebasin.shown import shown, shown_lines
from widebasin.statistics import Metric
from widebasin.statistics.design import check_once
from widebasin.statistics.gains import gain_interval
from widebasin.statistics.intervals import NONE, Interval, interval_name, t_interval

# On a terminal no word of a cell is broken that is no longer, such as a number; of a heading, so many letters stay.
WHOLE, HEADING = 20, 10


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes:
        title: title above the table.
        columns: headings, with units.
        rows: one tuple of texts per row.
        note: note below the table, or empty.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""

    def rich(self, justify: Literal["left", "right"] = "right") -> "_Fitted":
        """The table for a terminal: fitted to its width, with nothing left out and no number split."""
        return _Fitted(self, justify)


@dataclass(frozen=True)
class _Fitted:
    """A table on a terminal. If the terminal is too narrow, columns are stacked."""

    table: Table
    justify: Literal["left", "right"]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        columns = [shown(column) for column in self.table.columns]
        rows = [[shown(cell) for cell in row] for row in self.table.rows]
        whole = self._as_it_is(columns, rows)
        room = options.max_width
        if Measurement.get(console, options.update(width=10_000), whole).maximum > room:
            edges = Measurement.get(console, options, self._as_it_is([""] * len(columns), [])).maximum
            widths = _shared(_needs(columns, rows, self.justify == "left"), room - edges)
            whole = self._upright(columns, rows, room) if widths is None else self._as_it_is(columns, rows, widths)
        if self.table.title:
            whole.title = Text(shown(self.table.title))
        if self.table.note:
            whole.caption = Text(shown_lines(self.table.note))
        yield whole

    def _empty(self, **options: Any) -> rich.table.Table:
        return rich.table.Table(title_justify="left", caption_justify="left", pad_edge=False, **options)

    def _as_it_is(
        self, columns: Sequence[str], rows: Sequence[Sequence[str]], widths: Sequence[int | None] | None = None
    ) -> rich.table.Table:
        """The table as it is. If widths are given, cells are wrapped, between words if the words are short."""
        table = self._empty(box=rich.box.SIMPLE_HEAD, collapse_padding=True)
        for number, (column, width) in enumerate(zip(columns, widths or [None] * len(columns), strict=True)):
            # Names stay whole, so that they can be copied.
            is_name = self.justify == "left" and number == 0
            table.add_column(Text(column), justify=self.justify, overflow="fold", no_wrap=is_name, width=width)
        for row in rows:
            table.add_row(*map(Text, row))
        return table

    def _upright(self, columns: Sequence[str], rows: Sequence[Sequence[str]], room: int) -> rich.table.Table:
        """The transposed table, with as many of its rows side by side as fit."""
        heading = min(max(map(cell_len, columns)), room // 2)
        table = self._empty(box=None, show_header=False, padding=(0, 2, 0, 0))
        table.add_column(justify="left", overflow="fold", width=heading)
        widest = max((cell_len(cell) for row in rows for cell in row), default=1)
        beside = max(1, min(len(rows), (room - heading - 2) // (widest + 2)))
        for _ in range(beside):
            table.add_column(justify=self.justify, overflow="fold")
        for first in range(0, len(rows), beside):
            if first:
                table.add_row()
            for number, column in enumerate(columns):
                table.add_row(Text(column), *(Text(row[number]) for row in rows[first : first + beside]))
        return table


def _needs(columns: Sequence[str], rows: Sequence[Sequence[str]], named: bool) -> list[tuple[int, int]]:
    """For every column, the minimum width that splits no short word, and the width that needs no wrapping.

    If rows are named, nothing in the first column is split.
    """
    needs = []
    for number, column in enumerate(columns):
        cells = [row[number] for row in rows]
        words = [length for cell in cells for word in _words(cell) if (length := cell_len(word)) <= WHOLE]
        heading = [min(cell_len(word), HEADING) for word in column.split()]
        whole = max(map(cell_len, [column, *cells]))
        needs.append((whole if named and number == 0 else max([1, *words, *heading]), whole))
    return needs


def _words(cell: str) -> list[str]:
    """The words of a cell; a number with its error counts as one word, and so do the ends of an interval."""
    # In the place of the word, as many letters that are no space.
    return re.split(r"(?<![±→]) (?![±→] )", re.sub(r"(?<=\d) to (?=[-+\d])", "→→→→", cell))


def _shared(needs: Sequence[tuple[int, int]], room: int) -> list[int] | None:
    """Widths of columns that share the room, more for those that need most; ``None`` if there is too little room."""
    widths = [least for least, _ in needs]
    if sum(widths) > room:
        return None
    for _ in range(room - sum(widths)):
        missing = [most - width for (_, most), width in zip(needs, widths, strict=True)]
        widths[missing.index(max(missing))] += max(missing) > 0
    return widths


def decimals(metric: Metric, values: Iterable[float]) -> int:
    """Decimals of a metric in text: one for percent, otherwise enough for four digits of the median."""
    if metric.percent:
        return 1
    sizes = np.abs(np.asarray(list(values), float))
    sizes = sizes[np.isfinite(sizes) & (sizes > 0)]
    return int(np.clip(3 - np.floor(np.log10(np.median(sizes))), 0, 12)) if sizes.size else 4


def row_decimals(metric: Metric, digits: int, *values: float) -> int:
    """Decimals of one row: those of its table, unless they would show fewer than two digits of a value other than 0."""
    own = [decimals(metric, [value]) for value in values if np.isfinite(value) and value]
    return max(own) if own and max(own) > digits + 2 else digits


def gain_decimals(metric: Metric, gains: pd.DataFrame) -> int:
    """Decimals of gains (rows of ``gain_table``) in text: two for percent if all are below one point.

    Otherwise those of the values, or enough for two digits of the median gain.
    """
    if metric.percent:
        return 2 if gains["gain"].abs().max() < 1 else 1
    return max(decimals(metric, gains["baseline_value"]), decimals(metric, gains["gain"]) - 2)


def gains_table(gains: pd.DataFrame, wording: Wording) -> Table:
    """The answer of a study: rows of ``statistics.gains.gain_table`` as text, setting by setting."""
    settings = wording.design.varying(gains)
    several = gains["method"].nunique() > 1
    gains = gains.sort_values([*settings, "num_params", "width"], kind="stable")
    named = [*settings, "width", "num_params", *(["method"] if several else [])]
    headings, cells = gain_cells(gains, wording)
    return Table(
        title=_gain_heading(wording),
        columns=(*wording.headings(named), *headings),
        rows=tuple(
            (*wording.cells(row, named), *measured)
            for row, measured in zip(gains.to_dict("records"), cells, strict=True)
        ),
        note=gains_note(gains, wording),
    )


def gain_cells(gains: pd.DataFrame, wording: Wording) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Headings and cells for rows of ``gain_table``, without the columns that identify a row."""
    metric, name = wording.metric, wording.baseline
    of_table = gain_decimals(metric, gains)
    one = "method" if gains["method"].nunique() > 1 else wording.method(str(gains["method"].iloc[0]))
    diverged = bool((gains["diverged"] + gains["baseline_diverged"]).any())
    losses = has_train_loss(gains)
    headings = (
        f"{name} {metric.short}",
        f"{one} {metric.short}",
        *_gain_headings(metric),
        "rho*",
        *([f"train loss {name} → {one}"] if losses else []),
        *([f"diverged {name}+{one}"] if diverged else []),
    )
    cells = []
    for row in gains.to_dict("records"):
        gain, digits = gain_interval(row), row_decimals(metric, of_table, row["baseline_value"], row["value"])
        cells.append(
            (
                _number(row["baseline_value"], f".{digits}f"),
                _number(row["value"], f".{digits}f"),
                gain.with_error(digits),
                gain.ends(f".{digits}f"),
                f"{row['rho_star']:g}",
                *(
                    [f"{_three_digits(row['baseline_train_loss'])} → {_three_digits(row['train_loss'])}"]
                    if losses
                    else []
                ),
                *([f"{row['baseline_diverged']}+{row['diverged']}"] if diverged else []),
            )
        )
    return headings, cells


def has_train_loss(table: pd.DataFrame) -> bool:
    """Whether networks have a loss on the whole training set, if they did not diverge; agents have none."""
    return bool(table["train_loss"].notna().any() or table["diverged"].any())


def gains_note(gains: pd.DataFrame, wording: Wording) -> str:
    """A note on what gains and their uncertainty mean, and on the number of seeds."""
    seeds = " or ".join(str(n) for n in sorted(set(gains["seeds"])))
    doubt = "s.e.: standard error; interval: Student t." if gains["seeds"].max() > 1 else "One seed gives no interval."
    doubt += " Two seeds say little about either." if gains["seeds"].max() == 2 else ""
    return (
        f"Gain: {wording.metric.gain}, mean paired difference over {seeds} seed{'' if seeds == '1' else 's'}. {doubt}"
    )


def radius_cells(radii: pd.DataFrame, wording: Wording) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Headings and cells for rows of ``radius_table``, without the columns that identify a row."""
    metric = wording.metric
    of_table = decimals(metric, radii["value"])
    headings = (f"test {metric.label}", "± s.e.", interval_name(), "seeds", "diverged")
    cells = []
    for row in radii.to_dict("records"):
        one = Interval(row["value"], row["standard_error"], row["low"], row["high"], row["seeds"])
        digits = row_decimals(metric, of_table, one.mean)
        cells.append(
            (
                _number(one.mean, f".{digits}f"),
                _number(one.standard_error, f".{digits}f"),
                one.ends(f".{digits}f"),
                str(one.count),
                str(row["diverged"]),
            )
        )
    return headings, cells


def methods_table(gains: pd.DataFrame, wording: Wording, costs: Mapping[str, tuple[float, int]]) -> Table:
    """Methods against the baseline in one setting, highest gain first.

    Args:
        gains: rows of ``statistics.gains.gain_table``, one per method.
        wording: the wording of the table.
        costs: method -> gradients per step and epochs trained, including the baseline.
    """
    digits = gain_decimals(wording.metric, gains)
    unsure = gains["diverged"].any() or gains["baseline_diverged"].any()

    def row(method: str, *cells: str, diverged: int) -> tuple[str, ...]:
        gradients, epochs = costs[method]
        return (wording.method(method), f"{gradients:.3g}", str(epochs), *cells, *([str(diverged)] if unsure else []))

    rows = []
    for one in gains.sort_values("gain", ascending=False, kind="stable").to_dict("records"):
        gain, value = gain_interval(one), _number(one["value"], f".{digits}f")
        cells = (f"{one['rho_star']:g}", value, gain.with_error(digits), gain.ends(f".{digits}f"))
        rows.append(row(one["method"], *cells, diverged=one["diverged"]))
    first = gains.iloc[0]
    value = _number(first["baseline_value"], f".{digits}f")
    rows.append(row(wording.design.baseline, NONE, value, NONE, NONE, diverged=int(first["baseline_diverged"])))
    columns = (
        "method",
        "gradients per step",
        "epochs",
        "rho*",
        f"test {wording.metric.short}",
        *_gain_headings(wording.metric),
        *(["diverged"] if unsure else []),
    )
    seeds = int(gains["seeds"].max())
    note = f"Gain: mean paired difference over {seeds} seed{'' if seeds == 1 else 's'}, each method at its own rho*."
    return Table(_gain_heading(wording), columns, tuple(rows), note)


def _gain_heading(wording: Wording) -> str:
    return f"Gain in test {wording.metric.title} over {wording.baseline}"


def _gain_headings(metric: Metric) -> tuple[str, str]:
    """Headings of the columns for a gain and its interval."""
    return f"gain ± s.e.{f' ({metric.gain_unit})' if metric.gain_unit else ''}", interval_name()


def networks_table(results: pd.DataFrame, wording: Wording) -> Table:
    """One row per group of networks that differ only by seed: mean and standard error over seeds.

    Raises:
        ValueError: if a network occurs twice in the results.
    """
    metric, design = wording.metric, wording.design
    check_once(results, design.identity)
    keys = ["width", "num_params", "method", "rho", *design.varying(results)]
    of_table = decimals(metric, metric.scale * results[design.column("test")])
    columns = (
        *wording.headings(keys),
        "networks",
        *(["train loss"] if has_train_loss(results) else []),
        f"valid {metric.label}",
        f"test {metric.label}",
        "± s.e.",
        "diverged",
    )
    rows = []
    for key, group in results.groupby(keys, sort=False):
        test = t_interval(metric.scale * group[design.column("test")].astype(float))
        valid = t_interval(metric.scale * group[design.column("valid")].astype(float))
        digits = row_decimals(metric, of_table, test.mean)
        rows.append(
            (
                *wording.cells(dict(zip(keys, key, strict=True)), keys),
                str(len(group)),
                *([_three_digits(t_interval(group["train_loss"]).mean)] if has_train_loss(results) else []),
                _number(valid.mean, f".{digits}f"),
                _number(test.mean, f".{digits}f"),
                _number(test.standard_error, f".{digits}f"),
                str(int(group["diverged"].sum())),
            )
        )
    note = "Means over seeds, final epoch; s.e.: standard error."
    return Table("Networks", columns, tuple(rows), note)


def _three_digits(value: float) -> str:
    return _number(value, "#.3g").rstrip(".")


def _number(value: float, form: str) -> str:
    return f"{value:{form}}" if np.isfinite(value) else NONE
