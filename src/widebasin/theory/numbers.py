"""Checks of constants."""

import math


def positive(argument: str, value: float) -> float:
    """The value, or ``ValueError`` naming the argument if it is not a finite number > 0."""
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{argument} must be a finite number > 0, got {value}")
    return float(value)


def not_negative(argument: str, value: float) -> float:
    """The value, or ``ValueError`` naming the argument if it is not a finite number >= 0."""
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{argument} must be a finite number >= 0, got {value}")
    return float(value)
