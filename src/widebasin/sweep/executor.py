"""Carrying out cells: here, one after the other; other executors may send them elsewhere."""

import gc
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from jaxtyping import PyTree

from widebasin.sweep.cells import Cell
from widebasin.sweep.events import Checkpoint, Epoch, GroupFinished, GroupStarted, Listener
from widebasin.sweep.execution import Execution
from widebasin.sweep.folder import ResultsFolder
from widebasin.sweep.rows import history_rows, results_rows
from widebasin.training import Checkpoints, EpochReport, Plan, Program, computing_in, train


@runtime_checkable
class Executor(Protocol):
    """Carries out cells; the rows do not depend on which executor did."""

    def run(
        self,
        cells: Sequence[Cell],
        plans: Mapping[str, Plan],
        folder: ResultsFolder,
        execution: Execution,
        tell: Listener,
    ) -> None:
        """Trains all groups that are not finished yet, writes their rows into the folder and tells what happens."""
        ...


class LocalExecutor:
    """Trains the cells one after the other on this process's devices."""

    def run(
        self,
        cells: Sequence[Cell],
        plans: Mapping[str, Plan],
        folder: ResultsFolder,
        execution: Execution,
        tell: Listener,
    ) -> None:
        """See ``Executor.run``."""
        for cell in cells:
            train_cell(cell, plans[cell.name], folder, execution, tell)


def train_cell(cell: Cell, plan: Plan, folder: ResultsFolder, execution: Execution, tell: Listener) -> None:
    """Trains the groups of one cell that are not finished, each from its checkpoint if it has one.

    Raises:
        CheckpointError: if a checkpoint is damaged.
        SweepError: if the folder cannot be written.
    """
    with computing_in(cell.recipe.precision):
        _train_groups(cell, plan, folder, execution, tell)
    # The cell's programs are in circles of references, each with megabytes of machine code.
    gc.collect()


def _train_groups(cell: Cell, plan: Plan, folder: ResultsFolder, execution: Execution, tell: Listener) -> None:
    program = None
    for number, points in enumerate(plan.groups(cell.points)):
        networks = len(points)
        checkpoints = _ToldCheckpoints(folder.group(cell.name, number, "checkpoint"), cell, number, tell)
        if folder.finished(cell.name, number, execution.keep_parameters):
            checkpoints.remove()  # left behind if the process ended between the last two lines of this loop
            tell(GroupFinished(cell, number, networks, before=True))
            continue
        program = program or Program(cell.problem(), cell.with_radius, plan)
        tell(GroupStarted(cell, number, networks))

        def on_epoch(report: EpochReport, number: int = number, networks: int = networks) -> None:
            tell(Epoch(cell, number, networks, report))

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
        tell(GroupFinished(cell, number, networks))


class _ToldCheckpoints(Checkpoints):
    """Checkpoints of a group that say when one is on the disk."""

    def __init__(self, folder: Path, cell: Cell, number: int, tell: Listener) -> None:
        super().__init__(folder)
        self._cell, self._number, self._tell = cell, number, tell

    def save(self, epoch: int, tree: PyTree) -> None:
        super().save(epoch, tree)
        self._tell(Checkpoint(self._cell, self._number, epoch))
