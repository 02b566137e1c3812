"""Statistics of measurements: means over seeds, ratios and distances to the baseline, powers of radius and width."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from widebasin.statistics.design import APART, ONE_SETTING, Design, check_once
from widebasin.statistics.intervals import NO_INTERVAL, ROUNDING, Interval, interval_columns, t_interval


def means_over_seeds(table: pd.DataFrame, by: Sequence[str], columns: Sequence[str]) -> pd.DataFrame:
    """Means of columns over networks that differ only by seed, with t intervals.

    Args:
        table: one row per network.
        by: the columns that identify a group, in the desired order.
        columns: columns of numbers.

    Returns:
        One row per group in order of appearance: ``by``, ``networks``, and for every column its mean under its own
        name, ``COLUMN_error`` (standard error), ``COLUMN_low`` and ``COLUMN_high``.

    Raises:
        ValueError: if a group has a seed twice.
    """
    check_once(table, [*by, "seed"], APART.format("by"))
    rows = []
    for key, group in table.groupby(list(by), sort=False):
        row: dict[str, Any] = dict(zip(by, key, strict=True)) | {"networks": len(group)}
        for column in columns:
            row |= interval_columns(column, t_interval(group[column].astype(float)))
        rows.append(row)
    numbers = [name for column in columns for name in interval_columns(column, NO_INTERVAL)]
    return pd.DataFrame(rows, columns=[*by, "networks", *numbers])


def ratios_to_baseline(table: pd.DataFrame, design: Design, columns: Sequence[str]) -> pd.DataFrame:
    """Ratios of positive quantities to the baseline's, paired by seed: geometric mean and t interval.

    The mean of ``log(value / baseline's value of the same seed and setting)`` with its t interval, as a factor.

    Args:
        table: one row per network, with the columns of the design's ``identity``.
        design: setting and baseline.
        columns: columns of positive numbers; pairs with other numbers are left out.

    Returns:
        One row per setting, method and radius other than the baseline: these, ``pairs`` (number of pairs, including
        those left out of a column), and for every column its ratio under its own name, ``COLUMN_pairs`` (number of
        pairs in it), ``COLUMN_error`` (0 if they are equal, else NaN), ``COLUMN_low`` and ``COLUMN_high``; NaN if no
        pair is left.

    Raises:
        ValueError: if the table has a network twice.
    """
    check_once(table, design.identity)
    base = table[table["method"] == design.baseline]
    pairs = table[table["method"] != design.baseline].merge(
        base, on=[*design.setting, "seed"], suffixes=("", "_baseline")
    )
    by = [*design.setting, "method", "rho"]
    rows = []
    for key, group in pairs.groupby(by, sort=False):
        row: dict[str, Any] = dict(zip(by, key, strict=True)) | {"pairs": len(group)}
        for column in columns:
            logs = _log_ratios(group[column], group[f"{column}_baseline"])
            one = t_interval(logs, rounding=ROUNDING) if logs.size else NO_INTERVAL
            row |= {f"{column}_pairs": one.count} | interval_columns(column, one.mapped(np.exp))
        rows.append(row)
    numbers = [f"{column}{end}" for column in columns for end in ("", "_pairs", "_error", "_low", "_high")]
    return pd.DataFrame(rows, columns=[*by, "pairs", *numbers])


def distances_to_baseline(table: pd.DataFrame, design: Design, relative: bool) -> pd.DataFrame:
    """Distance between the measurements of a network and of the baseline's network with the same seed.

    Args:
        table: one row per network and ``position``, with its ``value``; the columns of the design's ``identity``
            identify the network.
        design: setting and baseline.
        relative: ``||v - b|| / ||b||`` for vectors, instead of ``sqrt(mean (v - b)^2)`` for functions.

    Returns:
        One row per network of another method, with its ``distance``.

    Raises:
        ValueError: if the table has a position of a network twice.
    """
    check_once(table, [*design.identity, "position"])
    key = [*design.setting, "seed"]
    base = table.loc[table["method"] == design.baseline, [*key, "position", "value"]]
    pairs = table[table["method"] != design.baseline].merge(base, on=[*key, "position"], suffixes=("", "_baseline"))
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
        table: one row per network of one method and setting.
        column: column of the quantity.

    Returns:
        Mean and t interval of the seeds' least-squares slopes; -1 means that the quantity falls to a tenth when the
        radius grows tenfold. ``None`` if no seed has two positive radii with positive values.

    Raises:
        ValueError: if the table has a seed twice at a radius.
    """
    return _exponent(table, "rho", column)


def exponent_of_width(table: pd.DataFrame, column: str) -> Interval | None:
    """The power of the width that a positive quantity follows: slope of its logarithm against that of the width.

    Args:
        table: one row per network of one method, radius and setting.
        column: column of the quantity.

    Returns:
        Mean and t interval of the seeds' least-squares slopes; 0.5 means that the quantity doubles when the width is
        four times as large. ``None`` if no seed has two widths with positive values.

    Raises:
        ValueError: if the table has a seed twice at a width.
    """
    return _exponent(table, "width", column)


def _exponent(table: pd.DataFrame, against: str, column: str) -> Interval | None:
    """The slope of ``log(column)`` against ``log(against)``, over seeds."""
    check_once(table, [against, "seed"], ONE_SETTING)
    slopes = []
    for _, group in table.groupby("seed"):
        sound = group[(group[against] > 0) & (group[column] > 0) & np.isfinite(group[column].astype(float))]
        if sound[against].nunique() > 1:
            slopes.append(
                np.polyfit(np.log10(sound[against].astype(float)), np.log10(sound[column].astype(float)), 1)[0]
            )
    return t_interval(slopes, rounding=ROUNDING) if slopes else None


def _log_ratios(values: pd.Series, reference: pd.Series) -> np.ndarray:
    above, below = values.to_numpy(float), reference.to_numpy(float)
    sound = (above > 0) & (below > 0) & np.isfinite(above) & np.isfinite(below)
    return np.log(above[sound] / below[sound])
