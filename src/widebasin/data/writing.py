"""Files that are in a folder whole or not at all."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


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
    from filelock import FileLock

    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".writing.lock"):
        for left in folder.glob(f"{prefix}*"):
            # What cannot be deleted is in nobody's way.
            shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=prefix) as aside:
            yield Path(aside)
