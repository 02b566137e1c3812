"""The answer of ``stability``: curvature against the radius, condition (6) and condition (7)."""

from collections.abc import Sequence

import pandas as pd

from widebasin import theory
from widebasin.report import mechanism_figures
from widebasin.report.mechanism_tables import (
    TOLERANCE,
    curvature_table,
    significant,
    undecided,
    undecided_words,
    verdicts_table,
)
from widebasin.report.page import Answer, Picture
from widebasin.report.tables import Table
from widebasin.report.wording import Wording
from widebasin.statistics.intervals import NONE, interval_of
from widebasin.statistics.measurements import means_over_seeds, ratios_to_baseline, slope_against_radius
from widebasin.studies.findings import beyond_plain_steps, left_words, setting_sentence, verdict_on
from widebasin.studies.instruments import STEPS, curvature_instrument, linearized_radius, stability_instrument
from widebasin.studies.measuring import Instrument
from widebasin.studies.questions.stability import STUDY
from widebasin.studies.study import Options
from widebasin.studies.tables import Tables
from widebasin.sweep import Resolved

MULTIPLES = (1.0, 4.0, 16.0)
QUANTITIES = {"sharpness": "sharpness", "s2": "non-uniformity s2", "s3": "s3", "s4": "s4"}
# Of which seeds a ratio is, and a slope against the radius, where it is not of all.
BOTH, ALL = "those of which both networks have one above 0", "those that have one above 0 at every radius"
# A simulated factor as near to 1 as eigenvalues are found is no growth.
NO_GROWTH = 1 + TOLERANCE
# Below minus this share of the largest sharpness, an eigenvalue is negative beyond the tolerance.
NOT_A_MINIMUM = 1e-3


def instruments(spec: Resolved, options: Options) -> Sequence[Instrument]:
    """Curvature, and stability at multiples of the learning rate."""
    del spec
    return curvature_instrument(options.samples), stability_instrument(options.samples, MULTIPLES)


def answer(spec: Resolved, tables: Tables, options: Options) -> Answer:
    """Tables, findings and figures of the study."""
    del options
    wording, everything = tables.wording, tables.measured["curvature"]
    measured = everything[everything["sharpness"].notna()]
    judged = tables.measured["stability"].dropna(subset="second_moment")
    means = means_over_seeds(measured, ["method", "rho"], ["loss", "lowest", *QUANTITIES])
    diverged = len(everything) - len(measured)
    return Answer(
        title=f"Flatness, uniformity and stability: {tables.description.title}",
        question=STUDY.question,
        setting=f"width {spec.widths[0]}; {setting_sentence(tables.description)}",
        findings=(
            *_flatness(everything, wording),
            _losses(means, wording),
            *_verdicts(spec, measured, judged),
            *([f"Networks that diverged, and are not measured: {diverged}."] if diverged else []),
            *_doubts(measured, judged),
        ),
        tables=(
            curvature_table(
                means, wording, ["method", "rho"], {"loss": "loss", **QUANTITIES, "lowest": "lowest eigenvalue"}
            ),
            _conditions_table(spec, means, wording),
            verdicts_table(judged, wording, ["method", "rho"]),
        ),
        pictures=(
            Picture(
                "curvature",
                "Sharpness and non-uniformity against the radius",
                mechanism_figures.curvature_against_radius(means, wording, list(QUANTITIES), _bounds(spec, means)),
            ),
            Picture(
                "stability",
                "Condition (6) against the simulated linearized dynamics",
                mechanism_figures.second_moment_against_growth(judged),
            ),
        ),
    )


def _flatness(everything: pd.DataFrame, wording: Wording) -> list[str]:
    """Whether minima are flatter and more uniform: per method at the largest radius, and over radii."""
    ratios = ratios_to_baseline(everything, wording.design, list(QUANTITIES))
    sentences = []
    for method in dict.fromkeys(ratios["method"]):
        name, by_radius = wording.method(method), ratios[ratios["method"] == method].sort_values("rho")
        for column, quantity in (("sharpness", "sharpness"), ("s2", "non-uniformity s2")):
            known = by_radius[by_radius[f"{column}_pairs"] > 0]
            if known.empty:
                continue
            last = known.iloc[-1]
            ratio = interval_of(last, column)
            verdict = verdict_on(
                ratio,
                last.pairs,
                up="higher",
                down="lower",
                neither="not different beyond the spread of the seeds",
                unknown="",
                reference=1.0,
            )
            sentences.append(
                f"At rho {last.rho:g}, minima of {name} have a {quantity} {ratio.mean:.2g} times that of "
                f"{wording.baseline} minima ({ratio.words('.2g')}{left_words(ratio, last.pairs, BOTH)})"
                f"{f': {verdict}' if verdict else ''}."
            )
        for column, quantity in (("sharpness", "The sharpness"), ("s2", "The non-uniformity s2")):
            mine = everything[everything["method"] == method]
            seeds, above = mine["seed"].nunique(), mine[column] > 0
            # A radius at which no network has one, as where all diverged, is left out for all seeds.
            mine = mine[above.groupby(mine["rho"]).transform("any")]
            whole = above[mine.index].groupby(mine["seed"]).transform("all")
            slope = slope_against_radius(mine[whole], column)
            if slope is None:
                continue
            verdict = verdict_on(slope, seeds, up="grows", down="falls", neither="shows no trend", unknown="changes")
            factor = slope.mapped(lambda exponent: 10**exponent)
            sentences.append(
                f"{quantity} of {name} {verdict} with the radius: times {factor.mean:.2g} per tenfold radius "
                f"({factor.words('.2g')}{left_words(factor, seeds, ALL)})."
            )
    return sentences


def _verdicts(spec: Resolved, measured: pd.DataFrame, judged: pd.DataFrame) -> list[str]:
    """The verdict of condition (6), and whether the simulation agrees."""
    if not len(judged):
        return []
    at_training = judged[judged["multiple"] == 1]
    stable = int((at_training["stable"].astype(bool) & ~undecided(at_training)).sum())
    beyond = _beyond(spec)
    one = f" (the theory is about batches of one, plain; these were trained with {beyond})" if beyond else ""
    lowest = float(measured["lowest"].min())
    exact = float((judged["one_step"] / judged["second_moment"] - 1).abs().max())
    broken = judged[~judged["stable"].astype(bool)]
    held = judged[judged["stable"].astype(bool) & ~undecided(judged)]
    calm = int((held["growth"] <= NO_GROWTH + 2 * held["growth_error"]).sum())
    grown = int((broken["growth"] > NO_GROWTH + 2 * broken["growth_error"]).sum())
    sentences = [
        f"By condition (6), {stable} of {len(at_training)} networks are stable at their learning rate"
        f"{undecided_words(at_training)}{one}.",
        f"One simulated step multiplies the mean squared distance by the eigenvalue of condition (6) to {exact:.0e}.",
    ]
    if len(held):
        words = f"does not grow (by more than {TOLERANCE:g} per step and two standard errors) in {calm} of {len(held)}"
        sentences.append(
            f"Over {STEPS} simulated steps from the worst direction, it {words} cases that (6) calls stable."
        )
    if len(broken):
        sentences.append(f"Where (6) is broken it grows over these steps in {grown} of {len(broken)} cases.")
    if lowest < -NOT_A_MINIMUM * float(measured["sharpness"].max()):
        sentences.append(
            f"Not all networks are at a minimum: Hessians have eigenvalues down to {lowest:.2g}. A direction of "
            "curvature -h alone lifts the eigenvalue of S to (1 + eta h)² or so."
        )
    return sentences


def _losses(means: pd.DataFrame, wording: Wording) -> str:
    """The losses at which minima are compared: a sharper minimum may only be a lower one."""
    parts = []
    for method in dict.fromkeys(means["method"]):
        losses = means.loc[means["method"] == method, "loss"]
        low, high = significant(losses.min(), 2), significant(losses.max(), 2)
        parts.append(f"{wording.method(method)} {low if low == high else f'{low} to {high}'}")
    return f"Training loss where they are compared: {', '.join(parts) or 'none'}."


def _beyond(spec: Resolved) -> str:
    """The parts of training that the linearized dynamics do not cover, in words."""
    return ", ".join([*([f"batches of {spec.batch_size}"] if spec.batch_size != 1 else []), *beyond_plain_steps(spec)])


def _doubts(measured: pd.DataFrame, judged: pd.DataFrame) -> list[str]:
    unsure = int((~measured["converged"].astype(bool)).sum()) + int((~judged["converged"].astype(bool)).sum())
    return [f"{unsure} measurements have an eigenvalue that did not converge."] if unsure else []


def _bounds(spec: Resolved, means: pd.DataFrame) -> dict[tuple[str, float], float | None]:
    """(quantity, radius) -> its bound of condition (7) for unnormalized SAM at the learning rate of training."""
    bounds: dict[tuple[str, float], float | None] = {}
    (learning_rate,) = spec.learning_rate
    for row in means[means["method"] == "unnormalized-sam"].to_dict("records"):
        rho = row["rho"]
        bounds["sharpness", rho] = theory.largest_sharpness(learning_rate=learning_rate, rho=rho)
        orders: dict[int, float] = {2: 0.0, 3: 0.0, 4: 0.0}
        for order, condition in zip(
            orders,
            theory.stability(sharpness=0.0, nonuniformity=orders, learning_rate=learning_rate, rho=rho).conditions[1:],
            strict=True,
        ):
            bounds[f"s{order}", rho] = None if condition.bound is None else condition.bound ** (1 / order)
    return bounds


def _conditions_table(spec: Resolved, means: pd.DataFrame, wording: Wording) -> Table:
    """Condition (7) term by term, for the means over seeds."""
    (learning_rate,) = spec.learning_rate
    rows = []
    for row in means.to_dict("records"):
        found = theory.stability(
            sharpness=row["sharpness"],
            nonuniformity={order: row[f"s{order}"] for order in (2, 3, 4)},
            learning_rate=learning_rate,
            rho=linearized_radius(row["method"], row["rho"]),
        )
        cells = []
        for condition in found.conditions:
            bound = NONE if condition.bound is None else significant(condition.bound)
            cells += [significant(condition.value), f"{bound}{'' if condition.holds else ' broken'}"]
        rows.append((*wording.cells(row, ["method", "rho"]), *cells))
    columns = ["method", "rho"]
    for name in ("a (1 + rho a)", "s2²", "s3³", "s4⁴"):
        columns += [name, "at most"]
    note = (
        "The first is necessary for stability, the others for (6) where the learning rate is at least 2 rho. "
        f"a: sharpness. Means over seeds against the bounds at learning rate {learning_rate:g}. {NONE}: no bound "
        "exists; that of s2² takes a learning rate above 2 rho, those of s3³ and s4⁴ a radius above 0."
    )
    return Table("Condition (7), term by term", tuple(columns), tuple(rows), note)
