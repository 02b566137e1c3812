"""The trackers by name, from the files in this folder."""

import importlib
import pkgutil
from collections.abc import Sequence
from pathlib import Path

from widebasin.sweep.errors import UsageError, nearest_name
from widebasin.sweep.events import Listener
from widebasin.sweep.packages import check_package
from widebasin.sweep.trackers.tracker import Tracker


def declared() -> dict[str, Tracker]:
    """Module in this folder -> the tracker that it declares."""
    names = [module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)]) if module.name != "registry"]
    modules = {name: importlib.import_module(f"{__package__}.{name}") for name in names}
    return {name: module.TRACKER for name, module in modules.items() if hasattr(module, "TRACKER")}


_DECLARED = [*declared().values()]
TRACKERS: dict[str, Tracker] = {tracker.name: tracker for tracker in _DECLARED if not tracker.always}
"""Trackers that can be named on the command line."""
ALWAYS: dict[str, Tracker] = {tracker.name: tracker for tracker in _DECLARED if tracker.always}
"""Trackers that log every sweep."""


def known_trackers(names: Sequence[str] | str) -> list[str]:
    """The names without duplicates; ``UsageError`` for one that no tracker has."""
    names = (names,) if isinstance(names, str) else names
    if not isinstance(names, Sequence):
        raise UsageError("track", names, f"must be names of trackers: {', '.join(TRACKERS)}")
    for name in names:
        if name not in TRACKERS:
            raise nearest_name("track", name, TRACKERS)
    return list(dict.fromkeys(names))


def listeners_of(names: Sequence[str] | str, folder: Path) -> list[Listener]:
    """The listeners of trackers that log a sweep in its results folder, for the argument ``listeners`` of ``run``.

    >>> from pathlib import Path
    >>> listeners_of([], Path("results/sweep"))
    []

    Args:
        names: names of trackers, or one name; duplicates are ignored.
        folder: the results folder; it need not exist yet.

    Raises:
        UsageError: for an unknown name, a missing package, or a tracker that cannot be used at present.
    """
    names = known_trackers(names)
    for name in names:
        check_package("track", name, TRACKERS[name].requirement)
        TRACKERS[name].check()
    return [TRACKERS[name].listener(folder / name) for name in names]
