"""The class ``Tracker``: a listener to the events of a sweep that logs them in the results folder."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from widebasin.sweep.events import Listener


def nothing() -> None:
    """The check of a tracker that can always be used."""


@dataclass(frozen=True)
class Tracker:
    """A tracker, declared as ``TRACKER`` by a module in this folder.

    Attributes:
        name: name on the command line, and of the only folder or file that it writes in the results folder.
        summary: what it writes, in a few words.
        listener: path of that folder or file -> the listener. It writes nothing before the event ``Started``, and
            raises ``SweepError`` if it cannot write. When a sweep is continued, it may receive an epoch again that it
            has already written, with the same values.
        requirement: the package that it needs, in pip's syntax; empty if none. The module must have the same name.
        check: raises ``UsageError`` for ``track`` if the tracker cannot be used at present; called with the package
            installed.
        always: whether it logs every sweep, without being named.
    """

    name: str
    summary: str
    listener: Callable[[Path], Listener]
    requirement: str = ""
    check: Callable[[], None] = nothing
    always: bool = False
