"""The answer of ``methods``."""

from widebasin.report import figures
from widebasin.report.page import Answer, Picture
from widebasin.report.tables import methods_table
from widebasin.statistics.gains import gain_table, paired_gains, radius_table
from widebasin.studies.findings import comparisons, edges, selection_note, setting_sentence
from widebasin.studies.questions.methods import STUDY
from widebasin.studies.study import Options
from widebasin.studies.tables import Tables
from widebasin.sweep import Resolved

REFERENCE = "sam"


def answer(spec: Resolved, tables: Tables, options: Options) -> Answer:
    """Table, findings and figures of the study."""
    results, design, wording = tables.results, tables.design, tables.wording
    gains = gain_table(results, design, options.select, options.at)
    paired = paired_gains(results, design, options.select, options.at)
    radii = radius_table(results, design, options.at)
    gradients = {method: tables.description.methods[method].gradients_per_step for method in spec.methods}
    epochs = results.groupby("method")["epochs"].first()
    costs = {method: (gradients[method], int(epochs[method])) for method in spec.methods}
    alike = "an equal number of gradients" if spec.budget == "gradients" else "an equal number of epochs"
    compared = [method for method in spec.methods if method != design.baseline]
    # The reference is drawn in every panel.
    panels = [method for method in compared if method != REFERENCE] or compared
    return Answer(
        title=f"The SAM family at {alike}: {tables.description.title}",
        question=STUDY.question,
        setting=f"width {spec.widths[0]}; {setting_sentence(tables.description)}",
        findings=(
            *comparisons(gains, paired, wording, REFERENCE),
            *edges(gains, paired, wording, spec.radii_by_method),
            selection_note(options, tables),
        ),
        tables=(methods_table(gains, wording, costs),),
        pictures=(
            Picture("gain", f"Gain against cost at {alike}", figures.gain_by_cost(gains, wording, gradients)),
            Picture(
                "by-radius",
                f"Test {wording.metric.title} against the radius",
                figures.methods_against_radius(radii, wording, panels, REFERENCE),
            ),
        ),
    )
