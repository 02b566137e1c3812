"""A study of one's own in one file: its question, and its answer."""

from widebasin.report.page import Answer
from widebasin.report.tables import Table
from widebasin.studies import Study
from widebasin.sweep import Spec

STUDY = Study(
    question="How far apart do seeds end?",
    spec=Spec(study="spread", methods=("sgd",)),
    name="spread",
    answered_by="extending.spread",
    compares=False,
)


def answer(spec, tables, options):
    """The spread of the metric that judges, over seeds."""
    del options
    values = tables.results[tables.design.column("test")]
    rows = ((str(spec.widths[0]), f"{values.max() - values.min():.3g}"),)
    finding = f"Between the best and the worst of {len(values)} seeds lie {values.max() - values.min():.3g}."
    return Answer(
        tables.description.title, STUDY.question, "", (finding,), (Table("Spread", ("width", "spread"), rows),), ()
    )
