"""Are the minima of SAM flatter and more uniform, and are they stable? (Finding 8 of arXiv 2311.17539.)

Grid: an MLP with squared error, trained one example at a time to a small loss by SGD and by unnormalized SAM, that of
the theory, at several radii x seeds. Measured on a random subset of the training examples: sharpness, non-uniformity
of the per-sample Hessians, the largest eigenvalue of condition (6) at the learning rate of training and at multiples of
it, and the linearized dynamics simulated. Statistic: ratios to SGD paired by seed, and the slope against the radius.
"""

from typing import TYPE_CHECKING

from widebasin.studies.study import BASELINE, Options, Study, Tables, check_one_setting, check_plain_networks
from widebasin.sweep import Resolved, Spec, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from widebasin.report.page import Answer
    from widebasin.report.tables import Table
    from widebasin.studies.measuring import Instrument

QUESTION = "Are the minima of SAM flatter than those of SGD, with more uniform Hessians, and are they linearly stable?"

MULTIPLES = (1.0, 4.0, 16.0)
QUANTITIES = {"sharpness": "sharpness", "s2": "non-uniformity s2", "s3": "s3", "s4": "s4"}
# Eigenvalues are found to a thousandth: a simulated factor this near 1 is no growth.
NO_GROWTH = 1.001
# Below minus this share of the largest sharpness, an eigenvalue is negative beyond the tolerance.
NOT_A_MINIMUM = 1e-3


def instruments(spec: Resolved, options: Options) -> "Sequence[Instrument]":
    """Curvature, and stability at multiples of the learning rate."""
    from widebasin.studies.instruments import curvature_instrument, stability_instrument

    del spec
    return curvature_instrument(options.samples), stability_instrument(options.samples, MULTIPLES)


def answer(spec: Resolved, tables: Tables, options: Options) -> "Answer":
    """Tables, findings and figures of the study."""
    from widebasin.report import mechanism_figures, statistics
    from widebasin.report.mechanism_tables import curvature_table, verdicts_table
    from widebasin.report.page import Answer, Picture
    from widebasin.studies.findings import setting_sentence
    from widebasin.workloads import WORKLOADS

    del options
    everything = tables.measured["curvature"]
    measured = everything[everything["sharpness"].notna()]
    judged = tables.measured["stability"].dropna(subset="second_moment")
    means = statistics.means_over_seeds(measured, ["method", "rho"], ["loss", "lowest", *QUANTITIES])
    diverged = len(everything) - len(measured)
    return Answer(
        title=f"Flatness, uniformity and stability: {WORKLOADS[spec.workload].description}",
        question=QUESTION,
        setting=f"width {spec.widths[0] if spec.widths else ''}; {setting_sentence(spec)}",
        findings=(
            *_flatness(measured, statistics.ratios_to_baseline(measured, list(QUANTITIES))),
            _losses(means),
            *_verdicts(spec, measured, judged),
            *([f"Networks that diverged, and are not measured: {diverged}."] if diverged else []),
            *_doubts(measured, judged),
        ),
        tables=(
            curvature_table(
                means,
                ["method", "rho"],
                ["loss", *QUANTITIES, "lowest"],
                ["loss", *QUANTITIES.values(), "lowest eigenvalue"],
            ),
            _conditions_table(spec, means),
            verdicts_table(judged, ["method", "rho"]),
        ),
        pictures=(
            Picture(
                "curvature",
                "Sharpness and non-uniformity against the radius",
                mechanism_figures.curvature_against_radius(means, list(QUANTITIES), _bounds(spec, means)),
            ),
            Picture(
                "stability",
                "Condition (6) against the simulated linearized dynamics",
                mechanism_figures.second_moment_against_growth(judged),
            ),
        ),
    )


def _flatness(measured: "pd.DataFrame", ratios: "pd.DataFrame") -> list[str]:
    """Whether minima are flatter and more uniform, method by method at the largest radius; and over radii."""
    import numpy as np

    from widebasin.report import statistics
    from widebasin.report.drawing import method_name
    from widebasin.studies.findings import interval_words

    sentences = []
    for method in dict.fromkeys(ratios["method"]) if len(ratios) else ():
        mine = ratios[ratios["method"] == method].sort_values("rho")
        last = mine.iloc[-1]
        for column, name in (("sharpness", "sharpness"), ("s2", "non-uniformity s2")):
            ratio, low, high = (float(last[f"{column}{part}"]) for part in ("", "_low", "_high"))
            if not np.isfinite(ratio):
                continue
            words = f"{ratio:.2g} times that of {method_name(BASELINE)} minima"
            if not np.isfinite(low):
                sentences.append(
                    f"At rho {last.rho:g}, minima of {method_name(method)} have a {name} {words} (one seed)."
                )
                continue
            verdict = "lower" if high < 1 else "higher" if low > 1 else "not different beyond the spread of the seeds"
            sentences.append(
                f"At rho {last.rho:g}, minima of {method_name(method)} have a {name} {words} "
                f"(95% interval {low:.2g} to {high:.2g}): {verdict}."
            )
        for column, name in (("sharpness", "The sharpness"), ("s2", "The non-uniformity s2")):
            slope = statistics.slope_against_radius(measured[measured["method"] == method], column)
            if slope is None:
                continue
            if not np.isfinite(slope.low):
                verdict = "changes"
            else:
                verdict = "falls" if slope.high < 0 else "grows" if slope.low > 0 else "shows no trend"
            doubt = interval_words(10**slope.low, 10**slope.high, ".2g")
            sentences.append(
                f"{name} of {method_name(method)} {verdict} with the radius: "
                f"times {10**slope.mean:.2g} per tenfold radius ({doubt})."
            )
    return sentences


def _verdicts(spec: Resolved, measured: "pd.DataFrame", judged: "pd.DataFrame") -> list[str]:
    """What condition (6) says, and whether the simulation agrees."""
    from widebasin.studies.instruments import STEPS

    if not len(judged):
        return []
    at_training = judged[judged["multiple"] == 1]
    stable = int(at_training["stable"].sum())
    beyond = _beyond(spec)
    one = f" (the theory is about batches of one, plain; these were trained with {beyond})" if beyond else ""
    lowest = float(measured["lowest"].min())
    exact = float((judged["one_step"] / judged["second_moment"] - 1).abs().max())
    held, broken = judged[judged["stable"]], judged[~judged["stable"]]
    calm = int((held["growth"] <= NO_GROWTH + 2 * held["growth_error"]).sum())
    grown = int((broken["growth"] > NO_GROWTH + 2 * broken["growth_error"]).sum())
    sentences = [
        f"By condition (6), {stable} of {len(at_training)} networks are stable at their learning rate{one}.",
        f"One simulated step multiplies the mean squared distance by the eigenvalue of condition (6) to {exact:.0e}.",
    ]
    if len(held):
        words = f"does not grow in {calm} of {len(held)} cases that (6) calls stable"
        sentences.append(f"Over {STEPS} simulated steps from the worst direction, it {words}.")
    if len(broken):
        sentences.append(f"Where (6) is broken it grows over these steps in {grown} of {len(broken)} cases.")
    if lowest < -NOT_A_MINIMUM * float(measured["sharpness"].max()):
        sentences.append(
            f"Not all networks are at a minimum: Hessians have eigenvalues down to {lowest:.2g}. A direction of "
            "curvature -h alone lifts the eigenvalue of S to (1 + eta h)² or so."
        )
    return sentences


def _losses(means: "pd.DataFrame") -> str:
    """At what losses minima are compared: a sharper one may only be a lower one."""
    from widebasin.report.drawing import method_name
    from widebasin.report.mechanism_tables import significant

    parts = []
    for method in dict.fromkeys(means["method"]):
        losses = means.loc[means["method"] == method, "loss"]
        low, high = significant(losses.min(), 2), significant(losses.max(), 2)
        parts.append(f"{method_name(method)} {low if low == high else f'{low} to {high}'}")
    return f"Training loss where they are compared: {', '.join(parts) or 'none'}."


def _beyond(spec: Resolved) -> str:
    """What the training has that the linearized dynamics have not, in words."""
    facts = {
        f"batches of {spec.batch_size}": spec.batch_size != 1,
        f"momentum {spec.momentum:g}": bool(spec.momentum),
        "weight decay": any(spec.weight_decay or ()),
    }
    return ", ".join(name for name, there in facts.items() if there)


def _doubts(measured: "pd.DataFrame", judged: "pd.DataFrame") -> list[str]:
    unsure = int((~measured["converged"].astype(bool)).sum()) + int((~judged["converged"].astype(bool)).sum())
    return [f"{unsure} measurements have an eigenvalue that did not converge."] if unsure else []


def _learning_rate(spec: Resolved) -> float:
    assert spec.learning_rate is not None
    return spec.learning_rate[0]


def _bounds(spec: Resolved, means: "pd.DataFrame") -> dict[tuple[str, float], float | None]:
    """(quantity, radius) -> its bound of condition (7) for unnormalized SAM at the learning rate of training."""
    from widebasin import theory

    bounds: dict[tuple[str, float], float | None] = {}
    learning_rate = _learning_rate(spec)
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


def _conditions_table(spec: Resolved, means: "pd.DataFrame") -> "Table":
    """Condition (7) term by term, for the means over seeds."""
    from widebasin import theory
    from widebasin.report.mechanism_tables import network_names, significant
    from widebasin.report.tables import NONE, Table
    from widebasin.studies.instruments import linearized_radius

    learning_rate = _learning_rate(spec)
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
        rows.append((*network_names(row, ["method", "rho"]), *cells))
    columns = ["method", "rho"]
    for name in ("a (1 + rho a)", "s2²", "s3³", "s4⁴"):
        columns += [name, "at most"]
    note = (
        "The first is necessary for stability, the others for (6) where the learning rate is at least 2 rho. "
        f"a: sharpness. Means over seeds against the bounds at learning rate {learning_rate:g}. {NONE}: no bound "
        "exists; that of s2² takes a learning rate above 2 rho, those of s3³ and s4⁴ a radius above 0."
    )
    return Table("Condition (7), term by term", tuple(columns), tuple(rows), note)


def check(spec: Resolved) -> None:
    """One setting, at a constant learning rate: radii are compared with each other."""
    check_plain_networks(spec)
    if spec.schedule != "constant":
        raise UsageError("schedule", spec.schedule, "must be constant: stability is judged at the rate of training")
    check_one_setting(spec, "radii", besides=("widths",))


STABILITY = Study(
    name="stability",
    question=QUESTION,
    spec=Spec(study="stability", workload="digits-squared-mlp", widths=(32,), methods=(BASELINE, "unnormalized-sam")),
    answer=answer,
    example="--widths 16 --rhos 0.001 0.005 --seeds 3 --out results/stability-16",
    instruments=instruments,
    check_setting=check,
)
