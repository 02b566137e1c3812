"""Executors train cells: alone, or together with other processes that share the results folder."""

import contextlib
import dataclasses
import gc
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import jax
from jaxtyping import PyTree

from widebasin.sweep.cells import Cell
from widebasin.sweep.errors import SweepError, UsageError
from widebasin.sweep.events import Checkpoint, Epoch, GroupFinished, GroupStarted, Listener
from widebasin.sweep.execution import Execution
from widebasin.sweep.folder import ResultsFolder
from widebasin.sweep.leases import LeaseLost, Leases
from widebasin.sweep.rows import history_rows, results_rows
from widebasin.training import (
    CheckpointError,
    Checkpoints,
    EpochReport,
    Plan,
    Point,
    Program,
    Trained,
    computing_in,
    devices_of_one,
    train,
)
from widebasin.training.hosts import explained

# How many cells are compiled ahead: cells of small networks train faster than the next one compiles.
AHEAD = 2
# Seconds between two looks at what other processes train.
POLL = 1.0

# Cell and number of a group -> a context in which this process trains it: it yields a function that raises if another
# process has taken the group over, or None if another process has it.
Claim = Callable[[str, int], contextlib.AbstractContextManager[Callable[[], None] | None]]


@runtime_checkable
class Executor(Protocol):
    """Trains cells; the rows do not depend on the executor."""

    def run(
        self,
        cells: Sequence[Cell],
        plans: Mapping[str, Plan],
        folder: ResultsFolder,
        execution: Execution,
        tell: Listener,
    ) -> None:
        """Trains all unfinished groups, writes their rows into the folder and reports events."""
        ...


class LocalExecutor:
    """Trains the cells one after the other on this process's devices while compiling the next ones."""

    def run(
        self,
        cells: Sequence[Cell],
        plans: Mapping[str, Plan],
        folder: ResultsFolder,
        execution: Execution,
        tell: Listener,
    ) -> None:
        """See ``Executor.run``."""

        def claim(cell: str, number: int) -> Any:
            del cell, number
            return contextlib.nullcontext(folder.check_held)

        train_all([Work(cell, plans[cell.name], folder, execution, claim) for cell in cells], tell)


class SharingExecutor:
    """Trains together with other processes, here or on other machines, that share the results folder.

    Every process goes through all groups, from a place of its own on, and trains those that no other process has
    leased. At the end it waits for the groups of others, and takes over those whose process was killed, from their last
    checkpoint. A group that fails is left to the others, and reported when there is nothing else to do.

    Args:
        shard: number of this process and of all processes, such as ``(1, 4)``; only decides where it begins.
    """

    def __init__(self, shard: tuple[int, int]) -> None:
        self.shard = shard

    def run(
        self,
        cells: Sequence[Cell],
        plans: Mapping[str, Plan],
        folder: ResultsFolder,
        execution: Execution,
        tell: Listener,
    ) -> None:
        """See ``Executor.run``."""
        leases = Leases(folder, execution.lease_seconds)
        number, count = self.shard
        first = (number - 1) * len(cells) // count
        in_turn = (*cells[first:], *cells[:first])
        work = [Work(cell, plans[cell.name], folder, execution, leases.of, failures={}) for cell in in_turn]
        while left := [one for one in work if one.left()]:
            train_all(left, tell)
            failures = {(one.cell.name, number): error for one in left for number, error in one.failed().items()}
            still = {(one.cell.name, number) for one in left for number in one.left()}
            if failures and still <= failures.keys():
                raise next(iter(failures.values()))
            if still:
                time.sleep(POLL)
        leases.tidy()


def train_all(work: "Sequence[Work]", tell: Listener, compiled_ahead: int = AHEAD) -> None:
    """Trains cells one after the other while the next ones are compiled."""
    # What was there before is not searched again after every cell.
    gc.freeze()
    try:
        with ThreadPoolExecutor(1, thread_name_prefix="compile") as ahead:
            try:
                for number, one in enumerate(work):
                    train_cell(one, tell, ahead, work[number + 1 : number + 1 + compiled_ahead])
                    # The cell's programs are in circles of references, each with megabytes of machine code.
                    gc.collect()
            finally:
                ahead.shutdown(wait=False, cancel_futures=True)
    finally:
        gc.unfreeze()


class Work:
    """A cell, and its program once it is needed.

    Attributes:
        told: the groups whose end was reported.
        failures: the error of every group that failed here, if the sweep goes on without it; ``None`` if it does not.
    """

    def __init__(
        self,
        cell: Cell,
        plan: Plan,
        folder: ResultsFolder,
        execution: Execution,
        claim: Claim,
        failures: dict[int, Exception] | None = None,
    ) -> None:
        self.cell, self.plan, self.folder, self.execution, self.claim = cell, plan, folder, execution, claim
        self.failures, self.told = failures, set[int]()
        self._preparing: Future[Program] | None = None

    @property
    def groups(self) -> list[tuple[int, tuple[Point, ...]]]:
        """Number and points of every group."""
        return list(enumerate(self.plan.groups(self.cell.points)))

    def missing(self, number: int) -> bool:
        """Whether a group is unfinished."""
        return not self.folder.finished(self.cell.name, number, self.execution.keep_parameters)

    def left(self) -> set[int]:
        """The groups that are unfinished, or whose end was not reported."""
        return {number for number, _ in self.groups if number not in self.told}

    def failed(self) -> dict[int, Exception]:
        """The error of every group that failed here and was not trained elsewhere."""
        return {number: error for number, error in (self.failures or {}).items() if self.missing(number)}

    def prepare(self, ahead: ThreadPoolExecutor) -> None:
        """Compiles in a thread, if a group is left to train."""
        left = [points for number, points in self.groups if self.missing(number)]
        if left and self._preparing is None:
            self._preparing = ahead.submit(self._prepared, left[0])

    def program(self) -> Program:
        """The program; compiled now unless it was compiled ahead."""
        preparing, self._preparing = self._preparing, None
        return self._new() if preparing is None else preparing.result()

    def _prepared(self, points: Sequence[Point]) -> Program:
        # What a context sets holds for a thread.
        with computing_in(self.cell.recipe.precision):
            program = self._new()
            program.prepare(points)
            return program

    def _new(self) -> Program:
        return Program(self.cell.problem(), self.cell.with_radius, self.plan)


def train_cell(work: Work, tell: Listener, ahead: ThreadPoolExecutor, following: Sequence[Work]) -> None:
    """Trains the unfinished groups of one cell, each from its checkpoint if it has one.

    Args:
        work: the cell.
        tell: receives the events.
        ahead: the thread that compiles.
        following: the next cells, which are compiled while this one trains.

    Raises:
        CheckpointError: if a checkpoint is damaged.
        SweepError: if the folder cannot be written.
    """
    with computing_in(work.cell.recipe.precision):
        _train_groups(work, tell, ahead, following)


def _train_groups(work: Work, tell: Listener, ahead: ThreadPoolExecutor, following: Sequence[Work]) -> None:
    cell, program = work.cell, None
    for number, points in work.groups:
        if number in work.told or number in work.failed():
            continue
        saved = work.folder.group(cell.name, number, "checkpoint")
        if not work.missing(number) and not saved.exists():
            tell(GroupFinished(cell, number, points, before=True))
            work.told.add(number)
            continue
        with work.claim(cell.name, number) as check_held:
            if check_held is None:
                continue
            if not work.missing(number):
                Checkpoints(saved).remove()  # left behind if a process ended between its last two lines
                tell(GroupFinished(cell, number, points, before=True))
                work.told.add(number)
                continue
            tell(GroupStarted(cell, number, points))
            checkpoints = _ToldCheckpoints(saved, work.plan.hosts > 1, cell, number, tell)
            try:
                if program is None:
                    for cell_to_come in following:
                        cell_to_come.prepare(ahead)
                    program = work.program()
                _train_group(work, program, number, points, checkpoints, check_held, tell)
            except LeaseLost:
                continue
            except (SweepError, CheckpointError):
                raise
            except Exception as error:
                if work.failures is None:
                    raise
                work.failures[number] = error
                continue
            tell(GroupFinished(cell, number, points))
            work.told.add(number)


def _train_group(
    work: Work,
    program: Program,
    number: int,
    points: tuple[Point, ...],
    checkpoints: Checkpoints,
    check_held: Callable[[], None],
    tell: Listener,
) -> None:
    cell, folder = work.cell, work.folder

    def on_epoch(report: EpochReport) -> None:
        check_held()
        tell(Epoch(cell, number, points, report))

    kept = folder.group(cell.name, number, "parameters") if work.execution.keep_parameters else None
    trained = train_and_keep(program, points, checkpoints, kept, work.execution, on_epoch)
    parameters = "" if kept is None else folder.relative(kept)
    folder.write_group(cell.name, number, results_rows(cell, trained, parameters), history_rows(cell, trained))
    checkpoints.remove()


def train_and_keep(
    program: Program,
    points: tuple[Point, ...],
    checkpoints: Checkpoints,
    kept: Path | None,
    execution: Execution,
    on_epoch: Callable[[EpochReport], None] | None = None,
) -> Trained:
    """Trains a group from its checkpoint if it has one, and keeps its parameters in a folder if one is given.

    This is what all hosts do that train the group together.
    """
    with explained():
        trained = train(
            program,
            points,
            checkpoints=checkpoints,
            checkpoint_seconds=execution.checkpoint_seconds,
            on_epoch=on_epoch,
        )
        if kept is not None:
            parameters = Checkpoints(kept, together=program.plan.hosts > 1)
            parameters.remove()
            parameters.save(program.problem.recipe.epochs, (trained.params, trained.model))
            parameters.close()
    return trained


def plan_here(cell: Cell, plan: Plan, execution: Execution) -> Plan:
    """A plan started elsewhere, with the workers requested now, on as many devices here as divide its work evenly."""
    # Several networks at once are never on several hosts: they are trained already.
    hosts = 1 if plan.networks_at_once > 1 else jax.process_count()
    sharded = plan.networks_at_once == 1 and (execution.shard_parameters or plan.sharded)
    if hosts == plan.hosts == 1 and not sharded:
        available = range(1, jax.local_device_count() + 1)
        devices = max(count for count in available if plan.devices % count == 0)
    else:
        devices = devices_that_split(cell, execution, sharded)
    return dataclasses.replace(
        plan,
        devices=devices,
        workers=plan.workers if execution.workers is None else execution.workers,
        hosts=hosts,
        sharded=sharded and devices * hosts > 1,
    )


def check_available(devices: int) -> None:
    """Raises ``UsageError`` if this host has fewer devices."""
    available = jax.local_device_count()
    if devices > available:
        raise UsageError("devices", devices, f"must be at most {available}, the number of devices of this host")


def devices_that_split(cell: Cell, execution: Execution, sharded: bool) -> int:
    """The devices of each host that split the batches of one network.

    Raises:
        UsageError: if they cannot.
    """
    devices, hosts = execution.devices or devices_of_one(cell.recipe.batch_size, sharded), jax.process_count()
    check_available(devices)
    if cell.recipe.batch_size % (devices * hosts):
        examples = f"the {cell.recipe.batch_size} examples of a batch"
        if execution.devices:
            of_all = f", times {hosts} hosts," if hosts > 1 else ""
            raise UsageError("devices", devices, f"must{of_all} divide {examples}")
        raise UsageError("hosts", execution.hosts, f"{hosts} must divide {examples}; give another --batch-size")
    if execution.shard_parameters and devices * hosts == 1:
        raise UsageError("shard_parameters", True, "needs several devices, and here is one; leave it out")
    return devices


class _ToldCheckpoints(Checkpoints):
    """Checkpoints of a group that report each one written."""

    def __init__(self, folder: Path, together: bool, cell: Cell, number: int, tell: Listener) -> None:
        super().__init__(folder, together)
        self._cell, self._number, self._tell = cell, number, tell

    def save(self, epoch: int, tree: PyTree) -> None:
        super().save(epoch, tree)
        self._tell(Checkpoint(self._cell, self._number, epoch))
