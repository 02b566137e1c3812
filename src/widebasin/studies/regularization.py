"""Is enough regularization needed for SAM to help more as the network grows? (Finding 4 of arXiv 2311.17539.)

Grid: widths x {SGD, SAM at every radius} x weight decays x seeds. Every network is read twice: at the last epoch, and
stopped early, at its best validation epoch. Statistic: that of ``overparam`` for every weight decay and reading; the
difference of the gain's slopes between the ends of the weight decays, and between the readings.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from widebasin.studies.study import BASELINE, Options, Study, Tables, check_one_setting
from widebasin.sweep import Resolved, Spec

if TYPE_CHECKING:
    from widebasin.report.page import Answer

QUESTION = "Does the gain of SAM over SGD need weight decay or early stopping to grow with the number of parameters?"

# How networks are stopped -> the epoch that is read.
STOPPED = {"at the last epoch": "final", "early": "best"}


def answer(spec: Resolved, tables: Tables, options: Options) -> "Answer":
    """Table, findings and figures of the study; both epochs are read, whatever ``options.at`` says."""
    import pandas as pd

    from widebasin.report import statistics
    from widebasin.studies.findings import selection_sentence, slope_change
    from widebasin.studies.overparam import gain_answer
    from widebasin.workloads import WORKLOADS

    results = tables.results
    metric = statistics.metric_of(results)
    gains, paired, radii = (
        pd.concat([read(at).assign(stopped=stopping) for stopping, at in STOPPED.items()], ignore_index=True)
        for read in (
            lambda at: statistics.gain_table(results, BASELINE, options.select, at),
            lambda at: statistics.paired_gains(results, BASELINE, options.select, at),
            lambda at: statistics.radius_table(results, at),
        )
    )
    changes = []
    for column, fixed in (("weight_decay", "stopped"), ("stopped", "weight_decay")):
        for value in dict.fromkeys(gains[fixed]):
            sentences = slope_change(gains[gains[fixed] == value], paired[paired[fixed] == value], metric, column)
            changes += [f"{_where(fixed, value)}: {sentence[:1].lower()}{sentence[1:]}" for sentence in sentences]
    plain = gain_answer(spec, gains, paired, radii, metric)
    return replace(
        plain,
        title=f"SAM, overparameterization and regularization: {WORKLOADS[spec.workload].description}",
        question=QUESTION,
        tables=tuple(replace(one, note=f"{one.note} Training losses are of the last epoch.") for one in plain.tables),
        findings=(*changes, *plain.findings, selection_sentence(options.select, "the epoch in question")),
    )


def _where(column: str, value: float | str) -> str:
    return f"Stopped {value}" if column == "stopped" else f"With weight decay {value:g}"


def check_setting(spec: Resolved) -> None:
    """The study compares weight decays and epochs; slopes of several settings have no one difference."""
    check_one_setting(spec, "weight decays", varied=("weight_decay",))


REGULARIZATION = Study(
    name="regularization",
    question=QUESTION,
    spec=Spec(study="regularization", weight_decay=(0.0, 0.003)),
    answer=answer,
    example="--weight-decay 0 1e-4 1e-3 --out results/three-decays",
    check_setting=check_setting,
)
