"""The answer of ``convergence``: fitted rates compared with the rates that the theory guarantees."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from widebasin import theory
from widebasin.report import mechanism_figures
from widebasin.report.mechanism_tables import significant
from widebasin.report.page import Answer, Picture
from widebasin.report.tables import Table
from widebasin.report.wording import Wording
from widebasin.statistics.decay import geometric_decay
from widebasin.statistics.intervals import NONE, interval_name, interval_of
from widebasin.statistics.measurements import means_over_seeds, ratios_to_baseline
from widebasin.studies.findings import beyond_plain_steps, left_words, setting_sentence
from widebasin.studies.instruments import EXACT, constants_instrument
from widebasin.studies.measuring import Instrument
from widebasin.studies.questions.convergence import STUDY
from widebasin.studies.study import Options
from widebasin.studies.tables import Tables
from widebasin.sweep import Resolved

# A loss at this share of the first epoch's is as good as zero; the fit ends well above the rounding of float32.
INTERPOLATED, FLOOR = 1e-6, 1e-10
# Of a curve in the figure; more would not be seen.
POINTS = 150


def instruments(spec: Resolved, options: Options) -> Sequence[Instrument]:
    """The constants of the theorem, where they are known."""
    del spec, options
    return (constants_instrument(),)


def answer(spec: Resolved, tables: Tables, options: Options) -> Answer:
    """Table, findings and figure of the study."""
    del options
    wording = tables.wording
    everything = _rates(spec, tables)
    rates = everything[np.isfinite(everything["share"])]
    diverged = len(everything) - len(rates)
    # Constants of a quadratic model say nothing of the first steps.
    lines = {
        (width, method, rho): (
            float(rows["guaranteed"].mean()),
            0.0 if rows["everywhere"].all() else float(rows["from_step"].mean()),
        )
        for (width, method, rho), rows in rates[rates["guaranteed"] < 1].groupby(["width", "method", "rho"])
    }
    return Answer(
        title=f"Convergence: {tables.description.title}",
        question=STUDY.question,
        setting=setting_sentence(tables.description),
        findings=(
            *_findings(rates, spec, wording),
            *([f"Networks that diverged, and are not counted: {diverged}."] if diverged else []),
        ),
        tables=(_table(rates, wording),),
        pictures=(
            Picture(
                "loss",
                "Training loss against steps",
                mechanism_figures.loss_against_steps(_curves(spec, tables), wording, lines),  # pyright: ignore[reportArgumentType]
            ),
        ),
    )


def _steps_per_epoch(spec: Resolved) -> int:
    return spec.train_examples // spec.batch_size


def _rates(spec: Resolved, tables: Tables) -> pd.DataFrame:
    """One row per network: its fitted and its guaranteed factor per step, and how far the loss fell."""
    identity, judged = [*tables.design.identity], (tables.design.baseline, "unnormalized-sam")
    histories = dict(list(tables.history.groupby(identity, sort=False)))
    rows = []
    for known in tables.measured["constants"].to_dict("records"):
        row = {column: known[column] for column in identity}
        history = histories[tuple(row.values())].sort_values("epoch")
        losses = history["train_loss"].to_numpy(float)
        decay = geometric_decay(np.arange(1, len(losses) + 1) * _steps_per_epoch(spec), losses, FLOOR * losses[0])
        guaranteed, max_rate, max_rho = float("nan"), float("nan"), float("nan")
        if np.isfinite(known["pl"]) and row["method"] in judged and not _beyond(spec):
            found = theory.convergence(
                smoothness_each=known["smoothness_each"],
                smoothness=known["smoothness"],
                pl=known["pl"],
                rho=row["rho"],
                batch_size=spec.batch_size,
                learning_rate=row["learning_rate"],
            )
            guaranteed, max_rate, max_rho = found.factor, found.max_learning_rate, found.max_rho
        rows.append(
            row
            | {
                "share": losses[-1] / losses[0],
                "interpolates": bool((losses <= INTERPOLATED * losses[0]).any()),
                "rate": -np.log(decay.factor),
                "r_squared": decay.r_squared,
                "power_r_squared": decay.power_r_squared,
                "is_linear": decay.is_linear,
                "fitted_steps": decay.last - decay.first,
                "guaranteed": guaranteed,
                "guaranteed_rate": -np.log(guaranteed),
                "max_learning_rate": max_rate,
                "max_rho": max_rho,
                "kind": known["kind"],
                "everywhere": known["kind"] == EXACT,
                "from_step": decay.first,
            }
        )
    return pd.DataFrame(rows)


def _beyond(spec: Resolved) -> str:
    """The parts of training that the theorem does not cover, in words; empty if none."""
    return " and ".join([*beyond_plain_steps(spec), *(["groups of m examples"] if spec.m is not None else [])])


def _curves(spec: Resolved, tables: Tables) -> pd.DataFrame:
    """Loss against steps over seeds, at a few hundred epochs: geometric mean, smallest and largest."""
    every = -(-int(tables.history["epoch"].max()) // POINTS)
    history = tables.history[(tables.history["train_loss"] > 0) & ((tables.history["epoch"] - 1) % every == 0)]
    history = history.assign(step=history["epoch"] * _steps_per_epoch(spec), log=np.log(history["train_loss"]))
    found = history.groupby(["width", "num_params", "method", "rho", "step"], sort=False)["log"].agg(
        ["mean", "min", "max"]
    )
    return found.apply(np.exp).rename(columns={"mean": "loss", "min": "low", "max": "high"}).reset_index()


def _findings(rates: pd.DataFrame, spec: Resolved, wording: Wording) -> list[str]:

    sentences = []
    for width, rows in rates.groupby("width"):
        down = rows[rows["interpolates"]]
        start = f"Width {width} ({rows['num_params'].iloc[0]:,} parameters)"
        if len(down):
            straight = int(down["is_linear"].sum())
            sentences.append(
                f"{start}: {len(down)} of {len(rows)} networks reach a millionth of the first loss, "
                f"{straight} of them linearly: along a straight line in the logarithm, straighter than a power law."
            )
        else:
            late = 1 - np.exp(-(rows["rate"] * rows["fitted_steps"]).mean())
            fall = f"the second half of the steps takes {100 * late:.2g}% off"
            fall = fall if np.isfinite(late) else "too few epochs to fit"
            power = int((rows["power_r_squared"] > rows["r_squared"]).sum())
            sentences.append(
                f"{start}: no network reaches a millionth of the first loss; it ends at {rows['share'].min():.2g} to "
                f"{rows['share'].max():.2g} of it; {fall}, in {power} of {len(rows)} more like a power law."
            )
    interpolating = rates.assign(rate=rates["rate"].where(rates["interpolates"]))
    ratios = ratios_to_baseline(interpolating, wording.design, ["rate"])
    for row in ratios[ratios["rate_pairs"] > 0].to_dict("records"):
        rate = interval_of(row, "rate")
        which = "those whose networks both reach a millionth"
        sentences.append(
            f"Width {row['width']}: {wording.method(row['method'])} at rho {row['rho']:g} converges "
            f"{rate.mean:.3f} times as fast as {wording.baseline} ({rate.words('.3f')}"
            f"{left_words(rate, row['pairs'], which)})."
        )
    return sentences + _guarantees(rates, spec)


def _guarantees(rates: pd.DataFrame, spec: Resolved) -> list[str]:

    if _beyond(spec):
        return [f"The theorem guarantees no rate: it has no {_beyond(spec)}."]
    known = rates[np.isfinite(rates["guaranteed"])]
    if not len(known):
        return ["The constants of the theorem are not known for these networks: no rate is guaranteed."]
    exact = bool(known["everywhere"].all())
    where = "" if exact else "Near the minimum reached, with the constants of its quadratic model, "
    sentences = []
    kept = known[known["guaranteed"] < 1]
    if len(kept):
        faster = int((kept["rate"] >= kept["guaranteed_rate"]).sum())
        sentences.append(
            f"{where}{'The' if exact else 'the'} theory guarantees a rate for {len(kept)} networks"
            f"{' (constants exact, from the data)' if exact else ''}; {faster} of them converge at least as fast."
        )
    without = known[known["guaranteed"] >= 1]
    wide, fast = without[without["max_learning_rate"] <= 0], without[without["max_learning_rate"] > 0]
    if len(wide):
        sentences.append(
            f"For {len(wide)} networks nothing is guaranteed at any learning rate: the radius would have to be below "
            f"{wide['max_rho'].min():.2g} to {wide['max_rho'].max():.2g}."
        )
    if len(fast):
        sentences.append(
            f"For {len(fast)} networks nothing is guaranteed at this learning rate: it would have to be below "
            f"{fast['max_learning_rate'].min():.2g} to {fast['max_learning_rate'].max():.2g}."
        )
    return [*sentences, "The theorem draws batches with replacement; training passes over the data, epoch by epoch."]


def _table(rates: pd.DataFrame, wording: Wording) -> Table:

    by = ["width", "num_params", "method", "rho"]
    quantities = ["rate", "share", "r_squared", "power_r_squared", "guaranteed_rate"]
    rows = []
    for row in means_over_seeds(rates, by, quantities).to_dict("records"):
        rows.append(
            (
                *wording.cells(row, by),
                significant(row["share"], 2),
                significant(row["rate"]),
                interval_of(row, "rate").ends(".3g"),
                *(f"{row[c]:.4f}" if np.isfinite(row[c]) else NONE for c in ("r_squared", "power_r_squared")),
                significant(row["guaranteed_rate"]) if row["guaranteed_rate"] > 0 else NONE,
            )
        )
    columns = (
        *wording.headings(by),
        "last / first loss",
        "rate per step",
        interval_name(),
        "R²",
        "R² of a power law",
        "guaranteed at least",
    )
    note = (
        "Rate: minus the slope of the logarithm of the training loss in the second half of the steps, above rounding; "
        "means over seeds, interval: Student t."
    )
    return Table("Rate of convergence", columns, tuple(rows), note)
