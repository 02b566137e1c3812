"""The answer of ``coordinate-check``: the power of the width that every size of every layer follows."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from widebasin.parametrization import MUP, MUP2
from widebasin.report import mechanism_figures
from widebasin.report.page import Answer, Picture
from widebasin.report.tables import Table
from widebasin.report.wording import Wording
from widebasin.shown import shown
from widebasin.statistics.intervals import NONE, Interval, interval_name
from widebasin.statistics.measurements import exponent_of_width, means_over_seeds
from widebasin.studies.coordinates import COORDINATES, coordinates_instrument
from widebasin.studies.findings import setting_sentence
from widebasin.studies.measuring import Instrument
from widebasin.studies.questions.coordinate_check import STUDY
from widebasin.studies.study import Options
from widebasin.studies.tables import Tables
from widebasin.sweep import Resolved

# Column -> its name in sentences, in headings of tables, and on the axis of its figure.
QUANTITIES = {
    "activation_initial": ("the size of activations at initialization", "activations, before", "RMS of activations"),
    "activation_final": ("the size of activations after training", "activations, after", "RMS of activations"),
    "update": ("the effect of the update in training", "update", "RMS change of outputs"),
    "ascent_initial": (
        "the effect of the perturbation at initialization",
        "perturbation, before",
        "RMS change of outputs",
    ),
    "ascent_final": (
        "the effect of the perturbation after training",
        "perturbation, after",
        "RMS change of outputs",
    ),
}
BY = ["parametrization", "layer", "role"]


def instruments(spec: Resolved, options: Options) -> Sequence[Instrument]:
    """Sizes of activations and effects of single layers."""
    return (coordinates_instrument(options.samples, spec.widths),)


def answer(spec: Resolved, tables: Tables, options: Options) -> Answer:
    """Table, findings and figures of the study."""
    del options
    everything = tables.measured["coordinates"]
    measured = everything[everything["layer"] != ""]
    diverged = len(everything) - len(measured)
    columns = [column for column in COORDINATES if _sound(measured, column).any()]
    exponents = {
        (key, column): exponent_of_width(group, column)
        for key, group in measured.groupby(BY, sort=False)
        for column in columns
    }
    return Answer(
        title=f"A coordinate check: {tables.description.title}",
        question=STUDY.question,
        setting=setting_sentence(tables.description),
        findings=(
            *(_finding(spec, measured, exponents, name, column) for name in spec.parametrization for column in columns),
            *([f"Networks that diverged, and are not measured: {diverged}."] if diverged else []),
        ),
        tables=(_table(measured, exponents, columns, tables.wording),),
        pictures=tuple(_picture(measured, column) for column in columns),
    )


def _sound(measured: pd.DataFrame, column: str) -> pd.Series:
    """Where there is a size: not of layers without one, and not where nothing moved."""
    return (measured[column] > 0) & np.isfinite(measured[column].astype(float))


def _logarithms(measured: pd.DataFrame, column: str) -> pd.DataFrame:
    """Means over seeds of the logarithm to base 10 of a size, by parametrization, layer and width."""
    sound = measured[_sound(measured, column)]
    return means_over_seeds(sound.assign(**{column: np.log10(sound[column].astype(float))}), [*BY, "width"], [column])


def _finding(
    spec: Resolved,
    measured: pd.DataFrame,
    exponents: Mapping[tuple[Any, str], Interval | None],
    parametrization: str,
    column: str,
) -> str:
    """In which layer a size changes most with the width, by how much, and with which power."""
    name, *_ = QUANTITIES[column]
    means = _logarithms(measured[measured["parametrization"] == parametrization], column)
    known = {key: rows[column] for key, rows in means.groupby(BY, sort=False) if exponents[key, column] is not None}
    if not known:
        return f"{parametrization}: {name} is not known at two widths."
    factors = {key: 10 ** (logs.max() - logs.min()) for key, logs in known.items()}
    worst = max(factors, key=lambda key: factors[key])
    power = exponents[worst, column]
    assert power is not None
    verdict = "no verdict from one seed" if power.count == 1 else "no verdict"
    if power.certain:
        verdict = (
            "it grows" if power.above() else "it shrinks" if power.below() else "no trend beyond the seeds' spread"
        )
    widths, doubt = f"over widths {min(spec.widths)} to {max(spec.widths)}", power.words("+.2f")
    return (
        f"{parametrization}: {name} changes most in layer {shown(str(worst[1]))} ({worst[2]}), {widths} by a factor of "
        f"{factors[worst]:.2g}, as the width to the power {power.mean:+.2f} ({doubt}): {verdict}."
    )


def _table(
    measured: pd.DataFrame,
    exponents: Mapping[tuple[Any, str], Interval | None],
    columns: Sequence[str],
    wording: Wording,
) -> Table:
    """The powers of the width, one row per layer and parametrization."""
    keys = list(dict.fromkeys(map(tuple, measured[BY].to_numpy())))
    layers = list(dict.fromkeys(layer for _, layer, _ in keys))
    rows = []
    for key in sorted(keys, key=lambda key: layers.index(key[1])):
        parametrization, layer, role = key
        powers = (_power(exponents[key, column]) for column in columns)
        rows.append((shown(layer), role, wording.value("parametrization", parametrization), *powers))
    headings = tuple(QUANTITIES[column][1] for column in columns)
    note = (
        f"A size that follows the width to the power 0 is the same at all widths. In brackets: {interval_name()} "
        "over seeds. Of an input layer the outputs grow with the width, of an output layer the inputs, of a hidden one "
        f"both. {NONE}: no product with the layer's weights, or in a loop."
    )
    if {MUP, MUP2} & {parametrization for parametrization, *_ in keys}:
        note += (
            " With muP the outputs at initialization, those of the last layer, shrink by design, to the power -0.5; "
            "what depends on them settles at large widths only."
        )
    return Table("Powers of the width", ("layer", "role", "parametrization", *headings), tuple(rows), note)


def _power(one: Interval | None) -> str:
    if one is None:
        return NONE
    return f"{one.mean:+.2f} ({one.ends('+.2f')})" if one.certain else f"{one.mean:+.2f}"


def _picture(measured: pd.DataFrame, column: str) -> Picture:
    name, _, label = QUANTITIES[column]
    figure = mechanism_figures.size_against_width(_logarithms(measured, column), column, label)
    return Picture(column.replace("_", "-"), f"{name[:1].upper()}{name[1:]}, by layer", figure)
