"""Timing of contenders in turn."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np


@dataclass(frozen=True)
class Timing:
    """The times of one contender in all rounds.

    Attributes:
        seconds: time of one unit of work, one number per round; at least one.
    """

    seconds: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.seconds:
            raise ValueError("seconds must have at least one number")

    @property
    def median(self) -> float:
        """The median over the rounds, in seconds."""
        return float(np.median(self.seconds))

    @property
    def quartiles(self) -> tuple[float, float]:
        """The first and third quartile over the rounds, in seconds (interpolated linearly)."""
        low, high = np.quantile(self.seconds, (0.25, 0.75))
        return float(low), float(high)

    def over(self, other: "Timing") -> float:
        """The ratio of its median to that of another contender of the same run."""
        return self.median / other.median


def interleave(
    contenders: Mapping[str, Callable[[], Any]],
    rounds: int,
    *,
    units: int = 1,
    warm: bool = True,
    seconds: float = math.inf,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Timing]:
    """Times contenders in turn, round by round (A B C, A B C, ...), so that a busy machine slows all equally.

    Args:
        contenders: name -> function that runs the contender once; the clock stops when all returned arrays are
            computed.
        rounds: how often each is timed, at least 1.
        units: units of work in one call; times are per unit.
        warm: whether each is called once, untimed, before the first round, to exclude compilation.
        seconds: no further round starts once the rounds have taken this long; the first one always runs.
        clock: function that returns seconds.

    Returns:
        name -> timing.
    """
    if rounds < 1:
        raise ValueError(f"rounds must be at least 1, got {rounds}")
    if warm:
        for call in contenders.values():
            jax.block_until_ready(call())
    samples: dict[str, list[float]] = {name: [] for name in contenders}
    begun = clock()
    for number in range(rounds):
        if number and clock() - begun >= seconds:
            break
        for name, call in contenders.items():
            started = clock()
            jax.block_until_ready(call())
            samples[name].append((clock() - started) / units)
    return {name: Timing(tuple(values)) for name, values in samples.items()}
