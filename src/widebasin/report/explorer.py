"""The interactive page: interactive figures, and a table of all networks.

Every number on it is computed here, by ``widebasin.statistics``; the page's script only selects, draws and sorts.
"""

import base64
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files
from typing import Any

import jinja2
import numpy as np
import pandas as pd
from markupsafe import Markup

from widebasin.report.curves import packed_curves
from widebasin.report.tables import decimals, gain_cells, gains_note, radius_cells
from widebasin.report.themes import style_of_themes
from widebasin.report.wording import Wording
from widebasin.shown import shown
from widebasin.statistics import Metric
from widebasin.statistics.gains import EPOCHS, SELECTIONS, radius_table
from widebasin.statistics.readings import Reading

# Characters that the page keeps within, as long as the least of learning curves do.
PAGE_CHARACTERS = 1_900_000
# Digits of numbers in the data of the page.
DIGITS = 6


@dataclass(frozen=True)
class Explored:
    """The content of an interactive page.

    Attributes:
        title: title of the report.
        setting: what all networks have in common.
        results: one row per network.
        history: one row per network and epoch.
        wording: the wording of both tables.
        metrics: metrics in the results, the main metric first.
        readings: gains by metric, split and epoch; empty if there are no gains.
        select: split on which radii are chosen, initially.
        at: epoch that is shown, initially.
        report: name of the report page without scripts, in the same folder.
        files: title -> path of the files of gains, in the same folder.
    """

    title: str
    setting: str
    results: pd.DataFrame
    history: pd.DataFrame
    wording: Wording
    metrics: tuple[Metric, ...]
    readings: tuple[Reading, ...]
    select: str = "valid"
    at: str = "final"
    report: str = "report.html"
    files: Mapping[str, str] = field(default_factory=dict)


def explorer(explored: Explored) -> str:
    """The HTML page. It contains styles, script and data, loads nothing else and forbids loading."""
    read, data = files("widebasin.report").joinpath, explored_data(explored)
    style = style_of_themes(len(_column(data, "width")["values"])) + "\n" + read("explorer.css").read_text("utf-8")
    script = "\n".join(read(name).read_text("utf-8") for name in ("explorer_figures.js", "explorer.js"))
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    return environment.from_string(read("explorer.html").read_text("utf-8")).render(
        title=shown(explored.title),
        setting=shown(explored.setting),
        report=explored.report,
        files=explored.files,
        style=Markup(style),
        style_digest=_digest(style),
        script=Markup(script),
        script_digest=_digest(script),
        data=Markup(_json(data)),
    )


def explored_data(explored: Explored) -> dict[str, Any]:
    """Everything that the page shows, as plain data: numbers rounded to 6 digits, texts made safe to display."""
    wording, results = explored.wording, explored.results.reset_index(drop=True)
    metrics = explored.metrics
    varying = wording.design.varying(results)
    columns = [_values(results, wording, key) for key in ("method", "width", "num_params", *varying, "rho", "seed")]
    setting = [column for column in columns if column["key"] != "seed"]
    design = wording.design
    data = {
        "baseline": _place(columns[0], design.baseline),
        "baseline_title": wording.baseline,
        "metrics": [
            {
                "title": metric.title,
                "label": metric.label,
                "gain_label": metric.gain_label,
                "higher": metric.higher_is_better,
            }
            for metric in metrics
        ],
        "epochs": ["final epoch", f"epoch of the best validation {wording.metric.title}"],
        "splits": ["validation split", "test split (optimistic)"],
        "chosen": {
            "metric": metrics.index(wording.metric),
            "at": EPOCHS.index(explored.at),
            "select": SELECTIONS.index(explored.select),
        },
        "columns": columns,
        "varying": varying,
        "networks": {"of": _of(results, columns), "measured": _measured(results, metrics)},
        "gains": [
            [[_gains(explored, metric, at, split, setting) for split in SELECTIONS] for at in EPOCHS]
            for metric in metrics
        ],
        "radii": [[_radii(explored, metric, at, setting) for at in EPOCHS] for metric in metrics],
    }
    scaled = explored.history.assign(
        **{
            f"valid_{metric.name}": metric.scale * explored.history[f"valid_{metric.name}"].astype(float)
            for metric in metrics
        }
    )
    curves = ["train_loss", *(f"valid_{metric.name}" for metric in metrics)]
    identity = list(design.identity)
    numbered = results[identity].assign(number=np.arange(len(results)))
    network = explored.history[identity].merge(numbered, on=identity, how="left")["number"]
    data = _plain(data)
    return {**data, "curves": packed_curves(scaled, network, curves, PAGE_CHARACTERS - len(_json(data)))}


def _values(results: pd.DataFrame, wording: Wording, key: str) -> dict[str, Any]:
    """A column that identifies networks: its values, and how they are written in cells and in sentences."""
    numeric = pd.api.types.is_numeric_dtype(results[key])
    values = sorted(results[key].unique()) if numeric else list(dict.fromkeys(results[key]))
    cells = [wording.cells({key: value}, [key])[0] for value in values]
    if key == "num_params":
        phrases = [f"{cell} parameters" for cell in cells]
    elif key in ("width", "rho", "seed"):
        phrases = [f"{key} {cell}" for cell in cells]
    else:
        phrases = cells if key == "method" else [wording.setting({key: value}, [key]) for value in values]
    return {
        "key": key,
        "heading": wording.headings([key])[0],
        "numeric": numeric,
        "values": [value.item() if isinstance(value, np.generic) else value for value in values],
        "cells": cells,
        "phrases": phrases,
    }


def _place(column: Mapping[str, Any], value: Any) -> int:
    return column["values"].index(value) if value in column["values"] else -1


def _column(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    return next(column for column in data["columns"] if column["key"] == key)


def _of(table: pd.DataFrame, columns: Sequence[Mapping[str, Any]], **names: str) -> dict[str, list[int]]:
    """For every column, the index of each row's value among the column's values.

    Args:
        table: a table with these columns.
        columns: results of ``_values``.
        names: key of a column -> its name in the table, if different.
    """
    return {
        column["key"]: table[names.get(column["key"], column["key"])]
        .map({value: place for place, value in enumerate(column["values"])})
        .tolist()
        for column in columns
    }


def _measured(results: pd.DataFrame, metrics: Sequence[Metric]) -> list[dict[str, Any]]:
    """The result columns in the table of networks; some are for one metric or one epoch only."""

    def one(name: str, heading: str, values: pd.Series, digits: int | None = None, **of: int) -> dict[str, Any]:
        return {"name": name, "heading": heading, "values": values.tolist(), "digits": digits} | of

    columns = [one("train_loss", "train loss", results["train_loss"])]
    for number, metric in enumerate(metrics):
        digits = decimals(metric, metric.scale * results[f"test_{metric.name}"].astype(float)) + 1
        if metric.name != "loss" and f"train_{metric.name}" in results:
            values = metric.scale * results[f"train_{metric.name}"].astype(float)
            columns.append(one("train", f"train {metric.label}", values, digits, metric=number))
        for place, at in enumerate(EPOCHS):
            for part in SELECTIONS:
                name = f"{'best_' if at == 'best' else ''}{part}_{metric.name}"
                values = metric.scale * results[name].astype(float)
                columns.append(one(part, f"{part} {metric.label}", values, digits, metric=number, at=place))
    columns.append(one("best_epoch", "best epoch on validation", results["best_valid_epoch"], 0))
    columns.append(one("epochs", "epochs", results["epochs"], 0))
    columns.append(one("diverged", "diverged in epoch", results["diverged_epoch"], 0))
    columns.append(one("seconds", "seconds", results["seconds"]))
    return columns


def _gains(
    explored: Explored, metric: Metric, at: str, select: str, columns: Sequence[Mapping[str, Any]]
) -> dict[str, Any] | None:
    """The gains of one reading: for every row its identity, the numbers to draw and the texts to show."""
    found = [one for one in explored.readings if (one.metric, one.at, one.select) == (metric, at, select)]
    if not found:
        return None
    gains, wording = found[0].gains, _judged_by(explored.wording, metric)
    headings, cells = gain_cells(gains, wording)
    return {
        "headings": headings,
        "cells": cells,
        "note": gains_note(gains, wording),
        "of": _of(gains, columns, rho="rho_star"),
        "value": gains["gain"].tolist(),
        "low": gains["low"].tolist(),
        "high": gains["high"].tolist(),
    }


def _radii(explored: Explored, metric: Metric, at: str, columns: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The test metric at every radius, with rows as in ``_gains``."""
    wording = _judged_by(explored.wording, metric)
    radii = radius_table(explored.results, wording.design, at)
    headings, cells = radius_cells(radii, wording)
    return {
        "headings": headings,
        "cells": cells,
        "of": _of(radii, columns),
        "value": radii["value"].tolist(),
        "low": radii["low"].tolist(),
        "high": radii["high"].tolist(),
    }


def _judged_by(wording: Wording, metric: Metric) -> Wording:
    return replace(wording, design=replace(wording.design, metric=metric))


def _plain(value: Any) -> Any:
    """Plain data for JSON: texts made safe to display, numbers rounded, numbers that are not finite as texts."""
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, (bool, int)) or value is None:
        return value
    if isinstance(value, float):
        if math.isfinite(value):
            rounded = float(f"{value:.{DIGITS}g}")
            return int(rounded) if rounded.is_integer() and abs(rounded) < 10**DIGITS else rounded
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return shown(str(value))


def _json(data: Mapping[str, Any]) -> str:
    """JSON for use inside a page: nothing in it ends the enclosing element."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _digest(content: str) -> str:
    """The digest by which a Content-Security-Policy allows the page's own style and script."""
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
