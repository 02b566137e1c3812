"""Statistics of a table of results: paired differences, intervals over seeds, chosen radii, trends.

The design is paired: networks of one seed share split, initialization, batch order and noisy labels, so a method is
compared with the baseline seed by seed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from widebasin.report import BASELINE

CONFIDENCE = 0.95
SELECTIONS = ("valid", "test")
EPOCHS = ("final", "best")
# Above this share of the variance, points are a straight line to the eye.
STRAIGHT = 0.98
# Means that agree to this relative tolerance are equal: the order of a sum must not choose a radius.
TIE = 1e-6

# What makes two networks comparable but for the method, its radius and the seed.
SETTING = [
    "workload",
    "width",
    "num_params",
    "sparsity",
    "pruner",
    "output_scale",
    "label_noise",
    "weight_decay",
    "learning_rate",
]
# How a study reads one sweep in several ways, and puts the readings side by side in a table.
READINGS = ("stopped", "network")


@dataclass(frozen=True)
class Interval:
    """A mean with its doubt.

    Attributes:
        mean: of the values.
        standard_error: sample standard deviation over sqrt(count); NaN for one value.
        low: lower end of the Student t interval; NaN for one value.
        high: upper end.
        count: number of values.
    """

    mean: float
    standard_error: float
    low: float
    high: float
    count: int


NO_INTERVAL = Interval(float("nan"), float("nan"), float("nan"), float("nan"), 0)


def t_interval(values: Sequence[float] | np.ndarray | pd.Series, confidence: float = CONFIDENCE) -> Interval:
    """Mean and Student t interval: ``mean +- t_{(1 + confidence) / 2, n - 1} s / sqrt(n)``.

    Raises:
        ValueError: without values.
    """
    array = np.asarray(values, np.float64)
    if not array.size:
        raise ValueError("values must have at least one value, got none")
    count, mean = len(array), float(np.mean(array))
    if count < 2:
        return Interval(mean, float("nan"), float("nan"), float("nan"), count)
    with np.errstate(invalid="ignore"):
        error = float(array.std(ddof=1) / np.sqrt(count))
    half = float(stats.t.ppf((1 + confidence) / 2, count - 1)) * error
    return Interval(mean, error, mean - half, mean + half, count)


@dataclass(frozen=True)
class Metric:
    """The metric that a workload is judged by.

    Attributes:
        name: column after ``valid_``, ``test_``: ``accuracy``, ``loss`` ...
        higher_is_better: the direction.
        scale: factor to the unit reported: 100 for a share shown in percent.
        unit: of values and gains, ``%`` and ``points`` or empty.
    """

    name: str
    higher_is_better: bool
    scale: float
    unit: str

    @property
    def label(self) -> str:
        """For axes: name and unit."""
        return f"{self.name} ({self.unit})" if self.unit else self.name

    @property
    def gain_label(self) -> str:
        """For axes: what a gain is, and its unit."""
        if self.unit == "%":
            return f"{self.name} gain (percentage points)"
        return f"gain: {'increase' if self.higher_is_better else 'decrease'} of test {self.name}"

    @property
    def gain_unit(self) -> str:
        """After a gain: ``points`` (percentage points), or empty where the gain has the metric's own unit."""
        return "points" if self.unit == "%" else ""


def metric_of(results: pd.DataFrame) -> Metric:
    """Accuracy where the table has it, else the loss."""
    if "test_accuracy" in results.columns:
        return Metric("accuracy", True, 100.0, "%")
    return Metric("loss", False, 1.0, "")


def _column(part: str, at: str, metric: Metric) -> str:
    return f"{'best_' if at == 'best' else ''}{part}_{metric.name}"


def _scores(results: pd.DataFrame, part: str, at: str, metric: Metric) -> pd.Series:
    """The metric for choosing, highest best. A network that diverged, at any epoch, counts as infinitely bad."""
    values = results[_column(part, at, metric)].astype(float) * (1 if metric.higher_is_better else -1)
    return values.where(np.isfinite(values) & ~results["diverged"], -np.inf)


def _smallest_of_the_best(means: pd.DataFrame) -> float:
    best = means["score"].max()
    threshold = best - TIE * abs(best) if np.isfinite(best) else best
    return means.loc[means["score"] >= threshold, "rho"].min()


def chosen_radii(results: pd.DataFrame, select: str = "valid", at: str = "final") -> pd.DataFrame:
    """rho* of every setting and method: the radius with the best mean of the selection metric over seeds.

    Args:
        results: rows of results.parquet.
        select: ``valid`` chooses on the validation split; ``test`` reproduces the paper's protocol, which chooses and
            reports on the same data and is therefore optimistic.
        at: ``final`` epoch or ``best`` validation epoch.

    Returns:
        Columns of the setting, ``method`` and ``rho``. Of equal means (to 1e-6) the smallest radius is taken. A
        radius at which a network diverged is taken only if one diverged at every radius.
    """
    if select not in SELECTIONS:
        raise ValueError(f"select must be one of {', '.join(SELECTIONS)}, got {select!r}")
    if at not in EPOCHS:
        raise ValueError(f"at must be one of {', '.join(EPOCHS)}, got {at!r}")
    metric = metric_of(results)
    scores = results[[*SETTING, "method", "rho"]].assign(score=_scores(results, select, at, metric))
    # Through numpy: a mean over infinite values is infinite there, and nothing is left out.
    means = scores.groupby([*SETTING, "method", "rho"])["score"].agg(lambda s: s.to_numpy().mean()).reset_index()
    chosen = means.groupby([*SETTING, "method"])[["rho", "score"]].apply(_smallest_of_the_best)
    return chosen.rename("rho").reset_index()


def paired_gains(
    results: pd.DataFrame, baseline: str = BASELINE, select: str = "valid", at: str = "final"
) -> pd.DataFrame:
    """The gain of every method at its rho* over the baseline, on the test split, seed by seed.

    Returns:
        One row per setting, method and seed: the setting, ``method``, ``rho``, ``seed``, ``baseline_value``,
        ``value`` and ``gain``, in the metric's unit; a positive gain is an improvement.

    Raises:
        ValueError: if the table has no network of the baseline, none of another method, or no seed of both in a
            common setting.
    """
    methods = list(dict.fromkeys(results["method"]))
    if baseline not in methods or len(methods) < 2:
        raise ValueError(
            f"a gain needs the baseline {baseline!r} and another method; the results have {', '.join(methods)}"
        )
    metric = metric_of(results)
    column = _column("test", at, metric)
    values = results[[*SETTING, "method", "rho", "seed"]].assign(value=metric.scale * results[column].astype(float))
    base = values[values["method"] == baseline].drop(columns=["method", "rho"])
    base = base.rename(columns={"value": "baseline_value"})
    others = values[values["method"] != baseline]
    best = others.merge(chosen_radii(results, select, at), on=[*SETTING, "method", "rho"])
    paired = best.merge(base, on=[*SETTING, "seed"])
    if paired.empty:
        raise ValueError(
            f"no network of {baseline!r} has the setting and seed of one of another method: nothing to pair"
        )
    paired["gain"] = (paired["value"] - paired["baseline_value"]) * (1 if metric.higher_is_better else -1)
    return paired


def differences_from(paired: pd.DataFrame, reference: str) -> dict[str, Interval]:
    """How much more the other methods gain than a reference method, each at its own rho*, seed by seed.

    Args:
        paired: rows of ``paired_gains`` of one setting.
        reference: a method.

    Returns:
        Method -> difference of the gains; empty without the reference. Methods without a seed in common are left out.
    """
    by_seed = paired.pivot(index="seed", columns="method", values="gain")
    if reference not in by_seed:
        return {}
    differences = {m: (by_seed[m] - by_seed[reference]).dropna() for m in by_seed if m != reference}
    return {str(m): t_interval(values) for m, values in differences.items() if len(values)}


def gain_table(
    results: pd.DataFrame, baseline: str = BASELINE, select: str = "valid", at: str = "final"
) -> pd.DataFrame:
    """Per setting and method: both test values, the paired gain with its doubt, rho* and training losses.

    Returns:
        The setting, ``method``, ``rho_star``, ``baseline_value``, ``value``, ``gain``, ``standard_error``, ``low``,
        ``high`` (95% t interval over seeds), ``seeds``, ``baseline_train_loss``, ``train_loss``, and
        ``baseline_diverged`` and ``diverged``, numbers of diverged networks. Means over seeds; NaN where a network
        has no finite value: none is left out.
    """
    paired = paired_gains(results, baseline, select, at)
    losses = results[[*SETTING, "method", "rho", "seed", "train_loss", "diverged"]]
    base = losses[losses["method"] == baseline].drop(columns=["method", "rho"])
    paired = paired.merge(losses, on=[*SETTING, "method", "rho", "seed"])
    paired = paired.merge(base, on=[*SETTING, "seed"], suffixes=("", "_of_baseline"))
    rows = []
    for key, group in paired.groupby([*SETTING, "method", "rho"], sort=False):
        gain = t_interval(group["gain"])
        rows.append(
            dict(zip([*SETTING, "method", "rho_star"], key, strict=True))
            | {
                "baseline_value": _mean(group["baseline_value"]),
                "value": _mean(group["value"]),
                "gain": gain.mean,
                "standard_error": gain.standard_error,
                "low": gain.low,
                "high": gain.high,
                "seeds": gain.count,
                "baseline_train_loss": _mean(group["train_loss_of_baseline"]),
                "train_loss": _mean(group["train_loss"]),
                "baseline_diverged": int(group["diverged_of_baseline"].sum()),
                "diverged": int(group["diverged"].sum()),
            }
        )
    return pd.DataFrame(rows).sort_values([*SETTING, "method"], ignore_index=True)


def _mean(values: pd.Series) -> float:
    """NaN if one of the values is."""
    return float(values.to_numpy(np.float64).mean())


def slopes_by_seed(paired: pd.DataFrame) -> pd.Series:
    """For every seed the least-squares slope of gain against log10(parameters).

    Args:
        paired: rows of ``paired_gains`` of one method and one setting but for the width.

    Returns:
        Seed -> slope, in the metric's unit per tenfold number of parameters; without the seeds that have fewer than two
        widths or a gain that is not finite.
    """
    slopes = {
        seed: float(np.polyfit(np.log10(group["num_params"].astype(float)), group["gain"], 1)[0])
        for seed, group in paired.groupby("seed")
        if np.isfinite(group["gain"]).all() and group["num_params"].nunique() > 1
    }
    return pd.Series(slopes, dtype=float)


def slope_per_decade(paired: pd.DataFrame) -> Interval | None:
    """How fast the gain grows with the network: ``slopes_by_seed``, mean and t interval over seeds.

    Returns:
        ``None`` if there are fewer than two widths, or no seed is left.
    """
    slopes = slopes_by_seed(paired)
    return t_interval(slopes) if len(slopes) else None


def slope_difference(paired: pd.DataFrame, other: pd.DataFrame) -> Interval | None:
    """How much faster the gain grows in the second of two settings, paired by seed.

    Args:
        paired: rows of ``paired_gains`` of one method and one setting but for the width.
        other: the same in another setting.

    Returns:
        Of the slopes of the second less those of the first; ``None`` if no seed has both.
    """
    differences = (slopes_by_seed(other) - slopes_by_seed(paired)).dropna()
    return t_interval(differences) if len(differences) else None


def radius_table(results: pd.DataFrame, at: str = "final") -> pd.DataFrame:
    """The test metric at every radius: one row per setting, method and radius, over seeds.

    Returns:
        The setting, ``method``, ``rho``, ``value`` (mean in the metric's unit; NaN if a network has no finite one),
        ``standard_error`` and ``seeds``.
    """
    metric = metric_of(results)
    values = results.assign(value=metric.scale * results[_column("test", at, metric)].astype(float))
    rows = []
    for key, group in values.groupby([*SETTING, "method", "rho"]):
        over_seeds = t_interval(group["value"])
        rows.append(
            dict(zip([*SETTING, "method", "rho"], key, strict=True))
            | {"value": over_seeds.mean, "standard_error": over_seeds.standard_error, "seeds": over_seeds.count}
        )
    return pd.DataFrame(rows)


def varying(table: pd.DataFrame) -> list[str]:
    """The columns of the setting, other than the width, that take several values: what tells series apart."""
    columns = [*(c for c in SETTING if c not in ("width", "num_params")), *(c for c in READINGS if c in table)]
    return [c for c in columns if table[c].nunique() > 1]


# Measurements of networks ---------------------------------------------------------------------------------------------


def means_over_seeds(table: pd.DataFrame, by: Sequence[str], columns: Sequence[str]) -> pd.DataFrame:
    """Mean of columns over the networks that differ by seed alone, with t intervals.

    Args:
        table: one row per network.
        by: the columns that tell groups apart, in the order wanted.
        columns: of numbers.

    Returns:
        One row per group in order of appearance: ``by``, ``networks``, and for every column its mean under its own
        name, ``COLUMN_error`` (standard error), ``COLUMN_low`` and ``COLUMN_high``.
    """
    rows = []
    for key, group in table.groupby(list(by), sort=False):
        row: dict[str, Any] = dict(zip(by, key, strict=True)) | {"networks": len(group)}
        for column in columns:
            row |= _interval_columns(column, t_interval(group[column].astype(float)))
        rows.append(row)
    numbers = [name for column in columns for name in _interval_columns(column, NO_INTERVAL)]
    return pd.DataFrame(rows, columns=[*by, "networks", *numbers])


def ratios_to_baseline(table: pd.DataFrame, columns: Sequence[str], baseline: str = BASELINE) -> pd.DataFrame:
    """Positive quantities of networks relative to the baseline's, paired by seed: geometric mean and t interval.

    The mean of ``log(value / baseline's value of the same seed and setting)`` with its t interval, as a factor.

    Args:
        table: one row per network, with the columns of ``SETTING``, ``method``, ``rho`` and ``seed``.
        columns: of positive numbers; a pair with another number is left out.
        baseline: the method compared with.

    Returns:
        One row per setting, method and radius other than the baseline: these, ``pairs`` (of networks, those with a
        number left out too), and for every column its ratio under its own name, ``COLUMN_low`` and ``COLUMN_high``;
        NaN where no pair is left.
    """
    base = table[table["method"] == baseline]
    pairs = table[table["method"] != baseline].merge(base, on=[*SETTING, "seed"], suffixes=("", "_baseline"))
    by = [*SETTING, "method", "rho"]
    rows = []
    for key, group in pairs.groupby(by, sort=False):
        row: dict[str, Any] = dict(zip(by, key, strict=True)) | {"pairs": len(group)}
        for column in columns:
            logs = _log_ratios(group[column], group[f"{column}_baseline"])
            one = t_interval(logs) if logs.size else NO_INTERVAL
            row |= {column: np.exp(one.mean), f"{column}_low": np.exp(one.low), f"{column}_high": np.exp(one.high)}
        rows.append(row)
    numbers = [f"{column}{end}" for column in columns for end in ("", "_low", "_high")]
    return pd.DataFrame(rows, columns=[*by, "pairs", *numbers])


def distances_to_baseline(table: pd.DataFrame, relative: bool, baseline: str = BASELINE) -> pd.DataFrame:
    """How far what was measured of networks lies from the same of the baseline's network of the same seed.

    Args:
        table: one row per network and ``position``, with its ``value``; the columns of ``SETTING``, ``method``, ``rho``
            and ``seed`` say which network.
        relative: ``||v - b|| / ||b||`` for vectors, instead of ``sqrt(mean (v - b)^2)`` for functions.
        baseline: the method compared with.

    Returns:
        One row per network of another method, with its ``distance``.
    """
    key = [*SETTING, "seed"]
    base = table.loc[table["method"] == baseline, [*key, "position", "value"]]
    pairs = table[table["method"] != baseline].merge(base, on=[*key, "position"], suffixes=("", "_baseline"))
    rows = []
    for values, group in pairs.groupby([*key, "method", "rho"], sort=False):
        difference, reference = group["value"] - group["value_baseline"], group["value_baseline"]
        scale = np.linalg.norm(reference) if relative else np.sqrt(len(group))
        distance = float(np.linalg.norm(difference) / scale)
        rows.append(dict(zip([*key, "method", "rho"], values, strict=True)) | {"distance": distance})
    return pd.DataFrame(rows, columns=[*key, "method", "rho", "distance"])


def slope_against_radius(table: pd.DataFrame, column: str) -> Interval | None:
    """How a positive quantity changes with the radius: slope of its log10 per tenfold radius, over seeds.

    Args:
        table: one row per network, of one method and setting.
        column: of the quantity.

    Returns:
        Mean and t interval of the seeds' least-squares slopes; -1 means that it falls to a tenth while the radius
        grows tenfold. ``None`` if no seed has two positive radii with positive values.
    """
    slopes = []
    for _, group in table.groupby("seed"):
        sound = group[(group["rho"] > 0) & (group[column] > 0) & np.isfinite(group[column].astype(float))]
        if sound["rho"].nunique() > 1:
            slopes.append(np.polyfit(np.log10(sound["rho"]), np.log10(sound[column].astype(float)), 1)[0])
    return t_interval(slopes) if slopes else None


@dataclass(frozen=True)
class Decay:
    """A straight line through the logarithm of a falling loss.

    Attributes:
        factor: of the loss per unit of time, ``exp(slope)``.
        r_squared: share of the variance of the logarithm that the line explains; 1 is a purely geometric decay.
        power_r_squared: the same of a line against the logarithm of time, a power law ``t^-p``, which also looks
            straight over a factor of two in time.
        first: time where the fit begins.
        last: time where it ends.
    """

    factor: float
    r_squared: float
    power_r_squared: float
    first: float
    last: float

    @property
    def is_linear(self) -> bool:
        """Whether the decay is geometric (linear convergence): straight in time, and straighter than any power law."""
        return self.r_squared > STRAIGHT and not self.power_r_squared > self.r_squared


def geometric_decay(times: Sequence[float] | np.ndarray, losses: Sequence[float] | np.ndarray, floor: float) -> Decay:
    """Fits ``loss(t) = loss(0) factor^t`` by least squares to the second half of the times before the floor is reached.

    The first half is left out as the transient. Below the floor, rounding and not the optimizer decides.

    Args:
        times: increasing.
        losses: positive, at these times; those from the first that is not finite on are left out.
        floor: losses from the first one at or below it on are left out.

    Returns:
        The fit; NaN where fewer than three losses are left.
    """
    time, loss = np.asarray(times, np.float64), np.asarray(losses, np.float64)
    sound = np.isfinite(loss) & (loss > floor)
    count = len(sound) if sound.all() else int(np.argmin(sound))
    begin = count // 2
    time, logarithm = time[begin:count], np.log(loss[begin:count])
    if len(time) < 3:
        return Decay(*[float("nan")] * 5)
    slope, explained = _line(time, logarithm)
    with np.errstate(divide="ignore"):
        power = _line(np.log(time), logarithm)[1] if time[0] > 0 else float("nan")
    return Decay(float(np.exp(slope)), explained, power, float(time[0]), float(time[-1]))


def _line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Slope of the least-squares line, and the share of the variance that it explains."""
    slope, intercept = np.polyfit(x, y, 1)
    rest, spread = y - (slope * x + intercept), y - y.mean()
    # The mean of equal numbers is one of them only up to rounding.
    return float(slope), 1 - float(rest @ rest) / float(spread @ spread) if np.ptp(y) else 1.0


def _interval_columns(column: str, one: Interval) -> dict[str, float]:
    return {
        column: one.mean,
        f"{column}_error": one.standard_error,
        f"{column}_low": one.low,
        f"{column}_high": one.high,
    }


def _log_ratios(values: pd.Series, reference: pd.Series) -> np.ndarray:
    above, below = values.to_numpy(float), reference.to_numpy(float)
    sound = (above > 0) & (below > 0) & np.isfinite(above) & np.isfinite(below)
    return np.log(above[sound] / below[sound])
