"""A mean with its uncertainty: Student's t interval, which carries its own label."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

CONFIDENCE = 0.95
# Rounding of means over examples that are computed and kept in 32 bits, as a share of the largest.
ROUNDING = 2**-20
# In place of a number that there is none of.
NONE = "—"


def interval_name(confidence: float = CONFIDENCE) -> str:
    """The name of an interval with this confidence, for headings, legends and sentences."""
    return f"{100 * confidence:g}% interval"


@dataclass(frozen=True)
class Interval:
    """A mean with its uncertainty.

    Attributes:
        mean: mean of the values.
        standard_error: sample standard deviation over sqrt(count); NaN for one value.
        low: lower end of the Student t interval; NaN for one value, and for equal values.
        high: upper end.
        count: number of values.
        confidence: probability that the interval covers the true mean.
    """

    mean: float
    standard_error: float
    low: float
    high: float
    count: int
    confidence: float = CONFIDENCE

    @property
    def certain(self) -> bool:
        """Whether there is an interval: not for one value, equal values or values that are not finite."""
        return bool(np.isfinite(self.low) and np.isfinite(self.high))

    @property
    def name(self) -> str:
        """Its name: ``95% interval``."""
        return interval_name(self.confidence)

    def above(self, value: float = 0.0) -> bool:
        """Whether the whole interval is above a value."""
        return self.low > value

    def below(self, value: float = 0.0) -> bool:
        """Whether the whole interval is below a value."""
        return self.high < value

    def ends(self, form: str) -> str:
        """``1.0 to 7.0``, for cells of tables; a dash if there is no interval."""
        return f"{self.low:{form}} to {self.high:{form}}" if self.certain else NONE

    def words(self, form: str) -> str:
        """``95% interval 1.0 to 7.0``, for sentences, or why there is none."""
        if self.certain:
            return f"{self.name} {self.ends(form)}"
        if self.count == 1:
            return "one seed, no interval"
        return "equal values, no interval" if self.standard_error == 0 else "no interval"

    def with_error(self, digits: int) -> str:
        """``+4.0 ± 1.0``: the mean with its sign, and its standard error if there is one."""
        if not np.isfinite(self.mean):
            return NONE
        error = f" ± {self.standard_error:.{digits}f}" if np.isfinite(self.standard_error) else ""
        return f"{self.mean:+.{digits}f}{error}"

    def mapped(self, function: Callable[[float], Any]) -> "Interval":
        """The interval mapped by an increasing function, such as an exponential; no standard error but 0 is known."""
        mean, low, high = (float(function(value)) for value in (self.mean, self.low, self.high))
        error = 0.0 if self.standard_error == 0 else float("nan")
        return Interval(mean, error, low, high, self.count, self.confidence)


NO_INTERVAL = Interval(float("nan"), float("nan"), float("nan"), float("nan"), 0)


def rounding_of(numbers: Any) -> float:
    """How far apart two equal differences of metrics can be, which are kept in 32 bits: 2**-20 of the largest metric.

    Args:
        numbers: the metrics, an array or a table.
    """
    sizes = np.abs(np.asarray(numbers, np.float64))
    return ROUNDING * float(sizes.max(initial=0.0, where=np.isfinite(sizes)))


def t_interval(
    values: Sequence[float] | np.ndarray | pd.Series, confidence: float = CONFIDENCE, rounding: float | None = None
) -> Interval:
    """Mean and Student t interval: ``mean +- t_{(1 + confidence) / 2, n - 1} s / sqrt(n)``.

    Equal values, which may occur by chance for accuracies on few examples, have no interval: it would have zero width
    and look certain.

    Args:
        values: the values.
        confidence: probability that the interval covers the true mean.
        rounding: values that are no further apart are equal; by default ``rounding_of`` the values.

    Raises:
        ValueError: if there are no values.
    """
    array = np.asarray(values, np.float64)
    if not array.size:
        raise ValueError("values must have at least one value, got none")
    count, mean = len(array), float(np.mean(array))
    if count < 2:
        return Interval(mean, float("nan"), float("nan"), float("nan"), count, confidence)
    with np.errstate(invalid="ignore"):
        error = float(array.std(ddof=1) / np.sqrt(count))
        apart = np.ptp(array)
    if apart <= (rounding_of(array) if rounding is None else rounding):
        return Interval(mean, 0.0, float("nan"), float("nan"), count, confidence)
    from scipy import special  # takes a quarter of a second, and processes that only train need none

    half = float(special.stdtrit(count - 1, (1 + confidence) / 2)) * error
    return Interval(mean, error, mean - half, mean + half, count, confidence)


def interval_columns(column: str, one: Interval) -> dict[str, float]:
    """An interval as columns of a table: the mean under the column's name, ``_error``, ``_low`` and ``_high``."""
    return {
        column: one.mean,
        f"{column}_error": one.standard_error,
        f"{column}_low": one.low,
        f"{column}_high": one.high,
    }


def interval_of(row: Mapping[Hashable, Any] | pd.Series, column: str) -> Interval:
    """The interval for a column in a row of a ``statistics.measurements`` table, over the networks or pairs in it."""
    error = float(row.get(f"{column}_error", float("nan")))
    count = int(row.get(f"{column}_pairs", row.get("networks", 0)))
    return Interval(float(row[column]), error, float(row[f"{column}_low"]), float(row[f"{column}_high"]), count)
