"""How gains change with the number of parameters."""

import numpy as np
import pandas as pd

from widebasin.statistics.design import ONE_SETTING, check_once
from widebasin.statistics.gains import rounding_of_gains
from widebasin.statistics.intervals import Interval, t_interval


def slopes_by_seed(paired: pd.DataFrame) -> pd.Series:
    """The least-squares slope of gain against log10(parameters) for every seed.

    Args:
        paired: rows of ``paired_gains`` of one method in one setting except for the width.

    Returns:
        Seed -> slope, in the metric's unit per tenfold number of parameters; without the seeds that have fewer than two
        widths or a gain that is not finite.

    Raises:
        ValueError: if a seed has several rows of one size.
    """
    check_once(paired, ["num_params", "seed"], ONE_SETTING)
    slopes = {
        seed: float(np.polyfit(np.log10(group["num_params"].astype(float)), group["gain"], 1)[0])
        for seed, group in paired.groupby("seed")
        if np.isfinite(group["gain"]).all() and group["num_params"].nunique() > 1
    }
    return pd.Series(slopes, dtype=float)


def seeds_compared(*tables: pd.DataFrame) -> int:
    """Number of seeds that every table has at two or more sizes: those with a slope, and those of which a gain is lost.

    Args:
        tables: rows of ``paired_gains`` of one method in one setting each except for the width.
    """
    sizes = [paired.groupby("seed")["num_params"].nunique() for paired in tables]
    return len(set.intersection(*(set(of_seeds[of_seeds > 1].index) for of_seeds in sizes)))


def slope_per_decade(paired: pd.DataFrame) -> Interval | None:
    """How fast the gain grows with the network: ``slopes_by_seed``, mean and t interval over seeds.

    Returns:
        ``None`` if there are fewer than two widths, or no seed is left.
    """
    slopes = slopes_by_seed(paired)
    return t_interval(slopes, rounding=_rounding(paired)) if len(slopes) else None


def slope_difference(paired: pd.DataFrame, other: pd.DataFrame) -> Interval | None:
    """How much faster the gain grows in the second of two settings, paired by seed.

    Args:
        paired: rows of ``paired_gains`` of one method in one setting except for the width.
        other: the same in another setting.

    Returns:
        The interval of the second slopes minus the first; ``None`` if no seed has both.
    """
    differences = (slopes_by_seed(other) - slopes_by_seed(paired)).dropna()
    return t_interval(differences, rounding=max(map(_rounding, (paired, other)))) if len(differences) else None


def _rounding(paired: pd.DataFrame) -> float:
    """How far apart equal slopes can be: the rounding of gains over the range of log10(parameters)."""
    sizes = np.log10(paired["num_params"].astype(float))
    return rounding_of_gains(paired) / (sizes.max() - sizes.min())
