"""Carrying out cells: here, one after the other; other executors may send them elsewhere."""

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from widebasin.sweep.cells import Cell
from widebasin.sweep.execution import Execution
from widebasin.sweep.folder import ResultsFolder
from widebasin.sweep.progress import Progress
from widebasin.sweep.rows import history_rows, results_rows
from widebasin.training import Checkpoints, Plan, computing_in, program_for, train


@runtime_checkable
class Executor(Protocol):
    """Carries out cells; the rows do not depend on which executor did."""

    def run(
        self,
        cells: Sequence[Cell],
        plans: Mapping[str, Plan],
        folder: ResultsFolder,
        execution: Execution,
        progress: Progress,
    ) -> None:
        """Trains all groups that are not finished yet and writes their rows into the folder."""
        ...


class LocalExecutor:
    """Trains the cells one after the other on this process's devices."""

    def run(
        self,
        cells: Sequence[Cell],
        plans: Mapping[str, Plan],
        folder: ResultsFolder,
        execution: Execution,
        progress: Progress,
    ) -> None:
        """See ``Executor.run``."""
        for cell in cells:
            train_cell(cell, plans[cell.name], folder, execution, progress)


def train_cell(cell: Cell, plan: Plan, folder: ResultsFolder, execution: Execution, progress: Progress) -> None:
    """Trains the groups of one cell that are not finished, each from its checkpoint if it has one.

    Raises:
        CheckpointError: if a checkpoint is damaged.
        SweepError: if the folder cannot be written.
    """
    with computing_in(cell.recipe.precision):
        _train_groups(cell, plan, folder, execution, progress)


def _train_groups(cell: Cell, plan: Plan, folder: ResultsFolder, execution: Execution, progress: Progress) -> None:
    program = None
    for number, replicates in enumerate(plan.groups(cell.replicates)):
        checkpoints = Checkpoints(folder.group(cell.name, number, "checkpoint"))
        if folder.finished(cell.name, number, execution.keep_parameters):
            checkpoints.remove()  # left behind if the process ended between the last two lines of this loop
            progress.skip(cell, len(replicates))
            continue
        program = program or program_for(cell.task(), cell.with_radius, plan)
        progress.begin(cell, len(replicates))
        trained = train(
            program,
            replicates,
            checkpoints=checkpoints,
            checkpoint_seconds=execution.checkpoint_seconds,
            on_epoch=progress.epoch,
        )
        if execution.keep_parameters:
            kept = Checkpoints(folder.group(cell.name, number, "parameters"))
            kept.remove()
            kept.save(cell.recipe.epochs, (trained.params, trained.model))
            kept.close()
        folder.write_group(cell.name, number, results_rows(cell, trained), history_rows(cell, trained))
        checkpoints.remove()
        progress.end()
