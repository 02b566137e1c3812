"""A folder that one process at a time holds and writes to, whole file by whole file."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pandas as pd

from widebasin.data.writing import has_locks, locked
from widebasin.sweep.errors import DamagedResults, SweepError, UsageError, cannot_write
from widebasin.sweep.process_names import has_ended, process_name
from widebasin.sweep.tables import TableError, packed, unpacked

# Seconds for which a process that only looks who holds the folder may hold it.
LOOKED_AT = 0.5
TRAIN_AGAIN = "delete it and run the same command again: only its networks are trained again"


class HeldFolder:
    """A folder for results on disk. Files in it are written atomically.

    Args:
        path: path of the folder.
        argument: name of the argument for messages: ``out`` for commands that train, ``folder`` for commands that read.
        patience: seconds to wait for another process that has locked it.
    """

    def __init__(self, path: Path, argument: Literal["out", "folder"] = "out", patience: float = LOOKED_AT) -> None:
        self.path, self.argument, self.patience = path, argument, patience
        self._owner = b""

    @property
    def another(self) -> str:
        """What to do if this folder cannot be used."""
        return "choose another --out" if self.argument == "out" else "give the folder of another sweep"

    def how_far(self) -> str:
        """How far the process is that holds it, in brackets; empty if that is not known."""
        return ""

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Creates the folder and locks it for this process.

        Raises:
            UsageError: if the folder cannot be created or written.
            SweepError: if another process has locked it.
        """
        with contextlib.ExitStack() as held:
            try:
                self.path.mkdir(parents=True, exist_ok=True)
                held.enter_context(locked(self.path / ".lock", wait=self.patience))
            except TimeoutError:
                owner = self.content(".owner").decode(errors="replace") or "another process"
                other = ", or choose another folder with --out" if self.argument == "out" else self.how_far()
                raise SweepError(f"{self.path} is in use by {owner}; wait until it has ended{other}") from None
            except OSError as error:
                raise UsageError(self.argument, str(self.path), f"{self._why(error)}; {self.another}") from error
            owner = process_name().encode()
            self.write(".owner", owner)
            self._owner = owner
            try:
                yield
            finally:
                if self.content(".owner") == owner:
                    (self.path / ".owner").unlink(missing_ok=True)
                self._owner = b""

    def _why(self, error: OSError) -> str:
        """Why the folder cannot be locked."""
        if self.path.is_symlink() and not self.path.exists():
            return f"is a link to {self.path.readlink()}, which does not exist"
        if self.path.is_file():
            return "is a file, not a folder"
        where = Path(os.fsdecode(error.filename)).name if isinstance(error.filename, (str, bytes)) else ""
        inside = f"{where}: " if where not in ("", self.path.name) else ""
        return f"cannot be written ({inside}{error.strerror})"

    def check_held(self) -> None:
        """Raises ``SweepError`` if the folder was deleted, moved or taken over since this process locked it."""
        if not self._owner:
            return
        owner = self.content(".owner")
        if not owner:
            raise SweepError(
                f"{self.path} was deleted, moved or used by another process while it was in use; run the same command "
                "again, after restoring the results to be continued"
            )
        if owner != self._owner:
            raise SweepError(f"{self.path} was taken over by {owner.decode(errors='replace')}; {self.another}")

    def holder(self) -> str:
        """The process that trains or reads the sweep now; empty if none does.

        If this cannot be tested (no file locks, or a read-only folder), it is the process that registered last, unless
        it ran on this machine and has ended.
        """
        owner = self.content(".owner").decode(errors="replace")
        try:
            if owner and has_locks(self.path):
                with locked(self.path / ".lock", wait=0.0):
                    return ""
        except TimeoutError:
            return owner
        except OSError:
            pass
        return "" if has_ended(owner) else owner

    def relative(self, path: Path) -> str:
        """A path in the folder, relative to it."""
        return path.relative_to(self.path).as_posix()

    def write(self, name: str, content: bytes) -> None:
        """Writes a file atomically.

        Raises:
            SweepError: if it cannot be written, or the folder no longer exists; a previous file stays intact.
        """
        path = self.path / name
        aside = path.with_name(path.name + ".partial")
        self.check_held()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with aside.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                aside.unlink(missing_ok=True)
            raise cannot_write(path, error) from error

    def write_table(self, path: Path, table: pd.DataFrame) -> None:
        """Writes a parquet table atomically, see ``packed``."""
        self.write(self.relative(path), packed(table))

    def read_table(self, path: Path, remedy: str = TRAIN_AGAIN) -> pd.DataFrame:
        """Reads a parquet table and verifies its digest and format.

        Raises:
            SweepError: if the file is missing, truncated, corrupt or has another format.
        """
        try:
            return unpacked(path.read_bytes())
        except FileNotFoundError as error:
            self.check_held()
            holder = self.holder()
            advice = f"{holder} is training it; wait for its end" if holder else "`widebasin status` says how to go on"
            raise SweepError(f"{path} does not exist; the sweep is not finished: {advice}") from error
        except OSError as error:
            raise SweepError(f"{path} cannot be read ({error.strerror}); {remedy}") from error
        except TableError as error:
            raise DamagedResults(f"{path} {error}; {remedy}") from error

    def content(self, name: str) -> bytes:
        """The content of a file; empty if it does not exist."""
        try:
            return (self.path / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return b""
        except OSError as error:
            raise SweepError(f"{self.path / name} cannot be read ({error.strerror}); make it readable") from error
