"""Tables of the mechanisms behind SAM: curvature, stability verdicts, rates, distances between solutions."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from widebasin.report.tables import Table
from widebasin.report.wording import Wording
from widebasin.statistics.intervals import NONE
from widebasin.statistics.measurements import means_over_seeds

# A standard error below this share of the mean is the rounding of equal numbers.
ROUNDING = 1e-12
# To this share of itself the eigenvalue of condition (6) is found, and to this it is rounded where it is 1.
TOLERANCE, ROUNDED = 1e-3, 1e-5


def significant(value: float, digits: int = 3) -> str:
    """A number with the given significant digits, or a dash if not finite; in powers of ten only if very long."""
    return f"{float(f'{value:.{digits}g}'):.{max(digits, 6)}g}" if np.isfinite(value) else NONE


def with_error(row: Mapping[Hashable, Any] | pd.Series, column: str, digits: int = 3) -> str:
    """``mean ± standard error`` for a row of ``means_over_seeds``, rounded to two digits of the error.

    A mean without an error has ``digits`` significant digits.
    """
    mean, error = float(row[column]), float(row[f"{column}_error"])
    if not (np.isfinite(error) and np.isfinite(mean)) or error <= ROUNDING * abs(mean):
        return significant(mean, digits)
    error = float(f"{error:.1e}")
    place = 1 - _exponent(error)
    # Plus 0: none is negative.
    mean = round(mean, place) + 0.0
    if 1e-3 <= max(abs(mean), error) < 1e5:
        return f"{mean:.{max(0, place)}f} ± {error:.{max(0, place)}f}"
    return f"{mean:.{max(0, _exponent(mean) + place) if mean else 0}e} ± {error:.1e}"


def _exponent(value: float) -> int:
    return int(np.floor(np.log10(abs(value))))


def undecided(judged: pd.DataFrame) -> pd.Series:
    """Which stability verdicts are undecided: the eigenvalue is above 1, but by no more than its tolerance.

    Args:
        judged: measurements of stability; ``stable`` includes values above 1 within the tolerance.
    """
    return judged["stable"].astype(bool) & (judged["second_moment"] > 1 + ROUNDED)


def undecided_words(judged: pd.DataFrame) -> str:
    """The number of undecided networks, to follow a count of stable ones; empty if there are none."""
    count = int(undecided(judged).sum())
    return f", {count} undecided (above 1 by less than the tolerance of {TOLERANCE:g})" if count else ""


def verdicts_table(judged: pd.DataFrame, wording: Wording, by: Sequence[str]) -> Table:
    """Condition (6) at every learning rate tried, one row per group of networks and learning rate.

    Args:
        judged: measurements of stability, one row per network and learning rate.
        wording: the wording of the table.
        by: the columns that identify a group.
    """
    columns = [*by, "tested_rho", "tested_learning_rate"]
    rows = []
    open_ones = undecided(judged)
    as_numbers = judged.assign(stable=(judged["stable"].astype(bool) & ~open_ones).astype(float), open=open_ones * 1.0)
    for row in means_over_seeds(as_numbers, columns, ["second_moment", "stable", "open", "growth"]).to_dict("records"):
        stable = f"{round(row['stable'] * row['networks'])} of {row['networks']}"
        stable += f", {round(row['open'] * row['networks'])} undecided" if row["open"] else ""
        # Near 1, where it matters, without an error too.
        moment, growth = with_error(row, "second_moment", 6), with_error(row, "growth", 6)
        rows.append((*wording.cells(row, columns), moment, stable, growth))
    titles = (*wording.headings(columns), "largest eigenvalue of S", "stable", "simulated growth per step")
    note = (
        "At batch size 1, for SGD, or for unnormalized SAM at its own radius. Stable: the eigenvalue is at most 1; "
        f"undecided: above 1, but by no more than its tolerance, {TOLERANCE:g}. Growth: of the mean squared distance."
    )
    return Table("Condition (6): sufficient for linear stability", titles, tuple(rows), note)


def curvature_table(means: pd.DataFrame, wording: Wording, by: Sequence[str], columns: Mapping[str, str]) -> Table:
    """Means ± standard errors over seeds of curvature quantities, one row per group of networks.

    Args:
        means: rows of ``statistics.measurements.means_over_seeds``.
        wording: the wording of the table.
        by: the columns that identify a group.
        columns: column of a quantity -> its heading.
    """
    rows = tuple(
        (*wording.cells(row, by), str(row["networks"]), *(with_error(row, column) for column in columns))
        for row in means.to_dict("records")
    )
    note = "Means ± standard errors over seeds." if means["networks"].max() > 1 else ""
    return Table("Curvature at the minimum", (*wording.headings(by), "networks", *columns.values()), rows, note)
