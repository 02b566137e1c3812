"""The answer of ``overparam``: how the gain changes with the number of parameters; other studies use it too."""

import re
from dataclasses import replace
from typing import Any

import pandas as pd

from widebasin.report import figures
from widebasin.report.page import Answer, Picture
from widebasin.report.tables import gains_table, has_train_loss
from widebasin.report.wording import Wording
from widebasin.statistics.gains import gain_table, paired_gains, radius_table
from widebasin.studies.findings import growth_left, selection_note, setting_sentence, trends
from widebasin.studies.questions.overparam import STUDY
from widebasin.studies.study import Options
from widebasin.studies.tables import Tables
from widebasin.sweep import Resolved
from widebasin.sweep.description import Published

GAIN = "Gain against the number of parameters"


def answer(spec: Resolved, tables: Tables, options: Options) -> Answer:
    """Table, findings and figures of the study."""
    results, design, published = tables.results, tables.design, tables.description.published
    gains = gain_table(results, design, options.select, options.at)
    paired = paired_gains(results, design, options.select, options.at)
    radii = radius_table(results, design, options.at)
    found = gain_answer(spec, tables, gains, paired, radii, tables.wording)
    comparable = gains.iloc[:0] if published is None else in_setting(published, spec, gains)
    if published is not None and len(comparable):
        found = replace(
            found, pictures=(_with_published(gains, tables.wording, published, comparable), *found.pictures[1:])
        )
    return replace(found, findings=(*found.findings, selection_note(options, tables)))


def gain_answer(
    spec: Resolved,
    tables: Tables,
    gains: pd.DataFrame,
    paired: pd.DataFrame,
    radii: pd.DataFrame,
    wording: Wording,
) -> Answer:
    """How the gain changes with the number of parameters, in every setting of the tables.

    Args:
        spec: the resolved spec.
        tables: the tables of the sweep.
        gains: rows of ``gain_table``.
        paired: rows of ``paired_gains``.
        radii: rows of ``radius_table``.
        wording: the wording of these tables.
    """
    metric = wording.metric
    pictures = [
        Picture("gain", GAIN, figures.gain_against_parameters(gains, wording)),
        Picture(
            "radius",
            "Chosen radius against the number of parameters",
            figures.radius_against_parameters(gains, wording),
        ),
        Picture(
            f"test-{file_name(metric.name)}",
            f"Test {metric.title} against the number of parameters",
            figures.metric_against_parameters(gains, wording),
        ),
        *_train_loss(gains, wording),
        *_by_radius(spec, radii, wording),
    ]
    return Answer(
        title=f"SAM and overparameterization: {tables.description.title}",
        question=STUDY.question,
        setting=setting_sentence(tables.description),
        findings=(*trends(gains, paired, wording, spec.radii_by_method), *growth_left(gains, paired, wording)),
        tables=(gains_table(gains, wording),),
        pictures=tuple(pictures),
    )


def _train_loss(gains: pd.DataFrame, wording: Wording) -> list[Picture]:
    """The loss after training, where there is one."""
    if not has_train_loss(gains):
        return []
    figure = figures.train_loss_against_parameters(gains, wording)
    return [Picture("train-loss", "Training loss against the number of parameters", figure)]


def _by_radius(spec: Resolved, radii: pd.DataFrame, wording: Wording) -> list[Picture]:
    """The metric against the radius, one figure per method and setting."""
    baseline, settings = wording.design.baseline, wording.design.varying(radii)
    methods = [method for method in spec.methods if method != baseline]
    pictures = []
    for method in methods:
        of_method = radii[radii["method"].isin((baseline, method))]
        for _, rows in of_method.groupby(settings) if settings else [((), of_method)]:
            one = rows.iloc[0]
            suffix = [method] if len(methods) > 1 else []
            suffix += [f"{name}-{f'{one[name]:g}' if isinstance(one[name], float) else one[name]}" for name in settings]
            words = [wording.method(method), *(wording.setting(one, [name]) for name in settings)]
            pictures.append(
                Picture(
                    file_name("-".join(["by-radius", *suffix])),
                    f"Test {wording.metric.title} against the radius of {', '.join(words)}",
                    figures.metric_against_radius(rows, wording),
                )
            )
    return pictures


def file_name(words: str) -> str:
    """Words as part of a file name."""
    return re.sub("[^A-Za-z0-9.]+", "-", words)


def in_setting(published: Published, spec: Resolved, gains: pd.DataFrame) -> pd.DataFrame:
    """The rows of gains in the same setting as published ones."""
    comparable = pd.Series(True, gains.index)
    for name, wanted in published.setting.items():
        if name in gains:
            comparable &= gains[name].isin(_several(wanted))
        else:
            comparable &= _several(getattr(spec, name)) == _several(wanted)
    return gains[comparable]


def _several(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _with_published(gains: pd.DataFrame, wording: Wording, published: Published, comparable: pd.DataFrame) -> Picture:
    """The figure of the gains with the published ones, whose label names their setting if there are several."""
    setting = wording.setting(comparable.iloc[0], wording.design.varying(gains))
    label = f"published, {setting}" if setting else "published"
    return Picture(
        "gain",
        f"{GAIN}; dashed: as published, {published.source}",
        figures.gain_against_parameters(gains, wording, published.gains, label),
    )
