"""The answer of a sweep that belongs to no study: what every group of networks reached, and the learning curves."""

from typing import TYPE_CHECKING

from widebasin.studies.study import Options, Study, Tables
from widebasin.sweep import Resolved, Spec

if TYPE_CHECKING:
    from widebasin.report.page import Answer

QUESTION = "What did the networks of this sweep reach?"


def answer(spec: Resolved, tables: Tables, options: Options) -> "Answer":
    """Table and figures of a sweep."""
    from widebasin.report import figures, statistics
    from widebasin.report.page import Answer, Picture
    from widebasin.report.tables import networks_table
    from widebasin.studies.findings import setting_sentence
    from widebasin.workloads import WORKLOADS

    del options
    metric = statistics.metric_of(tables.results)
    return Answer(
        title=WORKLOADS[spec.workload].description,
        question=QUESTION,
        setting=setting_sentence(spec),
        findings=(),
        tables=(networks_table(tables.results, metric),),
        pictures=(Picture("learning-curves", "Learning curves", figures.learning_curves(tables.history, metric)),),
    )


NETWORKS = Study(name="", question=QUESTION, spec=Spec(), answer=answer, compares=False)
