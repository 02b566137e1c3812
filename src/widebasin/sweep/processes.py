"""Trains a sweep in several processes of this machine."""

import dataclasses
import multiprocessing
import os
import pickle
import queue
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from widebasin.data.places import look_in
from widebasin.sweep.cells import Cell
from widebasin.sweep.errors import SweepError
from widebasin.sweep.events import GroupFinished, GroupStarted, Listener
from widebasin.sweep.execution import Execution
from widebasin.sweep.executor import SharingExecutor, plan_here
from widebasin.sweep.folder import ResultsFolder
from widebasin.training import Plan
from widebasin.training.compilation import keep_compiled_programs, use_every_core

# Seconds between two looks at which processes are alive.
LOOK = 0.5


class ProcessesExecutor:
    """Trains in processes that share the results folder as ``--shard`` does, each on its share of the cores.

    A process that is killed is not started again: the others take over what it trained. The processes go on if this
    one is killed.

    Args:
        count: number of processes.
    """

    def __init__(self, count: int) -> None:
        self.count = count

    def run(
        self,
        cells: Sequence[Cell],
        plans: Mapping[str, Plan],
        folder: ResultsFolder,
        execution: Execution,
        tell: Listener,
    ) -> None:
        """See ``Executor.run``."""
        context = multiprocessing.get_context("spawn")
        events: Any = context.Queue()
        workers = [
            context.Process(
                target=_trains,
                args=((number, self.count), list(cells), dict(plans), folder.path, execution, events),
                name=f"widebasin {number}/{self.count}",
                daemon=True,
            )
            for number in range(1, self.count + 1)
        ]
        for worker in workers:
            worker.start()
        try:
            errors = _forwarded(events, workers, {cell.name: cell for cell in cells}, folder, tell)
        finally:
            for worker in workers:
                worker.terminate()
                worker.join()
        missing = [
            (cell.name, number)
            for cell in cells
            for number, _ in enumerate(plans[cell.name].groups(cell.points))
            if not folder.finished(cell.name, number, execution.keep_parameters)
        ]
        if missing and errors:
            raise errors[0]
        if missing:
            codes = ", ".join(str(worker.exitcode) for worker in workers)
            raise SweepError(
                f"all {self.count} processes have ended (exit codes {codes}) before {len(missing)} groups of networks "
                "were trained; run the same command to continue"
            )


def _forwarded(
    events: Any, workers: Sequence[Any], cells: Mapping[str, Cell], folder: ResultsFolder, tell: Listener
) -> list[Exception]:
    """Reports the events of all processes until these have ended, and returns their errors."""
    errors: list[Exception] = []
    started, finished = set[tuple[str, int]](), set[tuple[str, int]]()
    alive = True
    while True:
        try:
            event: Any = events.get(timeout=LOOK)
        except queue.Empty:
            # What a process has sent may arrive after its end.
            if not alive:
                return errors
            alive = any(worker.is_alive() for worker in workers)
            folder.check_held()
            continue
        if isinstance(event, Exception):
            errors.append(event)
            continue
        event = dataclasses.replace(event, cell=cells[event.cell])
        if isinstance(event, GroupStarted):
            started.add((event.cell.name, event.group))
        if isinstance(event, GroupFinished):
            # Every process reports every group, those of others as finished before.
            group = (event.cell.name, event.group)
            if group in finished:
                continue
            finished.add(group)
            event = dataclasses.replace(event, before=group not in started)
        tell(event)


def _trains(
    shard: tuple[int, int],
    cells: list[Cell],
    plans: dict[str, Plan],
    path: Path,
    execution: Execution,
    events: Any,
) -> None:
    """What a process does."""
    number, count = shard
    if hasattr(os, "sched_setaffinity"):
        mine = sorted(os.sched_getaffinity(0))[number - 1 :: count]
        # With fewer cores than processes, some have the same.
        os.sched_setaffinity(0, mine or os.sched_getaffinity(0))
    look_in(execution.data_dir)
    use_every_core()
    keep_compiled_programs()
    try:
        here = {name: plan_here(plan, execution) for name, plan in plans.items()}
        SharingExecutor(shard).run(cells, here, ResultsFolder(path), execution, lambda event: events.put(_sent(event)))
    except Exception as error:
        events.put(_sendable(error))
    events.close()
    events.join_thread()


def _sent(event: Any) -> Any:
    """The event with the name of its cell, which has the points of all its networks."""
    return dataclasses.replace(event, cell=event.cell.name)


def _sendable(error: Exception) -> Exception:
    """The error, or its text if it cannot be sent to another process."""
    try:
        return pickle.loads(pickle.dumps(error))
    except Exception:
        return SweepError(f"{type(error).__name__}: {error}")
