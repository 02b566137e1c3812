"""The answer of ``regularization``."""

from dataclasses import replace

import pandas as pd

from widebasin.report.page import Answer
from widebasin.statistics.gains import gain_table, paired_gains, radius_table
from widebasin.studies.answers.overparam import gain_answer
from widebasin.studies.findings import STOPPED, selection_note, slope_change
from widebasin.studies.questions.regularization import STUDY
from widebasin.studies.study import Options
from widebasin.studies.tables import Tables
from widebasin.sweep import Resolved

# How networks are stopped -> the epoch that is read.
READ_AT = {"at the last epoch": "final", "early": "best"}


def answer(spec: Resolved, tables: Tables, options: Options) -> Answer:
    """Table, findings and figures of the study; uses both epochs, whatever ``options.at`` says."""
    results, design = tables.results, tables.design
    wording = tables.wording.read_by(**{STOPPED: "stopped {}"})
    gains, paired, radii = (
        pd.concat([read(at).assign(**{STOPPED: stopping}) for stopping, at in READ_AT.items()], ignore_index=True)
        for read in (
            lambda at: gain_table(results, design, options.select, at),
            lambda at: paired_gains(results, design, options.select, at),
            lambda at: radius_table(results, design, at),
        )
    )
    changes = []
    for column, fixed in (("weight_decay", STOPPED), (STOPPED, "weight_decay")):
        for value in dict.fromkeys(gains[fixed]):
            sentences = slope_change(gains[gains[fixed] == value], paired[paired[fixed] == value], wording, column)
            changes += [f"{_where(fixed, value)}: {sentence[:1].lower()}{sentence[1:]}" for sentence in sentences]
    plain = gain_answer(spec, tables, gains, paired, radii, wording)
    return replace(
        plain,
        title=f"SAM, overparameterization and regularization: {tables.description.title}",
        question=STUDY.question,
        tables=tuple(replace(one, note=f"{one.note} Training losses are of the last epoch.") for one in plain.tables),
        findings=(*changes, *plain.findings, selection_note(options, tables, epoch="the epoch in question")),
    )


def _where(column: str, value: float | str) -> str:
    return f"Stopped {value}" if column == STOPPED else f"With weight decay {value:g}"
