"""Leases: which process trains which group of networks, if several share a results folder."""

import contextlib
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from widebasin.sweep.errors import SweepError, cannot_write
from widebasin.sweep.folder import ResultsFolder
from widebasin.sweep.process_names import has_ended, machine, process_name

# A lease is renewed several times before it expires.
RENEWALS = 6
# How files that exist for a moment only begin.
ASIDE = ".lease-"


class LeaseLost(SweepError):
    """The lease of a group expired and another process has taken it over, as after a long pause of this one."""


class Leases:
    """Hands out the groups of a results folder to the processes that share it.

    A process leases a group by creating ``cells/CELL/group-K.lease``, which only one can, and renews it while it
    trains. A lease that was not renewed for some time has expired: its process was killed, or its machine is gone, and
    another process may take it over. Times are those of the file system, so the clocks of the machines do not matter.
    That two processes train a group at the same time is possible only after a pause longer than the time of a lease;
    the first one then notices it and stops. Nothing but files is used, so that any file system will do that all
    machines share.

    Args:
        folder: the results folder.
        seconds: time after which a lease of this process expires unless it is renewed; it stands in the lease, so that
            others go by it.
    """

    def __init__(self, folder: ResultsFolder, seconds: float) -> None:
        self.folder, self.seconds = folder, seconds
        self._owner = f"{process_name()} {machine()}-{os.urandom(8).hex()}"

    @contextlib.contextmanager
    def of(self, cell: str, number: int) -> Iterator[Callable[[], None] | None]:
        """Leases a group for the time of the context.

        Yields:
            A function that raises ``LeaseLost`` if another process has taken the group over; ``None`` if another
            process has it.

        Raises:
            SweepError: if the folder cannot be written.
        """
        path = self.folder.group(cell, number, "lease")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            taken = self._take(path)
        except OSError as error:
            raise cannot_write(path, error) from error
        if not taken:
            yield None
            return
        over, lost = threading.Event(), threading.Event()
        renewing = threading.Thread(target=self._renew, args=(path, over, lost), name="lease", daemon=True)
        renewing.start()

        def check() -> None:
            owner = self._owner
            with contextlib.suppress(OSError):  # a file system that does not answer now may do so the next time
                owner = _owner_of(path)
            if lost.is_set() or owner != self._owner:
                raise LeaseLost(f"{path} was taken over by {owner or 'another process'}")

        try:
            yield check
        finally:
            over.set()
            renewing.join()
            if _owner_of(path) == self._owner:
                path.unlink(missing_ok=True)

    def _take(self, path: Path) -> bool:
        """Whether this process has the lease now."""
        if self._created(path):
            return True
        if not self._expired(path):
            return False
        # One process at a time replaces an expired lease, so that none takes the new lease for the expired one.
        replacing = path.with_name(f"{ASIDE}{path.name}")
        if not self._created(replacing):
            if self._expired(replacing):
                replacing.unlink(missing_ok=True)
            return False
        try:
            if self._expired(path):
                path.unlink(missing_ok=True)
            return self._created(path)
        finally:
            replacing.unlink(missing_ok=True)

    def _expired(self, path: Path) -> bool:
        """Whether a lease was not renewed in time, or its process has ended; true if there is none."""
        return _age(path, self._now(path)) > self._seconds_of(path) or _ended(_owner_of(path))

    def _seconds_of(self, path: Path) -> float:
        """After how many seconds a lease expires; those of this process if it does not say."""
        with contextlib.suppress(ValueError, FileNotFoundError):
            return float(path.read_text().partition("\n")[2])
        return self.seconds

    def _created(self, path: Path) -> bool:
        """Whether the lease did not exist and is now there."""
        try:
            with path.open("x") as file:
                file.write(f"{self._owner}\n{self.seconds:g}")
        except FileExistsError:
            return False
        return True

    @staticmethod
    def _now(path: Path) -> float:
        """The time by the clock of the file system, or of this machine if nothing can be written there."""
        try:
            with tempfile.NamedTemporaryFile(dir=path.parent, prefix=ASIDE) as probe:
                return os.fstat(probe.fileno()).st_mtime
        except OSError:
            return time.time()

    def _renew(self, path: Path, over: threading.Event, lost: threading.Event) -> None:
        while not over.wait(self.seconds / RENEWALS):
            with contextlib.suppress(OSError):  # see ``of``
                if _owner_of(path) != self._owner:
                    lost.set()
                    return
                path.touch()

    def holders(self) -> list[str]:
        """The processes whose leases have not expired."""
        paths = sorted(self._cells.glob("*/group-*.lease"))
        now = self._now(paths[0]) if paths else 0.0
        owners = {_owner_of(path) for path in paths if _age(path, now) <= self._seconds_of(path)}
        return sorted({_process(owner) for owner in owners if owner and not _ended(owner)})

    def tidy(self) -> None:
        """Deletes what killed processes left behind; for when all groups are trained."""
        for path in (*self._cells.glob("*/group-*.lease"), *self._cells.glob(f"*/{ASIDE}*")):
            path.unlink(missing_ok=True)

    @property
    def _cells(self) -> Path:
        return self.folder.path / "cells"


def _age(path: Path, now: float) -> float:
    try:
        return now - path.stat().st_mtime
    except FileNotFoundError:
        return float("inf")


def _process(owner: str) -> str:
    """The process of an owner, without what tells it from others of its number and of its machine's name."""
    return owner.rpartition(" ")[0]


def _ended(owner: str) -> bool:
    """Whether an owner is known to have ended: a process of this machine that is not there any more."""
    return owner.rpartition(" ")[2].startswith(f"{machine()}-") and has_ended(_process(owner))


def _owner_of(path: Path) -> str:
    try:
        return path.read_text().partition("\n")[0]
    except FileNotFoundError:
        return ""
