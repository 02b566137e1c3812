"""Does label noise make the effect stronger? (Finding 6 of arXiv 2311.17539.)

Grid: widths x {SGD, SAM at every radius} x shares of wrong training labels x seeds. Statistic: that of ``overparam``
at every share of wrong labels; and the difference of the gain's slopes between the largest and the smallest share.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from widebasin.studies import overparam
from widebasin.studies.study import BASELINE, Options, Study, Tables, check_one_setting
from widebasin.sweep import Resolved, Spec

if TYPE_CHECKING:
    from widebasin.report.page import Answer

QUESTION = "Does the gain of SAM over SGD grow more with the number of parameters when more labels are wrong?"


def answer(spec: Resolved, tables: Tables, options: Options) -> "Answer":
    """Table, findings and figures of the study."""
    from widebasin.report import statistics
    from widebasin.studies.findings import slope_change
    from widebasin.workloads import WORKLOADS

    metric = statistics.metric_of(tables.results)
    gains = statistics.gain_table(tables.results, BASELINE, options.select, options.at)
    paired = statistics.paired_gains(tables.results, BASELINE, options.select, options.at)
    plain = overparam.answer(spec, tables, options)
    return replace(
        plain,
        title=f"SAM, overparameterization and label noise: {WORKLOADS[spec.workload].description}",
        question=QUESTION,
        findings=(*slope_change(gains, paired, metric, "label_noise"), *plain.findings),
    )


def check_setting(spec: Resolved) -> None:
    """The study compares shares of wrong labels; slopes of several settings have no one difference."""
    check_one_setting(spec, "shares of wrong labels", varied=("label_noise",))


LABEL_NOISE = Study(
    name="label-noise",
    question=QUESTION,
    spec=Spec(study="label-noise", label_noise=(0.0, 0.2, 0.4, 0.6)),
    answer=answer,
    check_setting=check_setting,
)
