"""Files that are in a folder whole or not at all, and locks that one process at a time holds."""

import contextlib
import errno
import logging
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

# What a system call says of file locks that a file system does not have.
NO_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL}


@contextlib.contextmanager
def locked(path: Path, *, wait: float = -1.0) -> Iterator[None]:
    """Holds a lock file, which one process at a time does.

    Where the file system has no locks, as some of clusters and containers, it says so and goes on without.

    Args:
        path: of the file, in a folder that is there.
        wait: so many seconds at most until another process lets go of it; below 0 as long as it takes.

    Raises:
        TimeoutError: if another process holds it longer.
        OSError: if the file cannot be written.
    """
    from filelock import FileLock

    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "is a folder in the place of a lock file: delete it", str(path))
    if not has_locks(path.parent):
        logging.getLogger("widebasin").warning(
            "the file system of %s has no file locks (flock): see to it that no other process writes there", path.parent
        )
        yield
        return
    with FileLock(path, timeout=wait):
        yield


def has_locks(folder: Path) -> bool:
    """Whether files in a folder can be locked, tried with one of no name.

    Raises:
        OSError: if the folder cannot be written.
    """
    try:
        import fcntl
    except ImportError:
        return True  # Windows has locks of its own.
    with tempfile.TemporaryFile(dir=folder) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return error.errno not in NO_LOCKS
    return True


@contextlib.contextmanager
def written_aside(folder: Path, prefix: str) -> Iterator[Path]:
    """An empty folder within a folder, to write in and to rename from; it is gone afterwards.

    One process at a time has it, others wait. A process that is killed, or ended by an interrupt, cannot clear it away;
    the next one that writes here does.

    Args:
        folder: where the files will be; made if need be.
        prefix: how the name of the folder within begins. All that begins so is taken for what a process has left.

    Raises:
        OSError: if the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / ".writing.lock"):
        for left in folder.glob(f"{prefix}*"):
            # What cannot be deleted is in nobody's way.
            shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=prefix) as aside:
            yield Path(aside)
