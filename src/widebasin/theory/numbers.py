"""Checks of numeric arguments."""

import math

# Relative differences that are rounding: equal numbers that were computed in two ways.
ROUNDING = 1e-12


def positive(argument: str, value: float) -> float:
    """The value, or a ``ValueError`` with the argument's name if it is not a finite number > 0."""
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{argument} must be a finite number > 0, got {value}")
    return float(value)


def not_negative(argument: str, value: float) -> float:
    """The value, or a ``ValueError`` with the argument's name if it is not a finite number >= 0."""
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{argument} must be a finite number >= 0, got {value}")
    return float(value)
