"""The answer of ``solution-space``: the distance between functions that methods reach from one initialization."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from widebasin.report import mechanism_figures
from widebasin.report.mechanism_tables import with_error
from widebasin.report.page import Answer, Picture
from widebasin.report.tables import Table
from widebasin.report.wording import Wording
from widebasin.statistics.intervals import NO_INTERVAL, NONE, interval_of, rounding_of, t_interval
from widebasin.statistics.measurements import distances_to_baseline, means_over_seeds, ratios_to_baseline
from widebasin.studies.findings import left_words, setting_sentence, verdict_on
from widebasin.studies.instruments import curvature_instrument, points_instrument, solution_instrument
from widebasin.studies.measuring import Instrument
from widebasin.studies.questions.solution_space import STUDY
from widebasin.studies.study import Options
from widebasin.studies.tables import Tables
from widebasin.sweep import Resolved

# Of the whole batch it is gradient descent.
SGD = "SGD"


def instruments(spec: Resolved, options: Options) -> Sequence[Instrument]:
    """The functions and parameters reached, the training points, and the curvature."""
    del spec
    return solution_instrument(), points_instrument(), curvature_instrument(options.samples)


def answer(spec: Resolved, tables: Tables, options: Options) -> Answer:
    """Table, findings and figures of the study."""
    del options
    design, wording = tables.design, tables.wording
    trained_on = tables.measured["points"]
    first = trained_on[(trained_on[[*design.identity]] == trained_on[[*design.identity]].iloc[0]).all(axis=1)]
    points = first["x"].to_numpy(), first["y"].to_numpy()
    everything = tables.measured["curvature"]
    measured = everything.dropna(subset="sharpness")
    diverged = len(everything) - len(measured)
    identity = [*design.identity]
    solutions = tables.measured["solution"].merge(measured[identity], on=identity)
    outputs = solutions[solutions["kind"] == "output"]
    within = outputs[outputs["position"].between(np.min(points[0]), np.max(points[0]))]
    # Of several test examples at one input, a function has one value.
    functions = distances_to_baseline(within.drop_duplicates([*identity, "position"]), design, relative=False)
    parameters = distances_to_baseline(solutions[solutions["kind"] == "parameter"], design, relative=True)
    return Answer(
        title=f"The space of solutions: {tables.description.title}",
        question=STUDY.question,
        setting=setting_sentence(tables.description),
        findings=(
            *_findings(functions, everything, wording),
            *([f"Networks that diverged, and are not compared: {diverged}."] if diverged else []),
        ),
        tables=(_table(functions, parameters, measured, wording),),
        pictures=(
            Picture(
                "functions",
                "Functions reached from the same initializations",
                mechanism_figures.functions_on_a_line(
                    outputs.rename(columns={"position": "x", "value": "output"}), wording, points, spec.first_seed
                ),
            ),
        ),
    )


def _findings(functions: pd.DataFrame, everything: pd.DataFrame, wording: Wording) -> list[str]:
    seeds = everything["seed"].nunique()
    base = "gradient descent" if wording.baseline == SGD else wording.baseline
    sentences = []
    for (method, rho), mine in functions.groupby(["method", "rho"], sort=False):
        widths = sorted(mine["width"].unique())
        name = f"{wording.method(method)} at rho {rho:g}"
        by_width = {width: mine[mine["width"] == width].set_index("seed")["distance"] for width in widths}
        for width, distances in by_width.items():
            one = t_interval(distances)
            sentences.append(
                f"{width} neurons: the functions of {name} and of {base} are {one.mean:.3g} apart ({one.words('.3g')}"
                f"{left_words(one, seeds)})."
            )
        if len(widths) > 1:
            difference = (by_width[widths[-1]] - by_width[widths[0]]).dropna()
            rounding = rounding_of(mine["distance"])
            change = t_interval(difference, rounding=rounding) if len(difference) else NO_INTERVAL
            both = f"{wording.method(method)} and {base} end"
            verdict = verdict_on(
                change,
                seeds,
                up=f"{both} further apart in the wide network",
                down=f"{both} nearer to each other in the wide network",
                neither="no difference beyond the spread of the seeds",
                unknown="no verdict",
            )
            sentences.append(
                f"From {widths[0]} to {widths[-1]} neurons the distance changes by {change.mean:+.3g} "
                f"({change.words('+.3g')}{left_words(change, seeds)}): {verdict}."
            )
    ratios = ratios_to_baseline(everything, wording.design, ["sharpness"])
    for row in ratios[ratios["sharpness_pairs"] > 0].sort_values("width").to_dict("records"):
        sharpness = interval_of(row, "sharpness")
        sentences.append(
            f"{row['width']} neurons: {wording.method(row['method'])} at rho {row['rho']:g} ends at "
            f"{sharpness.mean:.2f} times the sharpness of {base} ({sharpness.words('.2f')}"
            f"{left_words(sharpness, row['pairs'], 'those of which both networks have one above 0')})."
        )
    return sentences


def _table(functions: pd.DataFrame, parameters: pd.DataFrame, measured: pd.DataFrame, wording: Wording) -> Table:
    by = ["width", "num_params", "method", "rho"]
    curved = means_over_seeds(measured, by, ["sharpness", "loss"])
    apart = means_over_seeds(functions, by, ["distance"]) if len(functions) else functions
    moved = means_over_seeds(parameters, by, ["distance"]) if len(parameters) else parameters
    rows = []
    for row in curved.to_dict("records"):
        cells = []
        for table in (apart, moved):
            mine = table[(table[by] == [row[c] for c in by]).all(axis=1)] if len(table) else table
            cells.append(with_error(mine.iloc[0], "distance") if len(mine) else NONE)
        rows.append((*wording.cells(row, by), with_error(row, "loss"), with_error(row, "sharpness"), *cells))
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
