"""Trains a job in this process, from its spec to the table of results, continuing where an interrupted one stopped."""

import contextlib
import functools
import itertools
from collections.abc import Mapping, Sequence

from widebasin.shown import first_line
from widebasin.sweep.beginning import begin_or_continue, join
from widebasin.sweep.cells import Cell, cells, cells_of
from widebasin.sweep.errors import SweepError, UsageError
from widebasin.sweep.events import Failed, Finished, Listener, Started, to_all
from widebasin.sweep.execution import Execution
from widebasin.sweep.executors.executor import Job
from widebasin.sweep.folder import ResultsFolder
from widebasin.sweep.groups import Train, train_alone, train_sharing
from widebasin.sweep.leases import Leases
from widebasin.sweep.plans import plan_for
from widebasin.sweep.rows import Groups, groups_of
from widebasin.sweep.spec import Resolved
from widebasin.sweep.spec_file import differences
from widebasin.sweep.trackers import ALWAYS
from widebasin.training import Plan


def train_here(job: Job, tell: Listener, train: Train | None = None) -> None:
    """Trains what is missing in the job's folder and writes its tables: alone, or as one of several processes.

    Args:
        job: what to train; ``execution.shard`` says whether others share its folder.
        tell: receives the events.
        train: trains the cells; by default alone, or sharing them with others as the job says.

    Raises:
        UsageError: for a folder that cannot be used, before anything is trained.
        DataError: if the workload's data are missing or incomplete.
        SweepError: if the folder is in use or damaged, or its disk is full.
        CheckpointError: if a checkpoint is damaged.
    """
    spec, path, execution, folder = job.resolved(), job.path, job.execution, job.folder()
    shard = execution.place
    if train is None:
        train = train_alone if shard is None else functools.partial(train_sharing, shard=shard)
    leases = Leases(folder, execution.lease_seconds)
    if shard is not None and job.overwrite:
        raise UsageError("overwrite", True, "must be left out with --shard: it would delete what the others train")
    cells(spec)[0].problem()  # data that are not here, or too few, are an error before there is a folder
    plans = None
    if not folder.holds_sweep():
        # What cannot be is said before there is a folder.
        plans = {cell.name: plan_for(cell, execution) for cell in cells(spec)}
    if shard is None:
        with folder.locked():
            if others := leases.holders():
                used = f"{path} is in use by {' and '.join(others)}"
                raise SweepError(f"{used}; wait until they have ended, or give --shard")
            plans = begin_or_continue(folder, spec, execution, job.overwrite, plans)
            folder.merge(_train_missing(folder, plans, job, tell, train))
            leases.tidy()
        return
    plans = _shared(folder, spec, execution, leases, plans)
    now = folder.spec()
    if different := "; ".join(differences(now, spec)):
        another = f"{path} now has another sweep, which another process has begun or extended just now ({different})"
        raise SweepError(f"{another}; choose another --out, or ask for that sweep")
    groups = _train_missing(folder, plans, job, tell, train)
    # Seen without the lock, for which all would wait in turn.
    if not folder.is_finished():
        with folder.locked():
            # Those who have extended the sweep since then merge it themselves.
            if not folder.is_finished() and not differences(folder.spec(), now):
                folder.merge(groups)


def _shared(
    folder: ResultsFolder, spec: Resolved, execution: Execution, leases: Leases, plans: Mapping[str, Plan] | None
) -> Mapping[str, Plan]:
    """The plan of every cell of a sweep that several processes train."""
    with contextlib.suppress(UsageError, SweepError):  # which are raised below if they last
        if (joined := join(folder, spec, execution)) is not None:
            return joined
    with folder.locked():
        check_others(folder, spec, leases.holders())
        return begin_or_continue(folder, spec, execution, False, plans)


def check_others(folder: ResultsFolder, spec: Resolved, others: Sequence[str]) -> None:
    """Raises ``SweepError`` if other processes train another spec in the folder.

    Args:
        folder: the results folder, locked.
        spec: what this process trains.
        others: the other processes.
    """
    if others and folder.holds_sweep() and (different := differences(folder.spec(), spec)):
        used = f"{folder.path} is in use by {' and '.join(others)}"
        raise SweepError(f"{used} for another spec ({'; '.join(different)})")


def _train_missing(
    folder: ResultsFolder, plans: Mapping[str, Plan], job: Job, tell: Listener, train: Train
) -> list[Groups]:
    """Trains what is missing, after a look at what is there; returns the groups of every cell."""
    grid, execution = cells_of(folder.stages()), job.execution
    groups = [groups_of(cell, plans[cell.name]) for cell in grid]
    missing = 0
    for one, numbers in zip(groups, _own_share(groups, execution.place), strict=True):
        finished = folder.look(one.cell, execution.keep_parameters).finished
        folder.verify(one, sorted(finished.intersection(numbers)))
        missing += len(one) - len(finished)
    if missing:
        kept = [tracker.listener(folder.path / name) for name, tracker in ALWAYS.items()]
        _carry_out(grid, plans, folder, job, to_all([*kept, tell]), train)
    return groups


def _own_share(groups: Sequence[Groups], shard: tuple[int, int] | None) -> list[range]:
    """Which groups of every cell this process verifies: of several that share the folder, each verifies its part."""
    number, count = shard or (1, 1)
    total = sum(map(len, groups))
    first, last = ((place * total) // count for place in (number - 1, number))
    starts = itertools.accumulate(map(len, groups[:-1]), initial=0)
    return [
        range(max(0, first - start), min(len(one), last - start)) for start, one in zip(starts, groups, strict=True)
    ]


def _carry_out(
    grid: Sequence[Cell],
    plans: Mapping[str, Plan],
    folder: ResultsFolder,
    job: Job,
    tell: Listener,
    train: Train,
) -> None:
    try:
        tell(Started(tuple(grid)))
        train(grid, plans, folder, job.execution, tell)
    except BaseException as error:
        tell(Failed(first_line(error)))
        raise
    tell(Finished())
