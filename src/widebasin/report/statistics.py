"""Statistics of a table of results: paired differences, intervals over seeds, chosen radii, trends.

The design is paired: networks of one seed share split, initialization, batch order and noisy labels, so a method is
compared with the baseline seed by seed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

CONFIDENCE = 0.95
SELECTIONS = ("valid", "test")
EPOCHS = ("final", "best")

# What makes two networks comparable but for the method, its radius and the seed.
SETTING = [
    "workload",
    "width",
    "num_params",
    "sparsity",
    "pruner",
    "label_noise",
    "weight_decay",
    "learning_rate",
]


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


def t_interval(values: Sequence[float] | np.ndarray | pd.Series, confidence: float = CONFIDENCE) -> Interval:
    """Mean and Student t interval: ``mean +- t_{(1 + confidence) / 2, n - 1} s / sqrt(n)``."""
    array = np.asarray(values, np.float64)
    count, mean = len(array), float(np.mean(array))
    if count < 2:
        return Interval(mean, float("nan"), float("nan"), float("nan"), count)
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
        """For axes: gain and unit."""
        return "gain (percentage points)" if self.unit == "%" else f"gain (decrease of {self.name})"


def metric_of(results: pd.DataFrame) -> Metric:
    """Accuracy where the table has it, else the loss."""
    if "test_accuracy" in results.columns and results["test_accuracy"].notna().any():
        return Metric("accuracy", True, 100.0, "%")
    return Metric("loss", False, 1.0, "")


def _column(part: str, at: str, metric: Metric) -> str:
    return f"{'best_' if at == 'best' else ''}{part}_{metric.name}"


def _worst_for_missing(values: pd.Series, metric: Metric) -> pd.Series:
    """Diverged networks have no finite loss: for choosing a radius, they count as infinitely bad."""
    return values.astype(float).where(np.isfinite(values), -np.inf if metric.higher_is_better else np.inf)


def chosen_radii(results: pd.DataFrame, select: str = "valid", at: str = "final") -> pd.DataFrame:
    """rho* of every setting and method: the radius with the best mean of the selection metric over seeds.

    Args:
        results: rows of results.parquet.
        select: ``valid`` chooses on the validation split; ``test`` reproduces the paper's protocol, which chooses and
            reports on the same data and is therefore optimistic.
        at: ``final`` epoch or ``best`` validation epoch.

    Returns:
        Columns of the setting, ``method`` and ``rho``. Of equal means the smallest radius is taken.
    """
    if select not in SELECTIONS:
        raise ValueError(f"select must be one of {', '.join(SELECTIONS)}, got {select!r}")
    if at not in EPOCHS:
        raise ValueError(f"at must be one of {', '.join(EPOCHS)}, got {at!r}")
    metric = metric_of(results)
    sign = 1 if metric.higher_is_better else -1
    score = sign * _worst_for_missing(results[_column(select, at, metric)], metric)
    means = results.assign(score=score).groupby([*SETTING, "method", "rho"], sort=True)["score"].mean().reset_index()
    return means.loc[means.groupby([*SETTING, "method"])["score"].idxmax(), [*SETTING, "method", "rho"]].reset_index(
        drop=True
    )


def paired_gains(
    results: pd.DataFrame, baseline: str = "sgd", select: str = "valid", at: str = "final"
) -> pd.DataFrame:
    """The gain of every method at its rho* over the baseline, on the test split, seed by seed.

    Returns:
        One row per setting, method and seed: the setting, ``method``, ``rho``, ``seed``, ``baseline_value``,
        ``value`` and ``gain``, in the metric's unit; a positive gain is an improvement.

    Raises:
        ValueError: if the table has no network of the baseline, or none of another method.
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
    paired["gain"] = (paired["value"] - paired["baseline_value"]) * (1 if metric.higher_is_better else -1)
    return paired


def gain_table(results: pd.DataFrame, baseline: str = "sgd", select: str = "valid", at: str = "final") -> pd.DataFrame:
    """Per setting and method: both test values, the paired gain with its doubt, rho* and training losses.

    Returns:
        The setting, ``method``, ``rho_star``, ``baseline_value``, ``value``, ``gain``, ``standard_error``, ``low``,
        ``high`` (95% t interval over seeds), ``seeds``, ``baseline_train_loss``, ``train_loss`` and ``diverged``, the
        number of diverged networks among those compared.
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
                "baseline_value": group["baseline_value"].mean(),
                "value": group["value"].mean(),
                "gain": gain.mean,
                "standard_error": gain.standard_error,
                "low": gain.low,
                "high": gain.high,
                "seeds": gain.count,
                "baseline_train_loss": group["train_loss_of_baseline"].mean(),
                "train_loss": group["train_loss"].mean(),
                "diverged": int(group["diverged"].sum() + group["diverged_of_baseline"].sum()),
            }
        )
    return pd.DataFrame(rows).sort_values([*SETTING, "method"], ignore_index=True)


def slope_per_decade(paired: pd.DataFrame) -> Interval | None:
    """How fast the gain grows with the network, in the metric's unit per tenfold number of parameters.

    For every seed the least-squares slope of gain against log10(parameters), then mean and t interval over seeds;
    seeds with a gain that is not finite are left out.

    Args:
        paired: rows of ``paired_gains`` of one method and one setting but for the width.

    Returns:
        ``None`` if there are fewer than two widths, or no seed is left.
    """
    if paired["num_params"].nunique() < 2:
        return None
    slopes = [
        np.polyfit(np.log10(group["num_params"].astype(float)), group["gain"], 1)[0]
        for _, group in paired.groupby("seed")
        if np.isfinite(group["gain"]).all()
    ]
    return t_interval(slopes) if slopes else None


def radius_table(results: pd.DataFrame, at: str = "final") -> pd.DataFrame:
    """The test metric at every radius: one row per setting, method and radius, over seeds.

    Returns:
        The setting, ``method``, ``rho``, ``value`` (mean in the metric's unit), ``standard_error`` and ``seeds``.
    """
    metric = metric_of(results)
    values = results.assign(value=metric.scale * results[_column("test", at, metric)].astype(float))
    grouped = values.groupby([*SETTING, "method", "rho"])["value"]
    return grouped.agg(value="mean", standard_error="sem", seeds="count").reset_index()


def varying(table: pd.DataFrame) -> list[str]:
    """The columns of the setting, other than the width, that take several values: what tells series apart."""
    return [c for c in SETTING if c not in ("width", "num_params") and table[c].nunique() > 1]
