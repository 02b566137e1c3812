"""The answer of ``label-noise``."""

from dataclasses import replace

from widebasin.report.page import Answer
from widebasin.statistics.gains import gain_table, paired_gains, radius_table
from widebasin.studies.answers.overparam import gain_answer
from widebasin.studies.findings import selection_note, slope_change
from widebasin.studies.questions.label_noise import STUDY
from widebasin.studies.study import Options
from widebasin.studies.tables import Tables
from widebasin.sweep import Resolved


def answer(spec: Resolved, tables: Tables, options: Options) -> Answer:
    """Table, findings and figures of the study."""
    results, design, wording = tables.results, tables.design, tables.wording
    gains = gain_table(results, design, options.select, options.at)
    paired = paired_gains(results, design, options.select, options.at)
    plain = gain_answer(spec, tables, gains, paired, radius_table(results, design, options.at), wording)
    change = slope_change(gains, paired, wording, "label_noise")
    return replace(
        plain,
        title=f"SAM, overparameterization and label noise: {tables.description.title}",
        question=STUDY.question,
        findings=(*change, *plain.findings, selection_note(options, tables)),
    )
