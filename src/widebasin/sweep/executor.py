"""Executors train cells: here one after the other; other executors may send them elsewhere."""

import gc
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Protocol, runtime_checkable

from jaxtyping import PyTree

from widebasin.sweep.cells import Cell
from widebasin.sweep.events import Checkpoint, Epoch, GroupFinished, GroupStarted, Listener
from widebasin.sweep.execution import Execution
from widebasin.sweep.folder import ResultsFolder
from widebasin.sweep.rows import history_rows, results_rows
from widebasin.training import Checkpoints, EpochReport, Plan, Point, Program, computing_in, train

# How many cells are compiled ahead: cells of small networks train faster than the next one compiles.
AHEAD = 2


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
        work = [_Work(cell, plans[cell.name], folder, execution) for cell in cells]
        # What was there before is not searched again after every cell.
        gc.freeze()
        try:
            with ThreadPoolExecutor(1, thread_name_prefix="compile") as ahead:
                try:
                    for number, one in enumerate(work):
                        train_cell(one, tell, ahead, work[number + 1 : number + 1 + AHEAD])
                        # The cell's programs are in circles of references, each with megabytes of machine code.
                        gc.collect()
                finally:
                    ahead.shutdown(wait=False, cancel_futures=True)
        finally:
            gc.unfreeze()


class _Work:
    """A cell, and its program once it is needed."""

    def __init__(self, cell: Cell, plan: Plan, folder: ResultsFolder, execution: Execution) -> None:
        self.cell, self.plan, self.folder, self.execution = cell, plan, folder, execution
        self._preparing: Future[Program] | None = None

    def missing(self, number: int) -> bool:
        """Whether a group is unfinished."""
        return not self.folder.finished(self.cell.name, number, self.execution.keep_parameters)

    def prepare(self, ahead: ThreadPoolExecutor) -> None:
        """Compiles in a thread, if a group is left to train."""
        groups = list(enumerate(self.plan.groups(self.cell.points)))
        left = [points for number, points in groups if self.missing(number)]
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


def train_cell(work: _Work, tell: Listener, ahead: ThreadPoolExecutor, following: Sequence[_Work]) -> None:
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


def _train_groups(work: _Work, tell: Listener, ahead: ThreadPoolExecutor, following: Sequence[_Work]) -> None:
    cell, folder, execution = work.cell, work.folder, work.execution
    program = None
    for number, points in enumerate(work.plan.groups(cell.points)):
        checkpoints = _ToldCheckpoints(folder.group(cell.name, number, "checkpoint"), cell, number, tell)
        if not work.missing(number):
            checkpoints.remove()  # left behind if the process ended between the last two lines of this loop
            tell(GroupFinished(cell, number, points, before=True))
            continue
        tell(GroupStarted(cell, number, points))
        if program is None:
            for cell_to_come in following:
                cell_to_come.prepare(ahead)
            program = work.program()

        def on_epoch(report: EpochReport, number: int = number, points: tuple[Point, ...] = points) -> None:
            folder.check_held()
            tell(Epoch(cell, number, points, report))

        trained = train(
            program,
            points,
            checkpoints=checkpoints,
            checkpoint_seconds=execution.checkpoint_seconds,
            on_epoch=on_epoch,
        )
        parameters = ""
        if execution.keep_parameters:
            kept = Checkpoints(folder.group(cell.name, number, "parameters"))
            kept.remove()
            kept.save(cell.recipe.epochs, (trained.params, trained.model))
            kept.close()
            parameters = folder.relative(folder.group(cell.name, number, "parameters"))
        folder.write_group(cell.name, number, results_rows(cell, trained, parameters), history_rows(cell, trained))
        checkpoints.remove()
        tell(GroupFinished(cell, number, points))


class _ToldCheckpoints(Checkpoints):
    """Checkpoints of a group that report each one written."""

    def __init__(self, folder: Path, cell: Cell, number: int, tell: Listener) -> None:
        super().__init__(folder)
        self._cell, self._number, self._tell = cell, number, tell

    def save(self, epoch: int, tree: PyTree) -> None:
        super().save(epoch, tree)
        self._tell(Checkpoint(self._cell, self._number, epoch))
