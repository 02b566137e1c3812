"""Checks of numeric arguments."""

import math


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
