"""Errors that a user can fix; the messages say how."""

import difflib
import errno
from collections.abc import Iterable
from pathlib import Path
from typing import Any

# What to do where a file cannot be written.
WRITABLE = dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "free some space") | dict.fromkeys(
    (errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY), "delete what is in its place"
)


class UsageError(ValueError):
    """A bad argument; the message has the argument, its value and the remedy."""

    def __init__(self, argument: str, value: Any, remedy: str) -> None:
        super().__init__(f"{argument} = {value!r}: {remedy}")
        self.argument, self.value, self.remedy = argument, value, remedy

    def __reduce__(self) -> tuple[Any, ...]:
        """Errors travel between processes."""
        return type(self), (self.argument, self.value, self.remedy)


class SweepError(RuntimeError):
    """A sweep cannot continue; the message says why and what to do."""


class OtherResults(UsageError):
    """The folder contains results of another sweep, or of one trained differently; overwriting deletes them."""


class DamagedResults(SweepError):
    """The records or tables of a sweep are damaged; if its records are, overwriting deletes the sweep."""


def cannot_write(path: Path, error: OSError) -> SweepError:
    """The error for a file of a sweep that cannot be written."""
    remedy = WRITABLE.get(error.errno or 0, "make it writable")
    return SweepError(
        f"cannot write {path} ({error.strerror}); {remedy} and run the same command again to continue: "
        "finished networks are kept"
    )


def nearest_name(argument: str, name: Any, known: Iterable[str]) -> UsageError:
    """The error for an unknown name, with the nearest known one."""
    known = list(known)
    close = difflib.get_close_matches(str(name).lower(), known, n=1, cutoff=0.6)
    meant = f"did you mean {close[0]!r}? " if close else ""
    return UsageError(argument, name, f"unknown; {meant}Known: {', '.join(known)}")
