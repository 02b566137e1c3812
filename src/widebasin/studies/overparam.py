"""Does SAM help more as the network grows? (Findings 1 to 3 of arXiv 2311.17539.)

Grid: the widths of a workload x {SGD, SAM at every radius} x seeds. Statistic: per width, SAM's gain over SGD on the
test split at the radius chosen on validation, paired by seed; and the gain's slope per tenfold parameters.
"""

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from widebasin.report import BASELINE
from widebasin.studies.study import Options, Study, Tables
from widebasin.sweep import Resolved, Spec

if TYPE_CHECKING:
    import pandas as pd

    from widebasin.report.page import Answer
    from widebasin.report.statistics import Metric

QUESTION = "Does the gain of SAM over SGD grow with the number of parameters?"

PUBLISHED = (
    "; dashed: read off the figure of arXiv 2311.17539, with the paper's own data and recipe, the radius chosen on test"
)


def answer(spec: Resolved, tables: Tables, options: Options) -> "Answer":
    """Table, findings and figures of the study."""
    from widebasin.report import statistics
    from widebasin.studies.findings import selection_note

    gains = statistics.gain_table(tables.results, BASELINE, options.select, options.at)
    paired = statistics.paired_gains(tables.results, BASELINE, options.select, options.at)
    radii = statistics.radius_table(tables.results, options.at)
    found = gain_answer(spec, gains, paired, radii, statistics.metric_of(tables.results))
    return replace(found, findings=(*found.findings, selection_note(options)))


def gain_answer(
    spec: Resolved, gains: "pd.DataFrame", paired: "pd.DataFrame", radii: "pd.DataFrame", metric: "Metric"
) -> "Answer":
    """How the gain moves with the number of parameters, in every setting that the tables hold.

    Args:
        spec: resolved.
        gains: rows of ``statistics.gain_table``.
        paired: rows of ``statistics.paired_gains``.
        radii: rows of ``statistics.radius_table``.
        metric: of them.
    """
    from widebasin.report import figures, statistics
    from widebasin.report.drawing import method_name, setting_name
    from widebasin.report.page import Answer, Picture
    from widebasin.report.tables import gains_table
    from widebasin.studies.findings import setting_sentence, trends
    from widebasin.workloads import WORKLOADS

    workload = WORKLOADS[spec.workload]
    pictures = [
        Picture(
            "gain",
            "Gain against the number of parameters" + (PUBLISHED if workload.published else ""),
            figures.gain_against_parameters(gains, metric, workload.published),
        ),
        Picture(
            "radius",
            "Chosen radius against the number of parameters",
            figures.radius_against_parameters(gains),
        ),
        Picture(
            "accuracy" if metric.name == "accuracy" else "test-loss",
            f"Test {metric.name} against the number of parameters",
            figures.metric_against_parameters(gains, metric),
        ),
        Picture(
            "train-loss",
            "Training loss against the number of parameters",
            figures.train_loss_against_parameters(gains),
        ),
    ]
    settings = statistics.varying(radii)
    methods = [m for m in spec.methods if m != BASELINE]
    for method in methods:
        of_method = radii[radii["method"].isin((BASELINE, method))]
        for _, rows in of_method.groupby(settings) if settings else [((), of_method)]:
            one = rows.iloc[0]
            suffix = f"-{method}" if len(methods) > 1 else ""
            values = {name: f"{one[name]:g}" if isinstance(one[name], float) else one[name] for name in settings}
            suffix += "".join(f"-{name}-{value}" for name, value in values.items())
            words = f" of {method_name(method)}"
            words += "".join(f", {setting_name(one, [name])}" for name in settings)
            pictures.append(
                Picture(
                    f"by-radius{re.sub('[^A-Za-z0-9.]+', '-', suffix)}",
                    f"Test {metric.name} against the radius{words}",
                    figures.metric_against_radius(rows, metric, BASELINE),
                )
            )
    return Answer(
        title=f"SAM and overparameterization: {workload.description}",
        question=QUESTION,
        setting=setting_sentence(spec),
        findings=tuple(trends(gains, paired, metric, BASELINE, spec.rhos or ())),
        tables=(gains_table(gains, metric, BASELINE),),
        pictures=tuple(pictures),
    )


OVERPARAM = Study(name="overparam", question=QUESTION, spec=Spec(study="overparam"), answer=answer)
