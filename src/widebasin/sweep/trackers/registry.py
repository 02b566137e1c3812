"""The trackers by name, from the files in this folder."""

import importlib
import pkgutil
import re
from collections.abc import Sequence
from pathlib import Path

from widebasin.sweep.errors import UsageError, nearest_name
from widebasin.sweep.events import Listener
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
    names = (names,) if isinstance(names, str) else names
    if not isinstance(names, Sequence):
        raise UsageError("track", names, f"must be names of trackers: {', '.join(TRACKERS)}")
    names = list(dict.fromkeys(names))
    for name in names:
        if name not in TRACKERS:
            raise nearest_name("track", name, TRACKERS)
        _check_package(name, TRACKERS[name].requirement)
        TRACKERS[name].check()
    return [TRACKERS[name].listener(folder / name) for name in names]


def _check_package(name: str, requirement: str) -> None:
    if not requirement:
        return
    package = re.split("[<>=!~]", requirement)[0]
    why = ""
    try:
        # A folder of this name in the working directory is a package without a file.
        found = importlib.import_module(package).__file__ is not None
    except ImportError as error:
        found, why = False, "" if error.name == package else f" ({error})"
    if not found:
        raise UsageError(
            "track", name, f"needs the package {package}, which is not installed{why}: {_pip(requirement)}"
        )


def _pip(requirement: str) -> str:
    return f'pip install "{requirement}"'
