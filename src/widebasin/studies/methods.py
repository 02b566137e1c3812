"""Which method of the SAM family gains most for the gradients that it takes?

Grid: one width x every method at every radius x seeds, each trained for as many gradients as SAM takes in the recipe's
epochs (SGD twice as long, LookSAM 1.7 times as long). Statistic: every method's gain over SGD on the test split at its
own radius chosen on validation, paired by seed; and the same against SAM.
"""

from typing import TYPE_CHECKING

from widebasin.studies.study import BASELINE, Options, Study, Tables, check_one_setting
from widebasin.sweep import Resolved, Spec

if TYPE_CHECKING:
    from widebasin.report.page import Answer

QUESTION = "Which method of the SAM family gains most over SGD for the gradients that it takes?"

REFERENCE = "sam"


def answer(spec: Resolved, tables: Tables, options: Options) -> "Answer":
    """Table, findings and figures of the study."""
    from widebasin.report import figures, statistics
    from widebasin.report.page import Answer, Picture
    from widebasin.report.tables import methods_table
    from widebasin.sam import METHODS
    from widebasin.studies.findings import comparisons, edges, selection_note, setting_sentence
    from widebasin.workloads import WORKLOADS

    metric = statistics.metric_of(tables.results)
    gains = statistics.gain_table(tables.results, BASELINE, options.select, options.at)
    paired = statistics.paired_gains(tables.results, BASELINE, options.select, options.at)
    gradients = {method: METHODS[method].with_radius(0.0).gradients_per_step for method in spec.methods}
    epochs = tables.results.groupby("method")["epochs"].first()
    costs = {method: (gradients[method], int(epochs[method])) for method in spec.methods}
    alike = "an equal number of gradients" if spec.budget == "gradients" else "an equal number of epochs"
    radii = statistics.radius_table(tables.results, options.at)
    compared = [method for method in spec.methods if method != BASELINE]
    # The reference is drawn in every panel.
    panels = [method for method in compared if method != REFERENCE] or compared
    return Answer(
        title=f"The SAM family at {alike}: {WORKLOADS[spec.workload].description}",
        question=QUESTION,
        setting=f"width {spec.widths[0] if spec.widths else ''}; {setting_sentence(spec)}",
        findings=(
            *comparisons(gains, paired, metric, BASELINE, REFERENCE),
            *edges(gains, paired, spec.rhos or ()),
            selection_note(options),
        ),
        tables=(methods_table(gains, costs, metric, BASELINE),),
        pictures=(
            Picture("gain", f"Gain against cost at {alike}", figures.gain_by_cost(gains, gradients, metric)),
            Picture(
                "by-radius",
                f"Test {metric.name} against the radius",
                figures.methods_against_radius(radii, metric, panels, REFERENCE, BASELINE),
            ),
        ),
    )


def check(spec: Resolved) -> None:
    """One setting: methods are compared with each other, not across sizes."""
    check_one_setting(spec, "methods", besides=("widths",))


METHODS_STUDY = Study(
    name="methods",
    question=QUESTION,
    spec=Spec(
        study="methods",
        widths=(64,),
        methods=(
            "sgd",
            "sam",
            "unnormalized-sam",
            "multi-step-sam",
            "random-perturbation",
            "asam",
            "gsam",
            "looksam",
            "sam-every-5",
            "esam",
            "friendly-sam",
            "wsam",
            "ssam",
            "random-ssam",
        ),
        rhos=(0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0),
        budget="gradients",
    ),
    answer=answer,
    example="--methods sgd sam looksam asam --widths 128 --seeds 10 --out results/four",
    check_setting=check,
)
