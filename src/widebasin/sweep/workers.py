"""Processes that train a job together, wherever an executor starts them: what they get, what they tell, their ends.

They share the results folder by leases, as ``--shard`` does. Each tells its events in a file of its own in
``workers/RUN/``, so that the process which started them needs no connection to them: they go on without it.
"""

import dataclasses
import io
import logging
import os
import pickle
import shutil
import socket
import struct
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from widebasin.shown import first_line
from widebasin.sweep.beginning import check_or_clear
from widebasin.sweep.cells import Cell, cells, cells_of
from widebasin.sweep.errors import SweepError, cannot_write
from widebasin.sweep.events import Epoch, Event, Failed, Finished, GroupFinished, GroupStarted, Listener, Started
from widebasin.sweep.executors.executor import Job
from widebasin.sweep.folder import COMMAND, WORKERS, ResultsFolder
from widebasin.sweep.here import check_others, train_here
from widebasin.sweep.leases import Leases
from widebasin.sweep.process_names import has_ended, process_name
from widebasin.sweep.spec_file import differences
from widebasin.training.compilation import keep_compiled_programs, use_every_core
from widebasin.training.hosts import sendable

# Seconds between two looks at the events and at which workers have ended.
LOOK = 0.5
# Seconds that workers get to end by themselves when the sweep is finished.
END = 10.0
# Before every message in a file of events: its length in bytes.
LENGTH = struct.Struct("<Q")

Message = Event | Exception


@dataclass(frozen=True)
class Share:
    """What a worker gets.

    Attributes:
        job: its share of the job.
        events: the folder for what it tells.
    """

    job: Job
    events: Path


class Worker(Protocol):
    """A worker that an executor has started."""

    def ended(self) -> str | None:
        """How it was ended, in words; empty if it ended by itself; ``None`` if it waits or trains."""
        ...

    def stop(self) -> None:
        """Ends it now, or takes it out of the queue."""
        ...


Start = Callable[[Sequence[Share]], Sequence[Worker]]


def train_share(share: Share) -> None:
    """Trains in a worker, which has not used JAX yet; every event, or the error, goes into a file."""
    tell = _Told(share)
    _print_into(tell.path.with_suffix(".out"))
    try:
        share.job.enter()
        use_every_core()
        keep_compiled_programs()
        train_here(share.job, tell)
    except Exception as error:
        error.add_note(f"In a process that trained a share:\n{traceback.format_exc()}")
        tell(sendable(error))


def _print_into(path: Path) -> None:
    """Lets a file have what this process prints, so that it can be read when the process is gone."""
    try:
        with path.open("ab") as file:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
                os.dup2(file.fileno(), stream.fileno())
    except OSError:
        # Nobody is there who would read it.
        pass


def train_in_workers(
    job: Job, count: int, start: Start, tell: Listener, *, retries: int = 0, go_on: bool = False
) -> None:
    """Trains a job in workers.

    Args:
        job: the job.
        count: number of workers.
        start: starts workers.
        tell: receives the events of all workers.
        retries: how often a worker that was ended is started again.
        go_on: whether the workers go on if this process cannot listen to them any longer.

    Raises:
        UsageError: if the folder or the data cannot be used, before a worker is started.
        SweepError: if all workers have ended before the sweep was finished.
        Exception: of a worker, if the sweep could not be finished because of it.
    """
    folder, spec = job.folder(), job.resolved()
    cells(spec)[0].problem()  # data that are not here, or too few, are an error before there is a folder
    events = job.path.absolute() / WORKERS / f"{socket.gethostname()}-{os.getpid()}-{os.urandom(4).hex()}"
    heard = _Heard(events, folder, tell)
    with folder.locked():
        others = Leases(folder, job.execution.lease_seconds).holders()
        check_others(folder, spec, others)
        if others and job.overwrite:
            raise SweepError(f"{job.path} is in use by {' and '.join(others)}; wait until they have ended")
        check_or_clear(folder, spec, job.execution, job.overwrite)
    if _is_finished(folder, job):
        train_here(job.share(1, 1), tell)  # nothing to train, but to verify
        if heard.listen():  # to workers that have finished it without their command
            tell(Finished())
        return _clear(job)
    try:
        events.mkdir(parents=True)
        (events / COMMAND).write_text(process_name())
    except OSError as error:
        raise cannot_write(events, error) from error
    shares = [Share(job.share(number, count), events) for number in range(1, count + 1)]
    try:
        errors = _waited(folder, job, shares, start, heard, retries, go_on)
    except BaseException as error:
        tell(Failed(first_line(error)))
        raise
    for error in errors:
        logging.getLogger("widebasin").warning(f"a process has failed, and the others did its work: {error}")
    _clear(job)
    tell(Finished())


def _clear(job: Job) -> None:
    """Deletes what workers were given and told, of earlier runs too."""
    shutil.rmtree(job.path / WORKERS, ignore_errors=True)


def _waited(
    folder: ResultsFolder,
    job: Job,
    shares: Sequence[Share],
    start: Start,
    heard: "_Heard",
    retries: int,
    go_on: bool,
) -> list[Exception]:
    """Waits until the sweep is finished, and returns the errors of workers."""
    workers = list(start(shares))
    left = [retries] * len(shares)
    stop = not go_on
    try:
        while not _all_done(folder, job, workers):
            if not heard.listen():
                time.sleep(LOOK)
            for at, worker in enumerate(workers):
                if worker.ended() and left[at] and not _is_finished(folder, job):
                    left[at] -= 1
                    (workers[at],) = start([shares[at]])
        stop = True
        give_up = time.monotonic() + END
        while any(worker.ended() is None for worker in workers) and time.monotonic() < give_up:
            time.sleep(LOOK / 10)
        ends = [worker.ended() or "" for worker in workers]
        heard.listen()
    finally:
        for worker in workers if stop else ():
            worker.stop()
    if _is_finished(folder, job):
        return heard.errors
    if heard.errors:
        raise heard.errors[0]
    how = "; ".join(dict.fromkeys(filter(None, ends)))
    raise SweepError(
        f"all {len(workers)} processes have ended ({how}) before the sweep was finished; what they print is in "
        f"{shares[0].events}; run the same command to continue"
    )


def _all_done(folder: ResultsFolder, job: Job, workers: Sequence[Worker]) -> bool:
    """Whether nothing is left to wait for: all workers have ended, or one that found nothing left to train."""
    ends = [worker.ended() for worker in workers]
    return None not in ends or ("" in ends and _is_finished(folder, job))


def _is_finished(folder: ResultsFolder, job: Job) -> bool:
    """Whether the sweep of the job is trained and in its tables."""
    if not folder.holds_sweep() or differences(folder.spec(), job.resolved()):
        return False
    return folder.is_finished() and (folder.keeps_parameters() or not job.execution.keep_parameters)


# What workers tell ----------------------------------------------------------------------------------------------------


class _Told:
    """A worker's file of events, in which cells are named: who listens knows them.

    That all is finished before, one worker tells for all.
    """

    def __init__(self, share: Share) -> None:
        number, _ = share.job.execution.place or (1, 1)
        self.path = share.events / f"{number}-{socket.gethostname()}-{os.getpid()}.events"
        self.first = number == 1

    def __call__(self, message: Message) -> None:
        if isinstance(message, GroupFinished) and message.before and not self.first:
            return
        content = io.BytesIO()
        _Naming(content).dump(Started(()) if isinstance(message, Started) else message)
        try:
            with self.path.open("ab", buffering=0) as file:
                file.write(LENGTH.pack(content.tell()) + content.getvalue())
        except OSError:
            # Nobody listens any more, or the disk is full, which the training itself will notice.
            pass


class _Naming(pickle.Pickler):
    def persistent_id(self, obj: Any) -> str | None:
        return obj.name if isinstance(obj, Cell) else None


class _Known(pickle.Unpickler):
    def __init__(self, content: bytes, cells: dict[str, Cell]) -> None:
        super().__init__(io.BytesIO(content))
        self.cells = cells

    def persistent_load(self, pid: Any) -> Cell:
        return self.cells[pid]


class _Heard:
    """The events of all workers, as those of one; of workers whose command was killed on this machine, too.

    Attributes:
        errors: of the workers of this command.
    """

    def __init__(self, events: Path, folder: ResultsFolder, tell: Listener) -> None:
        self.events, self.folder, self.tell, self.errors = events, folder, tell, list[Exception]()
        self._read: dict[Path, int] = {}
        self._cells: dict[str, Cell] = {}
        self._started, self._finished = set[tuple[str, int]](), set[tuple[str, int]]()

    def listen(self) -> bool:
        """Tells what is new; whether anything was."""
        news = False
        left = [path for path in sorted(self.events.parent.glob("*")) if path != self.events and _is_left(path)]
        for folder in (*left, self.events):
            for path in sorted(folder.glob("*.events")):
                for message in self._messages(path):
                    news = True
                    self._hear(message if folder == self.events else _of_before(message))
        return news

    def _messages(self, path: Path) -> Iterator[Message]:
        with path.open("rb") as file:
            file.seek(self._read.get(path, 0))
            while len(head := file.read(LENGTH.size)) == LENGTH.size:
                (length,) = LENGTH.unpack(head)
                content = file.read(length)
                if len(content) < length:
                    return
                self._read[path] = file.tell()
                yield _Known(content, self._cells).load()

    def _hear(self, message: Message | None) -> None:
        match message:
            case None:
                return
            case Exception():
                self.errors.append(message)
                return
            case Started():
                if self._cells:
                    return
                grid = cells_of(self.folder.stages())
                self._cells = {cell.name: cell for cell in grid}
                message = Started(tuple(grid))
            case Finished() | Failed():
                return
            case GroupStarted(cell=cell, group=group):
                self._started.add((cell.name, group))
            case GroupFinished(cell=cell, group=group):
                # One that was trained by another worker is reported as finished before, too.
                if (cell.name, group) in self._finished:
                    return
                self._finished.add((cell.name, group))
                message = dataclasses.replace(message, before=(cell.name, group) not in self._started)
        self.tell(message)


def _is_left(events: Path) -> bool:
    """Whether nobody listens to these workers any more: their command has ended."""
    try:
        return has_ended((events / COMMAND).read_text())
    except OSError:
        return False


def _of_before(message: Message) -> Message | None:
    """An event of the worker of another command: no work of this one, and an error is none of this one."""
    match message:
        case Exception():
            return None
        case Epoch(report=report):
            return dataclasses.replace(message, report=dataclasses.replace(report, resumed=True))
    return message
