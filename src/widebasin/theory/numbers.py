"""Checks of numeric arguments."""

import math

# Products of such numbers, up to the fourth power, stay below the largest float.
LARGEST_ARGUMENT = 1e60

# Relative differences that are rounding: equal numbers that were computed in two ways.
ROUNDING = 1e-12


def positive(argument: str, value: float) -> float:
    """The value, or a ``ValueError`` with the argument's name if it is not > 0 and at most ``LARGEST_ARGUMENT``."""
    if not 0 < value <= LARGEST_ARGUMENT:
        raise ValueError(f"{argument} must be a finite number > 0{_at_most(value)}, got {value}")
    return float(value)


def not_negative(argument: str, value: float) -> float:
    """The value, or a ``ValueError`` with the argument's name if it is not >= 0 and at most ``LARGEST_ARGUMENT``."""
    if not 0 <= value <= LARGEST_ARGUMENT:
        raise ValueError(f"{argument} must be a finite number >= 0{_at_most(value)}, got {value}")
    return float(value)


def _at_most(value: float) -> str:
    return f" and at most {LARGEST_ARGUMENT:g}" if LARGEST_ARGUMENT < value < math.inf else ""
