"""The answer of a sweep that belongs to no study: results of each group of networks, and learning curves."""

from widebasin.report import figures
from widebasin.report.page import Answer, Picture
from widebasin.report.tables import networks_table
from widebasin.studies.findings import setting_sentence
from widebasin.studies.questions.networks import STUDY
from widebasin.studies.study import Options
from widebasin.studies.tables import Tables
from widebasin.sweep import Resolved


def answer(spec: Resolved, tables: Tables, options: Options) -> Answer:
    """Table and figures of a sweep."""
    del spec, options
    curves = figures.learning_curves(tables.history, tables.wording)
    return Answer(
        title=tables.description.title,
        question=STUDY.question,
        setting=setting_sentence(tables.description),
        findings=(),
        tables=(networks_table(tables.results, tables.wording),),
        pictures=(Picture("learning-curves", "Learning curves", curves),),
    )
