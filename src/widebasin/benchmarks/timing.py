"""Timing contenders side by side."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np


@dataclass(frozen=True)
class Timing:
    """How long one contender took, in every round.

    Attributes:
        seconds: of one unit of work, one number per round; at least one.
    """

    seconds: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.seconds:
            raise ValueError("seconds must hold at least one number")

    @property
    def median(self) -> float:
        """Seconds, median over the rounds."""
        return float(np.median(self.seconds))

    @property
    def quartiles(self) -> tuple[float, float]:
        """Seconds, first and third quartile over the rounds (linear between the two nearest)."""
        low, high = np.quantile(self.seconds, (0.25, 0.75))
        return float(low), float(high)

    def over(self, other: "Timing") -> float:
        """How many times as long as another contender of the same run: the ratio of the medians."""
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
    """Times contenders in turn, round by round (A B C, A B C, ...), so that a busy machine slows all alike.

    Args:
        contenders: name -> one call of the contender; the clock stops when every array that it returns is computed.
        rounds: how often each is timed, at least 1.
        units: units of work in one call; times are per unit.
        warm: whether each is called once, untimed, before the first round: compilation is then left out.
        seconds: no further round begins once the rounds have taken so long; the first one always runs.
        clock: returns seconds.

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
