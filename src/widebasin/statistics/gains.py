"""Gains over the baseline, paired by seed, each method at its own radius.

Networks of one seed share split, initialization, batch order and noisy labels, so a method is compared with the
baseline seed by seed.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from widebasin.statistics.design import ONE_SETTING, Design, check_once
from widebasin.statistics.intervals import Interval, rounding_of, t_interval

SELECTIONS = ("valid", "test")
EPOCHS = ("final", "best")
# Means that agree to this relative tolerance are equal: the order of a sum must not choose a radius.
TIE = 1e-6


class NothingToPair(ValueError):
    """No baseline network in the table of results shares setting and seed with a network of another method."""


def selection_scores(results: pd.DataFrame, design: Design, part: str, at: str) -> pd.Series:
    """The selection metric, higher is better. A network that diverged, at any epoch, counts as infinitely bad."""
    values = results[design.column(part, at)].astype(float) * design.metric.sign
    return values.where(np.isfinite(values) & ~results["diverged"], -np.inf)


def unjudged(results: pd.DataFrame, design: Design, part: str, at: str) -> pd.Series:
    """Which rows are of a seed without the metric on a part: no network of its setting has it, though not all diverged.

    So it is with the average precision of a seed by which no example of a class is in the part.
    """
    sound, lost = ~results["diverged"], results[design.column(part, at)].isna()
    seeds = results[[*design.setting, "seed"]].assign(lost=lost | ~sound, sound=sound)
    grouped = seeds.groupby([*design.setting, "seed"], dropna=False)
    return grouped["lost"].transform("all") & grouped["sound"].transform("any")


def judged(results: pd.DataFrame, design: Design, part: str, at: str) -> pd.DataFrame:
    """The rows without those of ``unjudged`` seeds; all rows of a method and setting in which no seed has the metric.

    Networks that diverged stay: a radius at which one did is no choice.
    """
    if not results[design.column(part, at)].isna().any():
        return results
    lost = unjudged(results, design, part, at)
    none = lost.groupby([results[column] for column in (*design.setting, "method")], dropna=False).transform("all")
    return results[~lost | none | results["diverged"]]


def chosen_radii(results: pd.DataFrame, design: Design, select: str = "valid", at: str = "final") -> pd.DataFrame:
    """rho* for every setting and method: the radius with the best mean of the selection metric over seeds.

    Args:
        results: rows of results.parquet.
        design: setting and metric.
        select: ``valid`` chooses on the validation split; ``test`` reproduces the paper's protocol, which chooses and
            reports on the same data and is therefore optimistic.
        at: ``final`` epoch or ``best`` validation epoch.

    Returns:
        Columns of the setting, ``method`` and ``rho``. Among equal means (to 1e-6) the smallest radius is chosen. A
        radius at which a network diverged is chosen only if networks diverged at every radius. Seeds without the metric
        have no part in it, see ``unjudged``.
    """
    return best_trials(results, design, ("rho",), select, at)


def best_trials(
    results: pd.DataFrame, design: Design, trial: Sequence[str], select: str = "valid", at: str = "final"
) -> pd.DataFrame:
    """The trial with the best mean of the selection metric over seeds, for every setting and method.

    Args:
        results: rows of results.parquet.
        design: setting and metric; columns of ``trial`` are not in its setting.
        trial: the columns in which the trials of a method differ, ``rho`` first.
        select: see ``chosen_radii``, as for ``at``, equal means and diverged networks.
        at: see ``chosen_radii``.

    Returns:
        Columns of the setting, ``method`` and those of ``trial``.
    """
    if select not in SELECTIONS:
        raise ValueError(f"select must be one of {', '.join(SELECTIONS)}, got {select!r}")
    if at not in EPOCHS:
        raise ValueError(f"at must be one of {', '.join(EPOCHS)}, got {at!r}")
    check_once(results, [*dict.fromkeys((*design.identity, *trial))])
    keys = [*design.setting, "method"]
    results = judged(results, design, select, at)
    scores = results[[*keys, *trial]].assign(score=selection_scores(results, design, select, at))
    # Through numpy: a mean over infinite values is infinite there, and nothing is left out.
    means = scores.groupby([*keys, *trial])["score"].agg(lambda s: s.to_numpy().mean()).reset_index()
    best = means.groupby(keys)["score"].transform("max")
    near = means[means["score"] >= (best - TIE * best.abs()).where(np.isfinite(best), best)]
    return near.sort_values([*keys, *trial]).drop_duplicates(keys)[[*keys, *trial]].reset_index(drop=True)


def paired_gains(results: pd.DataFrame, design: Design, select: str = "valid", at: str = "final") -> pd.DataFrame:
    """The gain of every method at its rho* over the baseline, on the test split, seed by seed.

    Returns:
        One row per setting, method and seed: the setting, ``method``, ``rho``, ``seed``, ``baseline_value``,
        ``value`` and ``gain``, in the metric's unit; a positive gain is an improvement. Seeds without the metric on
        the test split have no rows, see ``unjudged``.

    Raises:
        NothingToPair: if the table has no network of the baseline, none of another method, or the two share no seed in
            any setting.
        ValueError: if the table has a network twice.
    """
    return _paired(results, design, select, at)


def _paired(results: pd.DataFrame, design: Design, select: str, at: str, besides: Sequence[str] = ()) -> pd.DataFrame:
    """``paired_gains`` with further columns of both networks; the baseline's end in ``_of_baseline``."""
    methods, baseline = list(dict.fromkeys(results["method"])), design.baseline
    if baseline not in methods or len(methods) < 2:
        raise NothingToPair(
            f"a gain needs the baseline {baseline!r} and another method; the results have only {', '.join(methods)}"
        )
    known = judged(results, design, "test", at)
    test = design.metric.scale * known[design.column("test", at)].astype(float)
    values = known[[*design.identity, *besides]].assign(value=test)
    base = values[values["method"] == baseline].drop(columns=["method", "rho"])
    base = base.rename(columns={"value": "baseline_value"} | {name: f"{name}_of_baseline" for name in besides})
    others = values[values["method"] != baseline]
    best = others.merge(chosen_radii(results, design, select, at), on=[*design.setting, "method", "rho"])
    paired = best.merge(base, on=[*design.setting, "seed"])
    if paired.empty:
        raise NothingToPair(
            f"no network of {baseline!r} shares setting and seed with another method's network: nothing to pair"
        )
    paired["gain"] = (paired["value"] - paired["baseline_value"]) * design.metric.sign
    return paired


def differences_from(paired: pd.DataFrame, reference: str) -> dict[str, Interval]:
    """How much more the other methods gain than a reference method, each at its own rho*, paired by seed.

    Args:
        paired: rows of ``paired_gains`` of one setting.
        reference: the reference method.

    Returns:
        Method -> difference of the gains over the seeds that both have, NaN if a network of these diverged; empty if
        the reference is missing. Methods without a common seed are left out.

    Raises:
        ValueError: if a method has a seed twice.
    """
    check_once(paired, ["method", "seed"], ONE_SETTING)
    by_seed = {str(method): rows.set_index("seed")["gain"] for method, rows in paired.groupby("method")}
    if (ours := by_seed.pop(reference, None)) is None:
        return {}
    common = {method: gains.index.intersection(ours.index) for method, gains in by_seed.items()}
    rounding = {m: rounding_of_gains(paired[paired["method"].isin([m, reference])]) for m in common}
    return {
        m: t_interval(by_seed[m][seeds] - ours[seeds], rounding=rounding[m])
        for m, seeds in common.items()
        if len(seeds)
    }


def rounding_of_gains(paired: pd.DataFrame) -> float:
    """How far apart equal gains, or differences of gains, can be.

    Args:
        paired: rows of ``paired_gains``.
    """
    return rounding_of(paired[["baseline_value", "value"]])


def gain_table(results: pd.DataFrame, design: Design, select: str = "valid", at: str = "final") -> pd.DataFrame:
    """Per setting and method: both test values, the paired gain with its uncertainty, rho* and training losses.

    Returns:
        The setting, ``method``, ``rho_star``, ``baseline_value``, ``value``, ``gain``, ``standard_error``, ``low``,
        ``high`` (t interval over seeds), ``seeds``, ``baseline_train_loss``, ``train_loss``, and ``baseline_diverged``
        and ``diverged``, numbers of diverged networks. Means are over all seeds with the metric (see ``unjudged``);
        NaN if any network has no finite value.
    """
    paired = _paired(results, design, select, at, ("train_loss", "diverged"))
    rows = []
    for key, group in paired.groupby([*design.setting, "method", "rho"], sort=False):
        gain = t_interval(group["gain"], rounding=rounding_of_gains(group))
        rows.append(
            dict(zip([*design.setting, "method", "rho_star"], key, strict=True))
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
    return pd.DataFrame(rows).sort_values([*design.setting, "method"], ignore_index=True)


def edges_chosen(gains: pd.DataFrame, radii: Sequence[float]) -> dict[str, pd.Series]:
    """Where a chosen radius is at an edge of those tried, so that a radius beyond may do better.

    Args:
        gains: rows of ``gain_table`` of methods that tried the same radii.
        radii: all radii that were tried.

    Returns:
        ``largest`` and ``smallest`` -> whether this holds, for every row. A smaller radius is closer to the baseline,
        so the smallest tried counts only if the method loses, and 0 never counts.
    """
    largest, smallest = max(radii), min(radii)
    return {
        "largest": (gains["rho_star"] == largest) & (largest > 0),
        "smallest": (gains["rho_star"] == smallest) & (gains["gain"] < 0) & (smallest > 0),
    }


def radii_beyond(gains: pd.DataFrame, radii: Sequence[float]) -> list[float]:
    """The radii to try next: beyond each edge at which a radius was chosen, the next of 1, 2, 5, 10, 20, 50 ...

    Args:
        gains: rows of ``gain_table`` of methods that tried the same radii.
        radii: all radii that were tried.
    """
    edges = edges_chosen(gains, radii)
    found = [_next(min(radii), down=True)] if edges["smallest"].any() else []
    return [*found, _next(max(radii))] if edges["largest"].any() else found


def _next(radius: float, down: bool = False) -> float:
    """The next of 1, 2, 5, 10 ... times a power of ten, more than 1% beyond a radius."""
    power = int(np.floor(np.log10(radius)))
    ladder = [float(f"{digit}e{exponent}") for exponent in range(power - 1, power + 3) for digit in (1, 2, 5)]
    return max(r for r in ladder if r < 0.99 * radius) if down else min(r for r in ladder if r > 1.01 * radius)


def gain_interval(row: Mapping[Hashable, Any] | pd.Series) -> Interval:
    """The gain in a row of ``gain_table``, with its interval."""
    mean, error, low, high = (float(row[name]) for name in ("gain", "standard_error", "low", "high"))
    return Interval(mean, error, low, high, int(row["seeds"]))


def _mean(values: pd.Series) -> float:
    """The mean; NaN if any value is NaN."""
    return float(values.to_numpy(np.float64).mean())


def radius_table(results: pd.DataFrame, design: Design, at: str = "final") -> pd.DataFrame:
    """The test metric at every radius: one row per setting, method and radius, over seeds.

    Returns:
        The setting, ``method``, ``rho``, ``value`` (mean in the metric's unit; NaN if a network has no finite one),
        ``standard_error``, ``low``, ``high`` (t interval over seeds), ``seeds`` and ``diverged``, the number of
        networks that diverged.
    """
    check_once(results, design.identity)
    results = judged(results, design, "test", at)
    values = results.assign(value=design.metric.scale * results[design.column("test", at)].astype(float))
    rows = []
    for key, group in values.groupby([*design.setting, "method", "rho"]):
        over_seeds = t_interval(group["value"])
        rows.append(
            dict(zip([*design.setting, "method", "rho"], key, strict=True))
            | {
                "value": over_seeds.mean,
                "standard_error": over_seeds.standard_error,
                "low": over_seeds.low,
                "high": over_seeds.high,
                "seeds": over_seeds.count,
                "diverged": int(group["diverged"].sum()),
            }
        )
    return pd.DataFrame(rows)
