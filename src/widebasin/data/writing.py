"""Atomic writing of files, and lock files."""

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
    """Holds a lock file; only one process at a time can.

    If the file system has no locks, as on some clusters and in some containers, it logs a warning and continues
    without.

    Args:
        path: path of the lock file, in an existing folder.
        wait: maximum seconds to wait for another process to release it; negative to wait without limit.

    Raises:
        TimeoutError: if another process holds it for longer.
        OSError: if the file cannot be written.
    """
    from filelock import FileLock

    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "is a folder where a lock file should be: delete it", str(path))
    if not has_locks(path.parent):
        logging.getLogger("widebasin").warning(
            "the file system of %s has no file locks (flock): make sure that no other process writes there", path.parent
        )
        yield
        return
    with FileLock(path, timeout=wait):
        yield


def has_locks(folder: Path) -> bool:
    """Whether files in a folder can be locked, tested with an unnamed file.

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
    """A temporary folder inside a folder, to write to and rename from; it is deleted afterwards.

    Only one process at a time has it, others wait. Leftovers of a killed or interrupted process are deleted by the next
    process that writes here.

    Args:
        folder: the final folder of the files; created if necessary.
        prefix: prefix of the temporary folder's name. Everything with this prefix counts as leftovers.

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
