"""Folders that are searched for data sets."""

import contextlib
import functools
import logging
import os
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from widebasin.data.errors import DataError

ENVIRONMENT = "WIDEBASIN_DATA"


@dataclass(frozen=True)
class Found:
    """Files of a data set on this machine.

    Attributes:
        path: a folder or a file.
        kind: their format, such as "idx files" or "class folders".
    """

    path: Path
    kind: str


# Name, bytes and time of the last change of files.
Versions = tuple[tuple[str, int, int], ...]


def versions(files: Iterable[Path]) -> Versions:
    """What tells files from others that were there before, so that data kept in memory are read again."""
    found = ((path, path.stat()) for path in sorted(files) if path.is_file())
    return tuple((str(path), status.st_size, status.st_mtime_ns) for path, status in found)


@functools.cache
def _without_home() -> Path:
    """The cache folder for a user without a home folder, as in containers; a warning is logged once."""
    user = os.getuid() if hasattr(os, "getuid") else 0
    folder = Path(tempfile.gettempdir()) / f"widebasin-{user}"
    with contextlib.suppress(OSError):
        folder.mkdir(mode=0o700, exist_ok=True)
        # Programs are kept there: in the place of a stranger, they may be the stranger's.
        if folder.lstat().st_uid != user:
            folder = Path(tempfile.mkdtemp(prefix="widebasin-"))
    logging.getLogger("widebasin").warning(
        "there is no home folder: the cache is in %s; set XDG_CACHE_HOME to a permanent folder",
        folder,
    )
    return folder


def cache_folder(kind: str) -> Path:
    """The user's cache folder for ``data`` or ``compiled`` programs. It need not exist."""
    chosen = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not chosen.is_absolute():
        try:
            chosen = Path.home() / ".cache"
        except RuntimeError:
            chosen = _without_home()
    return chosen / "widebasin" / kind


def folders_of(name: str) -> tuple[Path, ...]:
    """The folders that are searched for a data set, in order.

    ``$WIDEBASIN_DATA/NAME`` and ``$WIDEBASIN_DATA`` itself, if it is set; then ``NAME`` in the cache. Downloads go to
    the first one.
    """
    chosen = os.environ.get(ENVIRONMENT)
    folder = Path(os.path.expanduser(chosen)) if chosen else None  # noqa: PTH111  without a home, ~ is a name
    own = (folder / name, folder) if folder else ()
    return (*own, cache_folder("data") / name)


def folders_here(name: str) -> list[Path]:
    """The folders of ``folders_of`` that exist.

    Raises:
        DataError: if a folder cannot be accessed.
    """
    there = []
    for folder in folders_of(name):
        try:
            if folder.is_dir():
                os.scandir(folder).close()
                there.append(folder)
        except OSError as error:
            raise DataError(
                f"{folder}: cannot be accessed ({error.strerror}); set {ENVIRONMENT} to another folder"
            ) from error
    return there


def look_in(folder: Path | None) -> None:
    """Makes this folder the first to search for data sets and to download to, here and in child processes."""
    if folder is not None:
        os.environ[ENVIRONMENT] = str(folder)


def not_obtained(name: str, obtain: str) -> DataError:
    """The error for a data set that is in none of its folders and that this program does not download.

    Args:
        name: of the data set and its folder.
        obtain: what to do, up to "into a folder".
    """
    looked = ", ".join(map(str, folders_of(name)))
    return DataError(
        f"{name} was not found; {obtain} into a folder {name}, and set {ENVIRONMENT} to the folder that this is in "
        f"(searched {looked})"
    )


def not_here(name: str, title: str, note: Callable[[Path], str] = lambda folder: "") -> DataError:
    """The error for a data set that is in none of its folders.

    Args:
        name: name of the data set.
        title: its usual name.
        note: note to add about a searched folder.
    """
    looked = ", ".join(f"{folder}{note(folder)}" for folder in folders_of(name))
    return DataError(
        f"{title} was not found; run: widebasin data fetch {name}, or set {ENVIRONMENT} to its folder "
        f"(searched {looked})"
    )
