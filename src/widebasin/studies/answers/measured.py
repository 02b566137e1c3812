"""The answer of ``widebasin measure``: curvature of the trained networks in a results folder."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from widebasin.report import mechanism_figures
from widebasin.report.mechanism_tables import (
    curvature_table,
    undecided,
    undecided_words,
    verdicts_table,
    with_error,
)
from widebasin.report.page import Answer, Picture
from widebasin.report.tables import Table
from widebasin.report.wording import Wording
from widebasin.statistics.measurements import means_over_seeds
from widebasin.studies.findings import setting_sentence
from widebasin.studies.instruments import (
    WORST_CASE_GROUP,
    batch_stability_instrument,
    curvature_instrument,
    density_instrument,
    landscape_instrument,
    layers_instrument,
    sharpness_instrument,
    stability_instrument,
)
from widebasin.studies.measuring import SHOWN, Instrument
from widebasin.studies.questions.measured import STUDY
from widebasin.studies.study import Measures
from widebasin.studies.tables import Tables
from widebasin.sweep import Resolved


def instruments(spec: Resolved, measures: Measures) -> Sequence[Instrument]:
    """All instruments; spectrum, landscape and layers only for a few networks."""
    del spec
    shown = (layers_instrument, density_instrument, landscape_instrument)
    return (
        curvature_instrument(measures.samples),
        stability_instrument(measures.samples, measures.multiples),
        batch_stability_instrument(measures.samples, measures.multiples),
        sharpness_instrument(measures.sharpness_rho),
        *(replace(one(measures.samples), few=True) for one in shown),
    )


def answer(spec: Resolved, tables: Tables, measures: Measures) -> Answer:
    """Tables, findings and figures of the measurements."""
    found, wording = tables.measured, tables.wording
    return Answer(
        title=f"Measured: {tables.description.title}",
        question=STUDY.question,
        setting=setting_sentence(tables.description),
        findings=tuple(_findings(found, layered=spec.base_width is not None)),
        tables=tuple(_tables(found, wording, measures)),
        pictures=tuple(_pictures(found, wording)),
    )


def _by(table: pd.DataFrame, wording: Wording) -> list[str]:
    """The columns that distinguish groups of networks; within a group only the seed differs."""
    return ["width", "num_params", "method", "rho", *wording.design.varying(table)]


CURVATURE = {
    "loss": "loss",
    "gradient_norm": "gradient norm",
    "sharpness": "sharpness",
    "lowest": "lowest eigenvalue",
    "trace": "trace",
    "s2": "non-uniformity s2",
    "s3": "s3",
    "s4": "s4",
}
RISES = {
    "worst_case": "at worst within radius {}",
    "adaptive": "at worst within radius {} of weights as units",
    "average": "in the mean under noise of {} per weight",
}


def _tables(found: Mapping[str, pd.DataFrame], wording: Wording, measures: Measures) -> list[Table]:
    tables = []
    measured = found["curvature"].dropna(subset="sharpness")
    if len(measured):
        by = _by(measured, wording)
        tables.append(curvature_table(means_over_seeds(measured, by, list(CURVATURE)), wording, by, CURVATURE))
    rises = found["sharpness"].dropna(subset="worst_case")
    if len(rises):
        tables.append(_rises_table(rises, wording, measures))
    judged = found["stability"].dropna(subset="second_moment")
    if len(judged):
        tables.append(verdicts_table(judged, wording, _by(judged, wording)))
    layers = found["layers"].dropna(subset="sharpness")
    if len(layers):
        tables.append(_layers_table(layers, wording))
    return tables


def _rises_table(rises: pd.DataFrame, wording: Wording, measures: Measures) -> Table:
    by = _by(rises, wording)
    rows = [
        (*wording.cells(row, by), *(with_error(row, column) for column in RISES))
        for row in means_over_seeds(rises, by, list(RISES)).to_dict("records")
    ]
    rho = measures.sharpness_rho
    note = (
        f"The noise is Gaussian, its standard deviation {rho:g} of every weight: its norm is about {rho:g} times the "
        "root of the number of parameters, far outside the radius, so that the mean may be above the worst. "
        f"Worst cases over groups of {WORST_CASE_GROUP} examples, or all if there are fewer; logits of classifiers "
        "with cross entropy are normalized."
    )
    headings = (heading.format(f"{rho:g}") for heading in RISES.values())
    return Table("Rise of the training loss", (*wording.headings(by), *headings), tuple(rows), note)


def _layers_table(layers: pd.DataFrame, wording: Wording) -> Table:
    varying = wording.design.varying(layers)
    rows = [
        (
            wording.network(row, varying),
            row["layer"],
            f"{row['layer_parameters']:,}",
            f"{row['sharpness']:.3g}",
            f"{row['trace']:.3g} ± {row['trace_error']:.2g}",
        )
        for row in layers.to_dict("records")
    ]
    columns = ("network", "layer", "parameters", "sharpness", "trace ± s.e.")
    note = f"Of each layer's own block of the Hessian; first seed, at most {SHOWN} networks."
    return Table("Layers", columns, tuple(rows), note)


def _findings(found: Mapping[str, pd.DataFrame], layered: bool) -> list[str]:
    """The sentences.

    Args:
        found: instrument -> its table.
        layered: whether networks were trained with learning rates of single layers.
    """
    rate = ", with one learning rate for all layers, where training in muP and muP² had one for each" * layered
    measured, judged = found["curvature"], found["stability"]
    diverged = int(measured["sharpness"].isna().sum())
    judged = judged.dropna(subset="second_moment")
    sentences = []
    if diverged:
        sentences.append(f"Networks that diverged, with nothing to measure: {diverged}.")
    for multiple, alike in judged.groupby("multiple"):
        stable = int((alike["stable"].astype(bool) & ~undecided(alike)).sum())
        sentences.append(
            f"By condition (6), {stable} of {len(alike)} verdicts are stable{undecided_words(alike)}, at batch size "
            f"1, without momentum, at {_rate(multiple)}{rate}."
        )
    at_batch_size = found["batch-stability"].dropna(subset="second_moment")
    for (size, multiple), alike in at_batch_size.groupby(["batch_size", "multiple"]):
        stable = int((alike["stable"].astype(bool) & ~undecided(alike)).sum())
        sentences.append(
            f"At the batch size of training, {size:g}, {stable} of {len(alike)} verdicts are stable"
            f"{undecided_words(alike)}, at {_rate(multiple)}{rate}. Where one is, plain SGD with such batches stays "
            "near the minimum; elsewhere it may leave."
        )
    sound = measured.dropna(subset="sharpness")
    unsure = sum(int((~table["converged"].astype(bool)).sum()) for table in (sound, judged, at_batch_size))
    if unsure:
        sentences.append(f"{unsure} measurements have an eigenvalue that did not converge.")
    return sentences


def _rate(multiple: Any) -> str:
    """The learning rate that is judged."""
    return f"{'' if multiple == 1 else f'{multiple:g} times '}the first learning rate of the schedule"


def _pictures(found: Mapping[str, pd.DataFrame], wording: Wording) -> list[Picture]:
    pictures = []
    for name, title, draw in (
        ("density", "Spectrum of the Hessian", mechanism_figures.spectral_densities),
        ("landscape", "Loss around the minimum", mechanism_figures.loss_along_directions),
    ):
        table = found[name].dropna()
        if len(table):
            varying = wording.design.varying(table)
            names = [wording.network(row, varying) for row in table.to_dict("records")]
            pictures.append(Picture(f"measured-{name}", title, draw(table.assign(network=names))))
    return pictures
