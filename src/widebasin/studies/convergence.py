"""Does SAM converge linearly where the network can interpolate? (Finding 9 of arXiv 2311.17539.)

Grid: a width that cannot interpolate and one that can x {SGD, unnormalized SAM at several radii} x seeds, at a constant
learning rate. Statistic: the rate per step, minus the slope of the logarithm of the training loss, fitted to the second
half of the steps, with its interval over seeds; beside it the rate that the theory guarantees where it knows one.
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

QUESTION = "Does stochastic SAM converge linearly where the network is large enough to interpolate, and only there?"

# A loss at this share of the first epoch's is as good as zero; the fit ends well above the rounding of float32.
INTERPOLATED, FLOOR = 1e-6, 1e-10
# Of a curve in the figure; more would not be seen.
POINTS = 150


def instruments(spec: Resolved, options: Options) -> "Sequence[Instrument]":
    """The constants of the theorem, where they are known."""
    from widebasin.studies.instruments import constants_instrument

    del spec, options
    return (constants_instrument(),)


def answer(spec: Resolved, tables: Tables, options: Options) -> "Answer":
    """Table, findings and figure of the study."""
    import numpy as np

    from widebasin.report import mechanism_figures
    from widebasin.report.page import Answer, Picture
    from widebasin.studies.findings import setting_sentence
    from widebasin.workloads import WORKLOADS

    del options
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
        title=f"Convergence: {WORKLOADS[spec.workload].description}",
        question=QUESTION,
        setting=setting_sentence(spec),
        findings=(
            *_findings(rates, spec),
            *([f"Networks that diverged, and are not counted: {diverged}."] if diverged else []),
        ),
        tables=(_table(rates),),
        pictures=(
            Picture(
                "loss",
                "Training loss against steps",
                mechanism_figures.loss_against_steps(_curves(spec, tables), lines),  # pyright: ignore[reportArgumentType]
            ),
        ),
    )


def _steps_per_epoch(spec: Resolved) -> int:
    assert spec.train_examples is not None
    assert spec.batch_size is not None
    return spec.train_examples // spec.batch_size


def _rates(spec: Resolved, tables: Tables) -> "pd.DataFrame":
    """One row per network: its fitted and its guaranteed factor per step, and how far the loss fell."""
    import numpy as np
    import pandas as pd

    from widebasin import theory
    from widebasin.report.statistics import SETTING, geometric_decay
    from widebasin.studies.instruments import EXACT

    identity = [*SETTING, "method", "rho", "seed"]
    histories = dict(list(tables.history.groupby(identity, sort=False)))
    rows = []
    for known in tables.measured["constants"].to_dict("records"):
        row = {column: known[column] for column in identity}
        history = histories[tuple(row.values())].sort_values("epoch")
        losses = history["train_loss"].to_numpy(float)
        decay = geometric_decay(np.arange(1, len(losses) + 1) * _steps_per_epoch(spec), losses, FLOOR * losses[0])
        guaranteed, max_rate, max_rho = float("nan"), float("nan"), float("nan")
        if np.isfinite(known["pl"]) and row["method"] in (BASELINE, "unnormalized-sam") and not _beyond(spec):
            found = theory.convergence(
                smoothness_each=known["smoothness_each"],
                smoothness=known["smoothness"],
                pl=known["pl"],
                rho=row["rho"],
                batch_size=spec.batch_size or 1,
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
    """What the training has that the theorem has not, in words; empty if nothing."""
    facts = {
        "momentum": bool(spec.momentum),
        "weight decay": any(spec.weight_decay or ()),
        "groups of m examples": spec.m is not None,
    }
    return " and ".join(name for name, there in facts.items() if there)


def _curves(spec: Resolved, tables: Tables) -> "pd.DataFrame":
    """Loss against steps over seeds, at some hundred epochs: geometric mean, smallest and largest."""
    import numpy as np

    every = -(-int(tables.history["epoch"].max()) // POINTS)
    history = tables.history[(tables.history["train_loss"] > 0) & ((tables.history["epoch"] - 1) % every == 0)]
    history = history.assign(step=history["epoch"] * _steps_per_epoch(spec), log=np.log(history["train_loss"]))
    found = history.groupby(["width", "num_params", "method", "rho", "step"], sort=False)["log"].agg(
        ["mean", "min", "max"]
    )
    return found.apply(np.exp).rename(columns={"mean": "loss", "min": "low", "max": "high"}).reset_index()


def _findings(rates: "pd.DataFrame", spec: Resolved) -> list[str]:
    import numpy as np

    from widebasin.report import statistics
    from widebasin.report.drawing import method_name
    from widebasin.studies.findings import interval_words

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
    interpolating = rates[rates["interpolates"]]
    ratios = statistics.ratios_to_baseline(interpolating, ["rate"]) if len(interpolating) else interpolating
    for row in ratios.to_dict("records") if len(ratios) else ():
        doubt = interval_words(row["rate_low"], row["rate_high"], ".3f")
        sentences.append(
            f"Width {row['width']}: {method_name(row['method'])} at rho {row['rho']:g} converges "
            f"{row['rate']:.3f} times as fast as {method_name(BASELINE)} ({doubt})."
        )
    return sentences + _guarantees(rates, spec)


def _guarantees(rates: "pd.DataFrame", spec: Resolved) -> list[str]:
    import numpy as np

    if _beyond(spec):
        return [f"The theorem guarantees no rate: it has no {_beyond(spec)}."]
    known = rates[np.isfinite(rates["guaranteed"])]
    if not len(known):
        return ["The constants of the theorem are not known for this workload: no rate is guaranteed."]
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


def _table(rates: "pd.DataFrame") -> "Table":
    import numpy as np

    from widebasin.report import statistics
    from widebasin.report.mechanism_tables import interval, network_names, significant
    from widebasin.report.tables import NONE, Table

    by = ["width", "num_params", "method", "rho"]
    rows = []
    for row in statistics.means_over_seeds(
        rates, by, ["rate", "share", "r_squared", "power_r_squared", "guaranteed_rate"]
    ).to_dict("records"):
        rows.append(
            (
                *network_names(row, by),
                significant(row["share"], 2),
                significant(row["rate"]),
                interval(row, "rate"),
                *(f"{row[c]:.4f}" if np.isfinite(row[c]) else NONE for c in ("r_squared", "power_r_squared")),
                significant(row["guaranteed_rate"]) if row["guaranteed_rate"] > 0 else NONE,
            )
        )
    columns = (
        "width",
        "parameters",
        "method",
        "rho",
        "last / first loss",
        "rate per step",
        "95% interval",
        "R²",
        "R² of a power law",
        "guaranteed at least",
    )
    note = (
        "Rate: minus the slope of the logarithm of the training loss in the second half of the steps, above rounding; "
        "means over seeds, interval: Student t."
    )
    return Table("Rate of convergence", columns, tuple(rows), note)


def check(spec: Resolved) -> None:
    """A line in the logarithm wants a constant learning rate; one setting but for the width."""
    check_plain_networks(spec)
    if spec.schedule != "constant":
        raise UsageError("schedule", spec.schedule, "must be constant: with others the rate changes with the schedule")
    check_one_setting(spec, "widths")


CONVERGENCE = Study(
    name="convergence",
    question=QUESTION,
    spec=Spec(study="convergence", workload="matrix-factorization", methods=(BASELINE, "unnormalized-sam")),
    answer=answer,
    example="--workload least-squares --out results/convergence-least-squares",
    instruments=instruments,
    check_setting=check,
)
