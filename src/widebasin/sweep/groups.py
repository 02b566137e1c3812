"""Trains groups of networks in this process: all of them, or together with others that share the results folder."""

import contextlib
import gc
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

from jaxtyping import PyTree

from widebasin.sam import Method
from widebasin.sweep.cells import Cell
from widebasin.sweep.errors import SweepError
from widebasin.sweep.events import Checkpoint, Epoch, GroupFinished, GroupStarted, Listener
from widebasin.sweep.execution import Execution
from widebasin.sweep.folder import Look, ResultsFolder
from widebasin.sweep.leases import LeaseLost, Leases
from widebasin.sweep.rows import history_rows, results_rows
from widebasin.training import (
    CheckpointError,
    Checkpoints,
    EpochReport,
    Plan,
    Point,
    Problem,
    Program,
    Trained,
    computing_in,
    train,
)
from widebasin.training.hosts import explained

# How many cells are compiled ahead: cells of small networks train faster than the next one compiles.
AHEAD = 2
# Seconds between two looks at what other processes train, and how many looks all of them take in a second at most.
POLL, LOOKS = 1.0, 25
# Leases that a process looks at when it waits, of as many as there are.
LEASES_AT_A_LOOK = 10
# Seconds between two looks whether this process still has the lease of what it trains: small networks have hundreds of
# epochs a second.
HELD = 1.0
# While there is other work, groups of others are left alone.
NOT_YET = itertools.repeat(-1)

# Problem, method at a radius and plan -> what trains the groups of a cell.
ProgramOf = Callable[[Problem, Callable[[Any], Method], Plan], Program]
# Cell and number of a group -> a context in which this process trains it: it yields a function that raises if another
# process has taken the group over, or None if another process has it.
Claim = Callable[[str, int], contextlib.AbstractContextManager[Callable[[], None] | None]]


# Trains all unfinished groups of cells, writes their rows into the folder and reports events.
Train = Callable[[Sequence[Cell], Mapping[str, Plan], ResultsFolder, Execution, Listener], None]


def train_alone(
    cells: Sequence[Cell],
    plans: Mapping[str, Plan],
    folder: ResultsFolder,
    execution: Execution,
    tell: Listener,
    program: ProgramOf = Program,
) -> None:
    """Trains the cells one after the other on this process's devices while compiling the next ones.

    Args:
        cells: all cells of the sweep; finished groups are only reported.
        plans: name of a cell -> its plan.
        folder: where rows and checkpoints are written.
        execution: how to train.
        tell: receives the events.
        program: makes what trains a group.
    """

    def claim(cell: str, number: int) -> Any:
        del cell, number
        return contextlib.nullcontext(folder.check_held)

    train_all([Work(cell, plans[cell.name], folder, execution, claim, program) for cell in cells], tell)


def train_sharing(
    cells: Sequence[Cell],
    plans: Mapping[str, Plan],
    folder: ResultsFolder,
    execution: Execution,
    tell: Listener,
    shard: tuple[int, int],
    program: ProgramOf = Program,
) -> None:
    """Trains together with other processes, here or on other machines, that share the results folder.

    Every process goes through all groups, from a place of its own on, and trains those that no other process has
    leased. Then it takes over those whose process has vanished, from their last checkpoint: last, so that one that ends
    its process, as for lack of memory, keeps no other from being trained; and without compiling ahead, by which one may
    have ended it, too. At the end it waits for the groups of others. A group that fails is left to the others, and
    reported when there is nothing else to do.

    What others have is seen by listing the folder of a cell, when a process comes to the cell and when another one was
    there first, so that the number of file operations for a group does not grow with the number of groups. Processes
    that wait look less often the more there are, at a few leases at a time.

    Args:
        cells: see ``train_alone``, as for ``plans``, ``folder``, ``execution``, ``tell`` and ``program``.
        shard: number of this process and of all processes, such as ``(1, 4)``; only decides where it begins, and how
            often it looks when it waits.
    """
    leases = Leases(folder, execution.lease_seconds)
    number, count = shard
    work = [Work(cell, plans[cell.name], folder, execution, leases.of, program, failures={}) for cell in cells]
    for one in work:
        one.looks_every, one.looks = HELD, NOT_YET
    work = _begun_at(work, (number - 1) * sum(len(one.groups) for one in work) // count)
    looked_at, compiled_ahead = 0, AHEAD
    while left := [one for one in work if one.left()]:
        train_all(left, tell, compiled_ahead)
        compiled_ahead = 0
        failures = {(one.cell.name, number): error for one in left for number, error in one.failed().items()}
        still = {(one.cell.name, number) for one in left for number in one.left()}
        if failures and still <= failures.keys():
            raise next(iter(failures.values()))
        if still:
            time.sleep(max(POLL, count / LOOKS))
            # All cells together, and other leases than the last time.
            turns = itertools.count(-looked_at)
            looked_at = (looked_at + LEASES_AT_A_LOOK) % len(still)
            for one in left:
                one.looks = turns
    leases.tidy()


def _begun_at(work: "list[Work]", group: int) -> "list[Work]":
    """The work in the order in which a process goes through it that begins at a group, counted over all cells."""
    for place, one in enumerate(work):
        if group < len(one.groups):
            one.groups = [*one.groups[group:], *one.groups[:group]]
            return [*work[place:], *work[:place]]
        group -= len(one.groups)
    return work


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
        groups: number and points of every group, in the order in which they are trained.
        told: the groups whose end was reported.
        looks_every: seconds between two looks, at the end of an epoch, whether this process still has a group.
        looks: numbers the groups that others have; this process asks for ``LEASES_AT_A_LOOK`` of them, from 0 on.
        failures: the error of every group that failed here, if the sweep goes on without it; ``None`` if it does not.
    """

    def __init__(
        self,
        cell: Cell,
        plan: Plan,
        folder: ResultsFolder,
        execution: Execution,
        claim: Claim,
        program: ProgramOf,
        failures: dict[int, Exception] | None = None,
    ) -> None:
        self.cell, self.plan, self.folder, self.execution, self.claim = cell, plan, folder, execution, claim
        self.groups = list(enumerate(plan.groups(cell.points)))
        self.failures, self.told = failures, set[int]()
        self.looks_every, self.looks = 0.0, cast(Iterator[int], itertools.repeat(0))
        self._program_of, self._seen = program, Look()
        self._preparing: Future[Program] | None = None

    def missing(self, number: int) -> bool:
        """Whether a group is unfinished."""
        return not self.folder.finished(self.cell.name, number, self.execution.keep_parameters)

    def left(self) -> set[int]:
        """The groups that are unfinished, or whose end was not reported."""
        return {number for number, _ in self.groups}.difference(self.told)

    def look(self) -> Look:
        """What is in the folder of the cell now."""
        self._seen = self.folder.look(self.cell.name, self.execution.keep_parameters, self._seen.finished)
        return self._seen

    def waits_for(self, number: int) -> bool:
        """Whether another process has a group, so that this one need not ask for it now."""
        if number not in self._seen.leased:
            return False
        return not 0 <= next(self.looks) < LEASES_AT_A_LOOK

    def has_failed(self, number: int) -> bool:
        """Whether a group failed here and was not trained elsewhere."""
        return number in (self.failures or {}) and self.missing(number)

    def failed(self) -> dict[int, Exception]:
        """The error of every group that failed here and was not trained elsewhere."""
        return {number: error for number, error in (self.failures or {}).items() if self.has_failed(number)}

    def prepare(self, ahead: ThreadPoolExecutor) -> None:
        """Compiles in a thread, if a group is left to train."""
        finished = self.look().finished
        left = [points for number, points in self.groups if number not in finished]
        if left and self._preparing is None:
            self._preparing = ahead.submit(self._prepared, left[0])

    def program(self) -> Program:
        """The program; compiled now unless it was compiled ahead."""
        preparing, self._preparing = self._preparing, None
        return self._new() if preparing is None else preparing.result()

    def forget(self) -> None:
        """Gives up the program that was compiled ahead, with its data, if it was not needed."""
        self._preparing = None

    def _prepared(self, points: Sequence[Point]) -> Program:
        # What a context sets holds for a thread.
        with computing_in(self.cell.recipe.precision):
            program = self._new()
            program.prepare(points)
            return program

    def _new(self) -> Program:
        return self._program_of(self.cell.problem(), self.cell.with_radius, self.plan)


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
    try:
        with computing_in(work.cell.recipe.precision):
            _train_groups(work, tell, ahead, following)
    finally:
        work.forget()


def _train_groups(work: Work, tell: Listener, ahead: ThreadPoolExecutor, following: Sequence[Work]) -> None:
    cell, program = work.cell, None
    seen = work.look()
    for number, points in work.groups:
        if number in work.told or work.has_failed(number):
            continue
        if number in seen.finished and number not in seen.begun:
            tell(GroupFinished(cell, number, points, before=True))
            work.told.add(number)
            continue
        if work.waits_for(number):
            continue
        with work.claim(cell.name, number) as check_held:
            if check_held is None:
                seen = work.look()
                continue
            saved = work.folder.group(cell.name, number, "checkpoint")
            if not work.missing(number):
                Checkpoints(saved).remove()  # left behind if a process ended between its last two lines
                tell(GroupFinished(cell, number, points, before=True))
                work.told.add(number)
                seen = work.look()
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
    looked = time.monotonic()

    def on_epoch(report: EpochReport) -> None:
        nonlocal looked
        if time.monotonic() - looked >= work.looks_every:
            check_held()
            looked = time.monotonic()
        tell(Epoch(cell, number, points, report))

    kept = folder.group(cell.name, number, "parameters") if work.execution.keep_parameters else None
    trained = train_and_keep(program, points, checkpoints, kept, work.execution, on_epoch)
    check_held()
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


class _ToldCheckpoints(Checkpoints):
    """Checkpoints of a group that report each one written."""

    def __init__(self, folder: Path, together: bool, cell: Cell, number: int, tell: Listener) -> None:
        super().__init__(folder, together)
        self._cell, self._number, self._tell = cell, number, tell

    def save(self, epoch: int, tree: PyTree) -> None:
        super().save(epoch, tree)
        self._tell(Checkpoint(self._cell, self._number, epoch))
