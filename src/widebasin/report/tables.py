"""Tables as people read them: columns with units, rounded to what the numbers can bear."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import rich.box
import rich.table
from rich.text import Text

from widebasin.report.wording import Wording
from widebasin.statistics import Metric
from widebasin.statistics.gains import gain_interval
from widebasin.statistics.intervals import NONE, interval_name, t_interval


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes:
        title: above it.
        columns: headings, with units.
        rows: one tuple of text per row.
        note: below it, or empty.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""

    def rich(self, justify: Literal["left", "right"] = "right") -> rich.table.Table:
        """For a terminal. In a narrow one, long headings and cells are broken over lines; nothing is left out."""
        table = rich.table.Table(
            title=Text(self.title),
            caption=Text(self.note) if self.note else None,
            title_justify="left",
            caption_justify="left",
            box=rich.box.SIMPLE_HEAD,
            pad_edge=False,
            collapse_padding=True,
        )
        for number, column in enumerate(self.columns):
            # Names stay whole, so that they can be copied.
            is_name = justify == "left" and number == 0
            table.add_column(Text(column), justify=justify, overflow="fold", no_wrap=is_name)
        for row in self.rows:
            table.add_row(*(Text(cell) for cell in row))
        return table


def decimals(metric: Metric, values: Iterable[float]) -> int:
    """Decimals of a metric in text: one for percent, else what shows four digits of the middle value."""
    if metric.percent:
        return 1
    sizes = np.abs(np.asarray(list(values), float))
    sizes = sizes[np.isfinite(sizes) & (sizes > 0)]
    return int(np.clip(3 - np.floor(np.log10(np.median(sizes))), 0, 12)) if sizes.size else 4


def gain_decimals(metric: Metric, gains: pd.DataFrame) -> int:
    """Decimals of gains in text, rows of ``gain_table``: two for percent where all are below one point."""
    small = metric.percent and gains["gain"].abs().max() < 1
    return 2 if small else decimals(metric, gains["baseline_value"])


def gains_table(gains: pd.DataFrame, wording: Wording) -> Table:
    """The answer of a study: rows of ``statistics.gains.gain_table`` as text, setting by setting."""
    metric, name = wording.metric, wording.baseline
    digits = gain_decimals(metric, gains)
    settings = wording.design.varying(gains)
    several = gains["method"].nunique() > 1
    gains = gains.sort_values([*settings, "num_params", "width"], kind="stable")
    one = "method" if several else wording.method(str(gains["method"].iloc[0]))
    diverged = bool((gains["diverged"] + gains["baseline_diverged"]).any())
    named = [*settings, "width", "num_params", *(["method"] if several else [])]
    columns = [
        *wording.headings(named),
        f"{name} {metric.short}",
        f"{one} {metric.short}",
        *_gain_headings(metric),
        "rho*",
        f"train loss {name} → {one}",
        *([f"diverged {name}+{one}"] if diverged else []),
    ]
    rows = []
    for row in gains.to_dict("records"):
        gain = gain_interval(row)
        rows.append(
            (
                *wording.cells(row, named),
                _number(row["baseline_value"], f".{digits}f"),
                _number(row["value"], f".{digits}f"),
                gain.with_error(digits),
                gain.ends(f".{digits}f"),
                f"{row['rho_star']:g}",
                f"{_three_digits(row['baseline_train_loss'])} → {_three_digits(row['train_loss'])}",
                *([f"{row['baseline_diverged']}+{row['diverged']}"] if diverged else []),
            )
        )
    seeds = " or ".join(str(n) for n in sorted(set(gains["seeds"])))
    doubt = "s.e.: standard error; interval: Student t." if gains["seeds"].max() > 1 else "One seed gives no interval."
    doubt += " Two seeds say little about either." if gains["seeds"].max() == 2 else ""
    return Table(
        title=_gain_heading(wording),
        columns=tuple(columns),
        rows=tuple(rows),
        note=f"Gain: {metric.gain}, mean paired difference over {seeds} seed{'' if seeds == '1' else 's'}. {doubt}",
    )


def methods_table(gains: pd.DataFrame, wording: Wording, costs: Mapping[str, tuple[float, int]]) -> Table:
    """Methods against the baseline in one setting, highest gain first.

    Args:
        gains: rows of ``statistics.gains.gain_table``, one per method.
        wording: of the table.
        costs: method -> gradients per step and epochs trained; the baseline's too.
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
    """Of the column of a gain and of that of its interval."""
    return f"gain ± s.e.{f' ({metric.gain_unit})' if metric.gain_unit else ''}", interval_name()


def networks_table(results: pd.DataFrame, wording: Wording) -> Table:
    """Every group of networks that differ by seed alone: mean and standard error over seeds."""
    metric, design = wording.metric, wording.design
    keys = ["width", "num_params", "method", "rho", *design.varying(results)]
    digits = decimals(metric, metric.scale * results[design.column("test")])
    columns = (
        *wording.headings(keys),
        "networks",
        "train loss",
        f"valid {metric.label}",
        f"test {metric.label}",
        "± s.e.",
        "diverged",
    )
    rows = []
    for key, group in results.groupby(keys, sort=False):
        test = t_interval(metric.scale * group[design.column("test")].astype(float))
        valid = t_interval(metric.scale * group[design.column("valid")].astype(float))
        rows.append(
            (
                *wording.cells(dict(zip(keys, key, strict=True)), keys),
                str(len(group)),
                _three_digits(t_interval(group["train_loss"]).mean),
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
