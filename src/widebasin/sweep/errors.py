"""Errors that a user can mend, and says how."""

import difflib
from collections.abc import Iterable
from typing import Any


class UsageError(ValueError):
    """A bad argument: names the argument, its value and the remedy."""

    def __init__(self, argument: str, value: Any, remedy: str) -> None:
        super().__init__(f"{argument} = {value!r}: {remedy}")
        self.argument, self.value, self.remedy = argument, value, remedy


class SweepError(RuntimeError):
    """A sweep cannot go on; the message says why and what to do."""


def nearest_name(argument: str, name: str, known: Iterable[str]) -> UsageError:
    """The error for an unknown name, with the nearest known one."""
    known = list(known)
    close = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.4)
    meant = f"did you mean {close[0]!r}? " if close else ""
    return UsageError(argument, name, f"unknown; {meant}Known: {', '.join(known)}")
