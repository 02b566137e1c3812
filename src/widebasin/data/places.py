"""Where data sets are looked for."""

import contextlib
import functools
import logging
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from widebasin.data.errors import DataError

ENVIRONMENT = "WIDEBASIN_DATA"


@dataclass(frozen=True)
class Found:
    """Files of a data set on this machine.

    Attributes:
        path: a folder or a file.
        kind: what they are, such as "idx files" or "class folders".
    """

    path: Path
    kind: str


@functools.cache
def _without_home() -> Path:
    """The place of a user without a home folder, as in containers; said once."""
    user = os.getuid() if hasattr(os, "getuid") else 0
    folder = Path(tempfile.gettempdir()) / f"widebasin-{user}"
    with contextlib.suppress(OSError):
        folder.mkdir(mode=0o700, exist_ok=True)
        # Programs are kept there: in the place of a stranger, they may be the stranger's.
        if folder.lstat().st_uid != user:
            folder = Path(tempfile.mkdtemp(prefix="widebasin-"))
    logging.getLogger("widebasin").warning(
        "there is no home folder: what can be had again is kept in %s; set XDG_CACHE_HOME to a folder that stays",
        folder,
    )
    return folder


def cache_folder(kind: str) -> Path:
    """The user's folder of what can be had again: ``data``, ``compiled`` programs. It need not exist."""
    chosen = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not chosen.is_absolute():
        try:
            chosen = Path.home() / ".cache"
        except RuntimeError:
            chosen = _without_home()
    return chosen / "widebasin" / kind


def folders_of(name: str) -> tuple[Path, ...]:
    """The folders a data set is looked for in, the first one first.

    ``$WIDEBASIN_DATA/NAME`` and ``$WIDEBASIN_DATA`` itself, if that is set; then ``NAME`` in the cache. Downloads go
    to the first one.
    """
    chosen = os.environ.get(ENVIRONMENT)
    folder = Path(os.path.expanduser(chosen)) if chosen else None  # noqa: PTH111  without a home, ~ is a name
    own = (folder / name, folder) if folder else ()
    return (*own, cache_folder("data") / name)


def folders_here(name: str) -> list[Path]:
    """Those of ``folders_of`` that are there.

    Raises:
        DataError: if the system does not let one be looked into.
    """
    there = []
    for folder in folders_of(name):
        try:
            if folder.is_dir():
                os.scandir(folder).close()
                there.append(folder)
        except OSError as error:
            raise DataError(
                f"{folder}: cannot be looked into ({error.strerror}); set {ENVIRONMENT} to another folder"
            ) from error
    return there


def look_in(folder: Path | None) -> None:
    """Has data sets looked for, and downloaded, in this folder first, here and in processes to come."""
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
        f"{name} is not here; {obtain} into a folder {name}, and set {ENVIRONMENT} to the folder that this is in "
        f"(looked in {looked})"
    )


def not_here(name: str, title: str, note: Callable[[Path], str] = lambda folder: "") -> DataError:
    """The error for a data set that is in none of its folders.

    Args:
        name: of the data set.
        title: what people call it.
        note: what there is to say about a folder looked into.
    """
    looked = ", ".join(f"{folder}{note(folder)}" for folder in folders_of(name))
    return DataError(
        f"{title} is not here; run: widebasin data fetch {name}, or set {ENVIRONMENT} to the folder it is in "
        f"(looked in {looked})"
    )
