"""How fast a loss falls: a straight line through its logarithm."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Above this share of the variance, points are a straight line to the eye.
STRAIGHT = 0.98


@dataclass(frozen=True)
class Decay:
    """A straight line through the logarithm of a falling loss.

    Attributes:
        factor: factor of the loss per unit of time, ``exp(slope)``.
        r_squared: fraction of the variance of the logarithm that the line explains; 1 is a purely geometric decay.
        power_r_squared: the same for a line against the logarithm of time, a power law ``t^-p``, which also looks
            straight over a factor of two in time.
        first: first time of the fit.
        last: last time of the fit.
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

    The first half is left out as the transient. Below the floor, rounding errors dominate.

    Args:
        times: increasing times.
        losses: positive losses at these times; everything from the first non-finite loss on is left out.
        floor: everything from the first loss at or below it on is left out.

    Returns:
        The fit; NaN if fewer than three losses are left.
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
    """Slope of the least-squares line, and the fraction of the variance that it explains."""
    slope, intercept = np.polyfit(x, y, 1)
    rest, spread = y - (slope * x + intercept), y - y.mean()
    # The mean of equal numbers is one of them only up to rounding.
    return float(slope), 1 - float(rest @ rest) / float(spread @ spread) if np.ptp(y) else 1.0
