"""Trains a job in this process, from its spec to the table of results, continuing where an interrupted one stopped."""

from collections.abc import Mapping, Sequence

import pandas as pd

from widebasin.sweep.beginning import begin_or_continue, plan_for
from widebasin.sweep.cells import Cell, cells, cells_of
from widebasin.sweep.errors import SweepError, UsageError
from widebasin.sweep.events import Failed, Finished, Listener, Started, to_all
from widebasin.sweep.executors.executor import Job
from widebasin.sweep.folder import ResultsFolder
from widebasin.sweep.groups import train_alone, train_sharing
from widebasin.sweep.leases import Leases
from widebasin.sweep.rows import rows_of_group
from widebasin.sweep.spec_file import differences
from widebasin.sweep.trackers import ALWAYS
from widebasin.training import Plan


def train_here(job: Job, tell: Listener) -> None:
    """Trains what is missing in the job's folder and writes its tables: alone, or as one of several processes.

    Args:
        job: what to train; ``execution.shard`` says whether others share its folder.
        tell: receives the events.

    Raises:
        UsageError: for a folder that cannot be used, before anything is trained.
        DataError: if the workload's data are missing or incomplete.
        SweepError: if the folder is in use or damaged, or its disk is full.
        CheckpointError: if a checkpoint is damaged.
    """
    spec, path, execution, folder = job.resolved(), job.path, job.execution, job.folder()
    shard = execution.place
    leases = Leases(folder, execution.lease_seconds)
    if shard is not None and job.overwrite:
        raise UsageError("overwrite", True, "must be left out with --shard: it would delete what the others train")
    cells(spec)[0].problem()  # data that are not here, or too few, are an error before there is a folder
    if not folder.holds_sweep():
        for cell in cells(spec):
            plan_for(cell, execution)  # what cannot be is said before there is a folder
    with folder.locked():
        others = leases.holders()
        if shard is None and others:
            raise SweepError(f"{path} is in use by {' and '.join(others)}; wait until they have ended, or give --shard")
        if others and folder.holds_sweep() and (different := differences(folder.spec(), spec)):
            raise SweepError(f"{path} is in use by {' and '.join(others)} for another spec ({'; '.join(different)})")
        plans = begin_or_continue(folder, spec, execution, job.overwrite)
        if shard is None:
            folder.merge(_train_missing(folder, plans, job, tell))
            leases.tidy()
    if shard is not None:
        groups = _train_missing(folder, plans, job, tell)
        with folder.locked():
            if not folder.is_finished():
                folder.merge(groups)


def _train_missing(
    folder: ResultsFolder, plans: Mapping[str, Plan], job: Job, tell: Listener
) -> list[tuple[str, int, pd.DataFrame]]:
    """Trains what is missing, after a look at what is there; returns all groups, see ``_groups``."""
    grid = cells_of(folder.stages())
    groups = _groups(grid, plans)
    finished = [group for group in groups if folder.finished(*group[:2], job.execution.keep_parameters)]
    for group in finished:
        folder.verify_group(*group)
    if len(finished) < len(groups):
        kept = [tracker.listener(folder.path / name) for name, tracker in ALWAYS.items()]
        _carry_out(grid, plans, folder, job, to_all([*kept, tell]))
    return groups


def _groups(grid: Sequence[Cell], plans: Mapping[str, Plan]) -> list[tuple[str, int, pd.DataFrame]]:
    """Cell, number and expected rows of every group of networks."""
    return [
        (cell.name, number, rows_of_group(cell, points))
        for cell in grid
        for number, points in enumerate(plans[cell.name].groups(cell.points))
    ]


def _carry_out(
    grid: Sequence[Cell], plans: Mapping[str, Plan], folder: ResultsFolder, job: Job, tell: Listener
) -> None:
    shard = job.execution.place
    try:
        tell(Started(tuple(grid)))
        if shard is None:
            train_alone(grid, plans, folder, job.execution, tell)
        else:
            train_sharing(grid, plans, folder, job.execution, shard, tell)
    except BaseException as error:
        tell(Failed((str(error).splitlines() or [type(error).__name__])[0]))
        raise
    tell(Finished())
