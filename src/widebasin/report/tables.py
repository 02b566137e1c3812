"""Tables as people read them: columns with units, rounded to what the numbers can bear."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import rich.box
import rich.table

from widebasin.report.figures import method_name
from widebasin.report.statistics import Metric, varying


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
        """For a terminal."""
        table = rich.table.Table(
            title=self.title,
            caption=self.note or None,
            title_justify="left",
            caption_justify="left",
            box=rich.box.SIMPLE_HEAD,
            pad_edge=False,
        )
        for column in self.columns:
            table.add_column(column, justify=justify, overflow="fold")
        for row in self.rows:
            table.add_row(*row)
        return table


def gains_table(gains: pd.DataFrame, metric: Metric, baseline: str = "sgd") -> Table:
    """The answer of a study: rows of ``statistics.gain_table`` as text."""
    unit = f" {metric.unit}" if metric.unit else ""
    digits = 1 if metric.unit == "%" else 4
    settings = varying(gains)
    methods = gains["method"].nunique()
    one = method_name(str(gains["method"].iloc[0]))
    columns = [
        *(c.replace("_", " ") for c in settings),
        "width",
        "parameters",
        *(["method"] if methods > 1 else []),
        f"{method_name(baseline)}{unit}",
        f"{'value' if methods > 1 else one}{unit}",
        f"gain ± s.e.{' (points)' if metric.unit == '%' else ''}",
        "95% interval",
        "rho*",
        f"train loss {method_name(baseline)} → {'method' if methods > 1 else one}",
        *(["diverged"] if gains["diverged"].any() else []),
    ]
    rows = []
    for row in gains.to_dict("records"):
        certain = np.isfinite(row["standard_error"])
        rows.append(
            (
                *(_cell(row[c]) for c in settings),
                str(row["width"]),
                f"{row['num_params']:,}",
                *([method_name(row["method"])] if methods > 1 else []),
                f"{row['baseline_value']:.{digits}f}",
                f"{row['value']:.{digits}f}",
                f"{row['gain']:+.{digits}f}" + (f" ± {row['standard_error']:.{digits}f}" if certain else ""),
                f"{row['low']:.{digits}f} to {row['high']:.{digits}f}" if certain else "—",
                f"{row['rho_star']:g}",
                f"{row['baseline_train_loss']:.3f} → {row['train_loss']:.3f}",
                *([str(row["diverged"])] if gains["diverged"].any() else []),
            )
        )
    seeds = " or ".join(str(n) for n in sorted(set(gains["seeds"])))
    doubt = "interval: Student t" if gains["seeds"].min() > 1 else "one seed gives no interval"
    return Table(
        title=f"Gain in test {metric.name} over {method_name(baseline)}",
        columns=tuple(columns),
        rows=tuple(rows),
        note=f"Paired over {seeds} seeds; {doubt}.",
    )


def _cell(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def networks_table(results: pd.DataFrame, metric: Metric) -> Table:
    """Every group of networks that differ by seed alone: mean and standard error over seeds."""
    keys = ["width", "num_params", "method", "rho", *varying(results)]
    digits = 1 if metric.unit == "%" else 4
    columns = (
        *(k.replace("_", " ") for k in keys),
        "networks",
        "train loss",
        f"valid {metric.label}",
        f"test {metric.label}",
        "± s.e.",
        "diverged",
    )
    rows = []
    for key, group in results.groupby(keys, sort=False):
        test = metric.scale * group[f"test_{metric.name}"]
        error = test.sem()
        rows.append(
            (
                *(_cell(value) for value in key),
                str(len(group)),
                f"{group['train_loss'].mean():.3f}",
                f"{metric.scale * group[f'valid_{metric.name}'].mean():.{digits}f}",
                f"{test.mean():.{digits}f}",
                f"{error:.{digits}f}" if error == error else "—",
                str(int(group["diverged"].sum())),
            )
        )
    return Table("Networks", columns, tuple(rows), "Means over seeds, final epoch.")
