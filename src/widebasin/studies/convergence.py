"""Does SAM converge linearly where the network can interpolate? (Finding 9 of arXiv 2311.17539.)

Grid: a width that cannot interpolate and one that can x {SGD, unnormalized SAM at several radii} x seeds, at a constant
learning rate. Statistic: the rate per step, minus the slope of the logarithm of the training loss, fitted to the second
half of its fall, with its interval over seeds; beside it the rate that the theory guarantees where it knows one.
"""

from typing import TYPE_CHECKING

from widebasin.studies.study import BASELINE, Options, Study, Tables
from widebasin.sweep import Spec, UsageError

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
# Above this share of the logarithm's variance, the fall is a straight line to the eye.
STRAIGHT = 0.98


def instruments(spec: Spec, options: Options) -> "Sequence[Instrument]":
    """The constants of the theorem, where they are known."""
    from widebasin.studies.instruments import constants_instrument

    del spec, options
    return (constants_instrument(),)


def answer(spec: Spec, tables: Tables, options: Options) -> "Answer":
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
    guaranteed = rates[rates["guaranteed"] < 1].groupby(["width", "method", "rho"])["guaranteed"].mean()
    return Answer(
        title=f"Convergence: {WORKLOADS[spec.workload].description}",
        question=QUESTION,
        setting=setting_sentence(spec),
        findings=(
            *_findings(rates, spec),
            *([f"{diverged} networks diverged; they are not counted."] if diverged else []),
        ),
        tables=(_table(rates),),
        pictures=(
            Picture(
                "loss",
                "Training loss against steps",
                mechanism_figures.loss_against_steps(_curves(spec, tables), dict(guaranteed)),
            ),
        ),
    )


def _steps_per_epoch(spec: Spec) -> int:
    from widebasin.workloads import WORKLOADS

    assert spec.batch_size is not None
    return WORKLOADS[spec.workload].sizes.train // spec.batch_size


def _rates(spec: Spec, tables: Tables) -> "pd.DataFrame":
    """One row per network: its fitted and its guaranteed factor per step, and how far the loss fell."""
    import numpy as np
    import pandas as pd

    from widebasin import theory
    from widebasin.report.statistics import SETTING, geometric_decay

    identity = [*SETTING, "method", "rho", "seed"]
    histories = dict(list(tables.history.groupby(identity, sort=False)))
    rows = []
    for known in tables.measured["constants"].to_dict("records"):
        row = {column: known[column] for column in identity}
        history = histories[tuple(row.values())].sort_values("epoch")
        losses = history["train_loss"].to_numpy(float)
        decay = geometric_decay(np.arange(1, len(losses) + 1) * _steps_per_epoch(spec), losses, FLOOR * losses[0])
        guaranteed, max_rate, max_rho = float("nan"), float("nan"), float("nan")
        if np.isfinite(known["pl"]) and row["method"] in (BASELINE, "unnormalized-sam"):
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
                "fitted_steps": decay.last - decay.first,
                "guaranteed": guaranteed,
                "guaranteed_rate": -np.log(guaranteed),
                "max_learning_rate": max_rate,
                "max_rho": max_rho,
                "kind": known["kind"],
            }
        )
    return pd.DataFrame(rows)


def _curves(spec: Spec, tables: Tables) -> "pd.DataFrame":
    """Loss against steps over seeds, at some hundred epochs: geometric mean, smallest and largest."""
    import numpy as np

    every = -(-int(tables.history["epoch"].max()) // POINTS)
    history = tables.history[(tables.history["train_loss"] > 0) & ((tables.history["epoch"] - 1) % every == 0)]
    history = history.assign(step=history["epoch"] * _steps_per_epoch(spec), log=np.log(history["train_loss"]))
    found = history.groupby(["width", "num_params", "method", "rho", "step"], sort=False)["log"].agg(
        ["mean", "min", "max"]
    )
    return found.apply(np.exp).rename(columns={"mean": "loss", "min": "low", "max": "high"}).reset_index()


def _findings(rates: "pd.DataFrame", spec: Spec) -> list[str]:
    import numpy as np

    from widebasin.report import statistics
    from widebasin.report.drawing import method_name

    sentences = []
    for width, rows in rates.groupby("width"):
        down = rows[rows["interpolates"]]
        start = f"Width {width} ({rows['num_params'].iloc[0]:,} parameters)"
        if len(down):
            straight = int((down["r_squared"] > STRAIGHT).sum())
            sentences.append(
                f"{start}: {len(down)} of {len(rows)} networks reach a millionth of the first loss, "
                f"{straight} of them along a straight line in the logarithm (R² > {STRAIGHT})."
            )
        else:
            late = 1 - np.exp(-(rows["rate"] * rows["fitted_steps"]).mean())
            sentences.append(
                f"{start}: no network reaches a millionth of the first loss; it ends at {rows['share'].min():.2g} to "
                f"{rows['share'].max():.2g} of it, and the second half of the steps takes {100 * late:.2g}% off."
            )
    interpolating = rates[rates["interpolates"]]
    ratios = statistics.ratios_to_baseline(interpolating, ["rate"]) if len(interpolating) else interpolating
    for row in ratios.to_dict("records") if len(ratios) else ():
        doubt = (
            f"95% interval {row['rate_low']:.3f} to {row['rate_high']:.3f}"
            if np.isfinite(row["rate_low"])
            else "one seed, no interval"
        )
        sentences.append(
            f"Width {row['width']}: {method_name(row['method'])} at rho {row['rho']:g} converges "
            f"{row['rate']:.3f} times as fast as {method_name(BASELINE)} ({doubt})."
        )
    known = rates[np.isfinite(rates["guaranteed"])]
    kept = known[known["guaranteed"] < 1]
    if len(kept):
        faster = int((kept["rate"] >= kept["guaranteed_rate"]).sum())
        sentences.append(
            f"The theory guarantees a rate for {len(kept)} networks (constants {kept['kind'].iloc[0]}); "
            f"{faster} of them converge at least as fast."
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
    if not len(known):
        sentences.append("The constants of the theorem are not known for this workload: no rate is guaranteed.")
    elif spec.batch_size:
        sentences.append("The theorem draws batches with replacement; training passes over the data, epoch by epoch.")
    return sentences


def _table(rates: "pd.DataFrame") -> "Table":
    import numpy as np

    from widebasin.report import statistics
    from widebasin.report.mechanism_tables import interval, network_names, significant
    from widebasin.report.tables import NONE, Table

    by = ["width", "num_params", "method", "rho"]
    rows = []
    for row in statistics.means_over_seeds(rates, by, ["rate", "share", "r_squared", "guaranteed_rate"]).to_dict(
        "records"
    ):
        rows.append(
            (
                *network_names(row, by),
                significant(row["share"], 2),
                significant(row["rate"]),
                interval(row, "rate"),
                f"{row['r_squared']:.3f}" if np.isfinite(row["r_squared"]) else NONE,
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
        "guaranteed at least",
    )
    note = (
        "Rate: minus the slope of the logarithm of the training loss in the second half of its fall, above rounding; "
        "means over seeds, interval: Student t."
    )
    return Table("Rate of convergence", columns, tuple(rows), note)


def check(spec: Spec) -> None:
    """A line in the logarithm wants a constant learning rate; one setting but for the width."""
    if spec.schedule != "constant":
        raise UsageError("schedule", spec.schedule, "must be constant: with others the rate changes with the schedule")
    for argument in ("label_noise", "weight_decay", "learning_rate"):
        values = getattr(spec, argument)
        if len(values) > 1:
            raise UsageError(argument, values, "must be one value: the study compares widths in one setting")


CONVERGENCE = Study(
    name="convergence",
    question=QUESTION,
    spec=Spec(study="convergence", workload="matrix-factorization", methods=(BASELINE, "unnormalized-sam")),
    answer=answer,
    example="--workload least-squares --out results/convergence-least-squares",
    instruments=instruments,
    check_setting=check,
)
