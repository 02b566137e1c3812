"""Gains as files for other programs and for papers: CSV, JSON and LaTeX."""

import json
from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from widebasin.report.tables import gain_decimals, row_decimals
from widebasin.report.wording import Wording
from widebasin.shown import shown
from widebasin.statistics.gains import gain_interval
from widebasin.statistics.intervals import CONFIDENCE, Interval, interval_name
from widebasin.statistics.readings import Reading

# Of the layout of the files.
FORMAT = 1
# What the columns of numbers are; a unit is in the row, as metrics differ in it.
COLUMNS = {
    "in_report": "whether the report shows this row",
    "metric": "the metric of the gain, which also chooses the radius",
    "select": "split on which the radius is chosen",
    "at": "epoch: the final one, or the best one on validation by the main metric",
    "unit": "unit of baseline_value and value",
    "gain_unit": "unit of gain, standard_error, low and high",
    "rho_star": "radius with the best mean of the metric on the split",
    "baseline_value": "mean of the baseline on the test split",
    "value": "mean of the method at rho_star on the test split",
    "gain": "mean over seeds of the paired difference; positive is an improvement",
    "standard_error": "standard error of the gain",
    "low": "lower end of the Student t interval of the gain",
    "high": "upper end",
    "seeds": "number of pairs",
    "baseline_train_loss": "final loss of the baseline on the whole training set",
    "train_loss": "final loss of the method on the whole training set",
    "baseline_diverged": "number of networks of the baseline that diverged",
    "diverged": "number of networks of the method that diverged",
}
# Ending of a file -> what it is.
TITLES = {"csv": "CSV", "json": "JSON", "tex": "LaTeX"}
LATEX = str.maketrans(
    {character: f"\\{character}" for character in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': "''"}
)
DASH = "---"


def gain_files(readings: Sequence[Reading], wording: Wording, select: str, epochs: Collection[str]) -> dict[str, bytes]:
    """The files of gains: name -> content in UTF-8.

    ``gains.csv`` and ``gains.json`` have the gains by every metric, split and epoch, one row per method, setting and
    size, with all digits; ``gains.tex`` has those of the report, rounded, as a booktabs table for every epoch. Without
    any in the report there is no such file.

    Args:
        readings: readings of the results, at least one.
        wording: the wording of the table.
        select: split on which the report's radii are chosen.
        epochs: those at which the report shows gains.
    """

    def in_report(one: Reading) -> bool:
        return (one.metric, one.select) == (wording.metric, select) and one.at in epochs

    rows = pd.concat([_rows(one, in_report(one)) for one in readings], ignore_index=True)
    files = {"gains.csv": rows.to_csv(index=False, lineterminator="\n").encode(), "gains.json": _json(rows, wording)}
    labels = {at: f"tab:gains-{at}" if len(epochs) > 1 else "tab:gains" for at in epochs}
    if tables := [gains_latex(one, wording, labels[one.at]) for one in readings if in_report(one)]:
        files["gains.tex"] = "\n".join(tables).encode()
    return files


def _rows(one: Reading, in_report: bool) -> pd.DataFrame:
    metric = one.metric
    facts = {
        "in_report": in_report,
        "metric": metric.name,
        "select": one.select,
        "at": one.at,
        "unit": metric.unit,
        "gain_unit": "percentage points" if metric.percent else metric.unit,
    }
    rows = one.gains.assign(**facts)[[*facts, *one.gains]]
    for name in rows:
        if not pd.api.types.is_numeric_dtype(rows[name]):
            rows[name] = rows[name].map(lambda value: shown(str(value)))
    return rows


def _json(rows: pd.DataFrame, wording: Wording) -> bytes:
    """JSON with a description of the columns; numbers that are not finite are null."""
    records = rows.astype(object).where(~rows.isin([np.inf, -np.inf]) & rows.notna(), None).to_dict("records")
    facts = {
        "format": FORMAT,
        "baseline": wording.baseline,
        "confidence": CONFIDENCE,
        "columns": COLUMNS,
        "rows": records,
    }
    return (json.dumps(facts, indent=1, allow_nan=False, ensure_ascii=False) + "\n").encode()


def gains_latex(reading: Reading, wording: Wording, label: str) -> str:
    r"""The gains as a LaTeX ``table`` with booktabs rules: gain ± standard error, interval, rho* and n.

    Names are escaped. It needs ``\usepackage{booktabs}``.
    """
    metric, gains = reading.metric, reading.gains
    wording = replace(wording, design=replace(wording.design, metric=metric))
    settings = wording.design.varying(gains)
    several = gains["method"].nunique() > 1
    named = [*settings, "width", "num_params", *(["method"] if several else [])]
    gains = gains.sort_values([*settings, "num_params", "width"], kind="stable")
    of_table = gain_decimals(metric, gains)
    one = "method" if several else wording.method(str(gains["method"].iloc[0]))
    headings = [
        *(_escaped(heading) for heading in wording.headings(named)),
        *(_escaped(f"{name} ({metric.unit})" if metric.unit else name) for name in (wording.baseline, one)),
        rf"gain $\pm$ s.e.{_escaped(f' ({metric.gain_unit})' if metric.gain_unit else '')}",
        _escaped(interval_name()),
        r"$\rho^*$",
        "$n$",
    ]
    cells = []
    for row in gains.to_dict("records"):
        gain, digits = gain_interval(row), row_decimals(metric, of_table, row["baseline_value"], row["value"])
        cells.append(
            [
                *(_escaped(cell) for cell in wording.cells(row, named)),
                _number(row["baseline_value"], f".{digits}f"),
                _number(row["value"], f".{digits}f"),
                _with_error(gain, digits),
                f"{_number(gain.low, f'.{digits}f')} to {_number(gain.high, f'.{digits}f')}" if gain.certain else DASH,
                f"{row['rho_star']:g}",
                str(gain.count),
            ]
        )
    table = pd.DataFrame(cells)
    words = table.columns[[not pd.api.types.is_numeric_dtype(gains[name]) for name in named] + [False] * 6]
    text = table.to_latex(
        index=False,
        # Pandas takes braces in headings for places to fill.
        header=[heading.replace("{", "{{").replace("}", "}}") for heading in headings],
        escape=False,
        column_format="".join("l" if column in words else "r" for column in table),
        caption=_caption(reading, wording),
        label=label,
        position="tbp",
    )
    return text.replace(r"\begin{table}[tbp]" + "\n", r"\begin{table}[tbp]" + "\n" + r"\centering" + "\n")


def _caption(reading: Reading, wording: Wording) -> str:
    seeds, finite = reading.gains["seeds"], np.isfinite(reading.gains["gain"]).all()
    counts = " or ".join(map(str, sorted(set(seeds))))
    doubt = f"interval: Student $t$ over $n = {counts}$ seeds" if seeds.max() > 1 else "one seed, no interval"
    split = "the validation split" if reading.select == "valid" else "the test split itself (optimistic)"
    epoch = "final epoch" if reading.at == "final" else "best epoch on validation"
    return (
        f"Gain over {_escaped(wording.baseline)} in test {_escaped(reading.metric.title)}, mean paired difference; "
        rf"{doubt}; $\rho^*$ chosen on {split}; {epoch}."
        f"{'' if finite else ' Without a gain: a network compared has no finite value.'}"
    )


def _with_error(gain: Interval, digits: int) -> str:
    if not np.isfinite(gain.mean):
        return DASH
    error = rf" \pm {gain.standard_error:.{digits}f}" if np.isfinite(gain.standard_error) else ""
    return f"${gain.mean:+.{digits}f}{error}$"


def _number(value: float, form: str) -> str:
    return f"${value:{form}}$" if np.isfinite(value) else DASH


def _escaped(text: str) -> str:
    return text.translate(LATEX)
