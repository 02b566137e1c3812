"""What a tracker is: a listener to the events of a sweep that keeps them in the results folder."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from widebasin.sweep.events import Listener


def nothing() -> None:
    """What a tracker that is always ready checks."""


@dataclass(frozen=True)
class Tracker:
    """A tracker, declared as ``TRACKER`` by a module of this folder.

    Attributes:
        name: on the command line, and of the folder or file that it writes in the results folder, the only one.
        summary: what it keeps, in a few words.
        listener: path of that folder or file -> the listener. It writes nothing before the event ``Started``, and
            raises ``SweepError`` where it cannot write. An epoch that it has kept in an earlier run comes again where a
            sweep is continued, restored from a checkpoint or trained once more to the same values.
        requirement: the package that it needs, as pip takes it; empty for none. The name is that of the module too.
        check: raises ``UsageError`` for ``track`` where it cannot be used as things are; the package is there.
        always: whether it is told of every sweep, without being named.
    """

    name: str
    summary: str
    listener: Callable[[Path], Listener]
    requirement: str = ""
    check: Callable[[], None] = nothing
    always: bool = False
