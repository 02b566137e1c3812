"""Does a wider network give SAM other solutions to choose from? (Finding 10 of arXiv 2311.17539.)

Grid: one hidden layer of 10 and of 100 ReLU neurons on twelve points of a line, full batch, by gradient descent and
by SAM x seeds. Measured: the functions on a grid, the parameters, the curvature at the end. Statistic: the distance
between the functions that gradient descent and SAM reach from one initialization, and how it differs between widths.
"""

from typing import TYPE_CHECKING

from widebasin.studies.study import BASELINE, Options, Study, Tables, check_one_setting
from widebasin.sweep import Resolved, Spec, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from widebasin.report.page import Answer
    from widebasin.report.tables import Table
    from widebasin.studies.measuring import Instrument

QUESTION = (
    "Do gradient descent and SAM reach other solutions where the network is wide, and alike ones where it is not?"
)


def instruments(spec: Resolved, options: Options) -> "Sequence[Instrument]":
    """The functions and parameters reached, and their curvature."""
    from widebasin.studies.instruments import curvature_instrument, solution_instrument

    del spec
    return solution_instrument(), curvature_instrument(options.samples)


def answer(spec: Resolved, tables: Tables, options: Options) -> "Answer":
    """Table, findings and figures of the study."""
    import numpy as np

    from widebasin.report import mechanism_figures, statistics
    from widebasin.report.page import Answer, Picture
    from widebasin.studies.findings import setting_sentence
    from widebasin.workloads import WORKLOADS

    del options
    workload = WORKLOADS[spec.workload]
    dataset = workload.load()
    points = dataset.inputs[: workload.sizes.train, 0], dataset.targets[: workload.sizes.train, 0]
    measured = tables.measured["curvature"].dropna(subset="sharpness")
    diverged = len(tables.measured["curvature"]) - len(measured)
    identity = [*statistics.SETTING, "method", "rho", "seed"]
    solutions = tables.measured["solution"].merge(measured[identity], on=identity)
    outputs = solutions[solutions["kind"] == "output"]
    within = outputs[outputs["position"].between(np.min(points[0]), np.max(points[0]))]
    functions = statistics.distances_to_baseline(within, relative=False)
    parameters = statistics.distances_to_baseline(solutions[solutions["kind"] == "parameter"], relative=True)
    return Answer(
        title=f"The space of solutions: {workload.description}",
        question=QUESTION,
        setting=setting_sentence(spec),
        findings=(
            *_findings(functions, measured),
            *([f"Networks that diverged, and are not compared: {diverged}."] if diverged else []),
        ),
        tables=(_table(functions, parameters, measured),),
        pictures=(
            Picture(
                "functions",
                "Functions reached from the same initializations",
                mechanism_figures.functions_on_a_line(
                    outputs.rename(columns={"position": "x", "value": "output"}), points, spec.first_seed
                ),
            ),
        ),
    )


def _findings(functions: "pd.DataFrame", measured: "pd.DataFrame") -> list[str]:
    import numpy as np

    from widebasin.report import statistics
    from widebasin.report.drawing import method_name
    from widebasin.studies.findings import interval_words

    sentences = []
    for (method, rho), mine in functions.groupby(["method", "rho"], sort=False):
        widths = sorted(mine["width"].unique())
        name = f"{method_name(method)} at rho {rho:g}"
        by_width = {width: mine[mine["width"] == width].set_index("seed")["distance"] for width in widths}
        for width, distances in by_width.items():
            one = statistics.t_interval(distances)
            doubt = interval_words(one.low, one.high, ".3g")
            sentences.append(
                f"{width} neurons: the functions of {name} and of gradient descent are {one.mean:.3g} apart ({doubt})."
            )
        if len(widths) > 1:
            difference = (by_width[widths[-1]] - by_width[widths[0]]).dropna()
            change = statistics.t_interval(difference) if len(difference) else statistics.NO_INTERVAL
            verdict = "no verdict from one seed"
            if np.isfinite(change.low):
                verdict = (
                    "SAM and gradient descent end further apart in the wide network"
                    if change.low > 0
                    else "SAM and gradient descent end nearer to each other in the wide network"
                    if change.high < 0
                    else "no difference beyond the spread of the seeds"
                )
            sentences.append(
                f"From {widths[0]} to {widths[-1]} neurons the distance changes by {change.mean:+.3g} "
                f"({interval_words(change.low, change.high, '+.3g')}): {verdict}."
            )
    ratios = statistics.ratios_to_baseline(measured, ["sharpness"])
    for row in ratios.sort_values("width").to_dict("records") if len(ratios) else ():
        doubt = interval_words(row["sharpness_low"], row["sharpness_high"], ".2f")
        sentences.append(
            f"{row['width']} neurons: {method_name(row['method'])} at rho {row['rho']:g} ends at "
            f"{row['sharpness']:.2f} times the sharpness of gradient descent ({doubt})."
        )
    return sentences


def _table(functions: "pd.DataFrame", parameters: "pd.DataFrame", measured: "pd.DataFrame") -> "Table":
    from widebasin.report import statistics
    from widebasin.report.mechanism_tables import network_names, with_error
    from widebasin.report.tables import NONE, Table

    by = ["width", "num_params", "method", "rho"]
    curved = statistics.means_over_seeds(measured, by, ["sharpness", "loss"])
    apart = statistics.means_over_seeds(functions, by, ["distance"]) if len(functions) else functions
    moved = statistics.means_over_seeds(parameters, by, ["distance"]) if len(parameters) else parameters
    rows = []
    for row in curved.to_dict("records"):
        cells = []
        for table in (apart, moved):
            mine = table[(table[by] == [row[c] for c in by]).all(axis=1)] if len(table) else table
            cells.append(with_error(mine.iloc[0], "distance") if len(mine) else NONE)
        rows.append((*network_names(row, by), with_error(row, "loss"), with_error(row, "sharpness"), *cells))
    columns = (
        "neurons",
        "parameters",
        "method",
        "rho",
        "train loss",
        "sharpness",
        "distance of functions",
        "of parameters",
    )
    note = (
        "Distances to the baseline's network of the same seed: root mean square difference of the outputs between the "
        "outermost training points; of parameters, relative to their norm. Means ± standard errors over seeds."
    )
    return Table("Solutions", columns, tuple(rows), note)


def check(spec: Resolved) -> None:
    """Functions of one number, in one setting but for the width."""
    from widebasin.workloads import WORKLOADS

    shape = WORKLOADS[spec.workload].load().inputs.shape[1:]
    if shape != (1,):
        raise UsageError("workload", spec.workload, "must have inputs of one number, to draw its functions: line-mlp")
    check_one_setting(spec, "widths")


SOLUTION_SPACE = Study(
    name="solution-space",
    question=QUESTION,
    spec=Spec(study="solution-space", workload="line-mlp", methods=(BASELINE, "sam")),
    answer=answer,
    example="--widths 5 10 20 50 100 --rhos 0.1 0.3 --seeds 10 --out results/more-widths",
    instruments=instruments,
    check_setting=check,
)
