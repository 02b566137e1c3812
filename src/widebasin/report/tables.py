"""Tables as people read them: columns with units, rounded to what the numbers can bear."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import rich.box
import rich.table
from rich.text import Text

from widebasin.report import BASELINE
from widebasin.report.drawing import method_name, setting_value
from widebasin.report.statistics import Metric, t_interval, varying

# In place of a number that there is none of.
NONE = "—"


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
    if metric.unit == "%":
        return 1
    sizes = np.abs(np.asarray(list(values), float))
    sizes = sizes[np.isfinite(sizes) & (sizes > 0)]
    return int(np.clip(3 - np.floor(np.log10(np.median(sizes))), 0, 12)) if sizes.size else 4


def gain_decimals(metric: Metric, gains: pd.DataFrame) -> int:
    """Decimals of gains in text, rows of ``statistics.gain_table``: two for percent where all are below one point."""
    small = metric.unit == "%" and gains["gain"].abs().max() < 1
    return 2 if small else decimals(metric, gains["baseline_value"])


def gains_table(gains: pd.DataFrame, metric: Metric, baseline: str = BASELINE) -> Table:
    """The answer of a study: rows of ``statistics.gain_table`` as text, setting by setting."""
    digits = gain_decimals(metric, gains)
    settings = varying(gains)
    methods = gains["method"].nunique()
    gains = gains.sort_values([*settings, "num_params", "width"], kind="stable")
    name, one = method_name(baseline), method_name(str(gains["method"].iloc[0]))
    unit = " %" if metric.unit == "%" else f" {metric.name}"
    diverged = bool((gains["diverged"] + gains["baseline_diverged"]).any())
    columns = [
        *(c.replace("_", " ") for c in settings),
        "width",
        "parameters",
        *(["method"] if methods > 1 else []),
        f"{name}{unit}",
        f"{'method' if methods > 1 else one}{unit}",
        f"gain ± s.e.{f' ({metric.gain_unit})' if metric.gain_unit else ''}",
        "95% interval",
        "rho*",
        f"train loss {name} → {'method' if methods > 1 else one}",
        *([f"diverged {name}+{'method' if methods > 1 else one}"] if diverged else []),
    ]
    rows = []
    for row in gains.to_dict("records"):
        certain = np.isfinite(row["standard_error"])
        rows.append(
            (
                *(setting_value(c, row[c]) for c in settings),
                str(row["width"]),
                f"{row['num_params']:,}",
                *([method_name(row["method"])] if methods > 1 else []),
                _number(row["baseline_value"], f".{digits}f"),
                _number(row["value"], f".{digits}f"),
                _number(row["gain"], f"+.{digits}f") + (f" ± {row['standard_error']:.{digits}f}" if certain else ""),
                f"{row['low']:.{digits}f} to {row['high']:.{digits}f}" if certain else NONE,
                f"{row['rho_star']:g}",
                f"{_three_digits(row['baseline_train_loss'])} → {_three_digits(row['train_loss'])}",
                *([f"{row['baseline_diverged']}+{row['diverged']}"] if diverged else []),
            )
        )
    seeds = " or ".join(str(n) for n in sorted(set(gains["seeds"])))
    gain = (
        "percentage points"
        if metric.unit == "%"
        else f"{'in' if metric.higher_is_better else 'de'}crease of the {metric.name}"
    )
    doubt = "s.e.: standard error; interval: Student t." if gains["seeds"].max() > 1 else "One seed gives no interval."
    doubt += " Two seeds say little about either." if gains["seeds"].max() == 2 else ""
    return Table(
        title=f"Gain in test {metric.name} over {name}",
        columns=tuple(columns),
        rows=tuple(rows),
        note=f"Gain: {gain}, mean paired difference over {seeds} seed{'' if seeds == '1' else 's'}. {doubt}",
    )


def methods_table(
    gains: pd.DataFrame, costs: Mapping[str, tuple[float, int]], metric: Metric, baseline: str = BASELINE
) -> Table:
    """Methods against the baseline in one setting, highest gain first.

    Args:
        gains: rows of ``statistics.gain_table``, one per method.
        costs: method -> gradients per step and epochs trained; the baseline's too.
        metric: of the gains.
        baseline: the method over which they are measured.
    """
    digits = gain_decimals(metric, gains)
    unit = "%" if metric.unit == "%" else metric.name
    unsure = gains["diverged"].any() or gains["baseline_diverged"].any()

    def row(method: str, *cells: str, diverged: int) -> tuple[str, ...]:
        gradients, epochs = costs[method]
        return (method_name(method), f"{gradients:.3g}", str(epochs), *cells, *([str(diverged)] if unsure else []))

    rows = []
    for one in gains.sort_values("gain", ascending=False, kind="stable").to_dict("records"):
        certain = np.isfinite(one["standard_error"])
        gain = _number(one["gain"], f"+.{digits}f") + (f" ± {one['standard_error']:.{digits}f}" if certain else "")
        interval = f"{one['low']:.{digits}f} to {one['high']:.{digits}f}" if certain else NONE
        value = _number(one["value"], f".{digits}f")
        rows.append(row(one["method"], f"{one['rho_star']:g}", value, gain, interval, diverged=one["diverged"]))
    first = gains.iloc[0]
    value = _number(first["baseline_value"], f".{digits}f")
    rows.append(row(baseline, NONE, value, NONE, NONE, diverged=int(first["baseline_diverged"])))
    columns = (
        "method",
        "gradients per step",
        "epochs",
        "rho*",
        f"test {unit}",
        f"gain ± s.e.{f' ({metric.gain_unit})' if metric.gain_unit else ''}",
        "95% interval",
        *(["diverged"] if unsure else []),
    )
    seeds = int(gains["seeds"].max())
    note = f"Gain: mean paired difference over {seeds} seed{'' if seeds == 1 else 's'}, each method at its own rho*."
    return Table(f"Gain in test {metric.name} over {method_name(baseline)}", columns, tuple(rows), note)


def networks_table(results: pd.DataFrame, metric: Metric) -> Table:
    """Every group of networks that differ by seed alone: mean and standard error over seeds."""
    keys = ["width", "num_params", "method", "rho", *varying(results)]
    digits = decimals(metric, metric.scale * results[f"test_{metric.name}"])
    names = {"num_params": "parameters"}
    columns = (
        *(names.get(k, k.replace("_", " ")) for k in keys),
        "networks",
        "train loss",
        f"valid {metric.label}",
        f"test {metric.label}",
        "± s.e.",
        "diverged",
    )
    rows = []
    for key, group in results.groupby(keys, sort=False):
        test = t_interval(metric.scale * group[f"test_{metric.name}"].astype(float))
        valid = t_interval(metric.scale * group[f"valid_{metric.name}"].astype(float))
        rows.append(
            (
                *(_key(column, value) for column, value in zip(keys, key, strict=True)),
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


def _key(column: str, value: Any) -> str:
    if column == "method":
        return method_name(value)
    return f"{value:,}" if column == "num_params" else setting_value(column, value)


def _three_digits(value: float) -> str:
    return _number(value, "#.3g").rstrip(".")


def _number(value: float, form: str) -> str:
    return f"{value:{form}}" if np.isfinite(value) else NONE
