"""Trains the networks of a sweep on several hosts together: host 0 leads, the others follow."""

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import cast

import jax

from widebasin.shown import first_line
from widebasin.sweep.beginning import environment
from widebasin.sweep.cells import Cell
from widebasin.sweep.errors import SweepError, UsageError
from widebasin.sweep.events import Listener
from widebasin.sweep.execution import Execution
from widebasin.sweep.executors import Job
from widebasin.sweep.folder import ResultsFolder
from widebasin.sweep.groups import Work, train_all, train_and_keep
from widebasin.sweep.here import train_here
from widebasin.sweep.spec import Resolved
from widebasin.sweep.spec_file import spec_toml
from widebasin.training import Checkpoints, Plan, Program, computing_in
from widebasin.training.hosts import HostLost, agreed, alike

# Seconds for which a file on another host may not be seen.
HIDDEN = 10

# Parts of the record of an environment in which hosts must not differ, in words.
DIFFERING = {
    "versions": "their versions of Python or of packages",
    "settings": "settings of JAX, in the code of the workload or in its files",
    "data": "their data",
}

# A group of networks to train, the reason why host 0 has ended, or nothing more to do.
Order = tuple[Cell, Plan, int] | str | None


class Leading:
    """The executor of host 0: it trains like one of this process, but every group on all hosts, and tells the others.

    Only this host decides what is missing, and writes rows, log and report. No program is compiled ahead, since all
    hosts must run the same programs in the same order.
    """

    def __init__(self) -> None:
        self._listening = True  # whether the others wait for an order

    def run(self, job: Job, tell: Listener) -> None:
        """See ``Executor.run``."""
        train_here(job, tell, self._train)

    def _train(
        self,
        cells: Sequence[Cell],
        plans: Mapping[str, Plan],
        folder: ResultsFolder,
        execution: Execution,
        tell: Listener,
    ) -> None:
        work: dict[str, Work] = {}

        @contextlib.contextmanager
        def claim(name: str, number: int) -> Iterator[Callable[[], None]]:
            if work[name].missing(number):
                self._tell((work[name].cell, plans[name], number))
                self._listening = False
            yield folder.check_held
            self._listening = True  # not after an error: the others are then in the middle of the group

        work |= {cell.name: Work(cell, plans[cell.name], folder, execution, claim, Program) for cell in cells}
        train_all(list(work.values()), tell, compiled_ahead=0)

    def end(self, reason: str | None = None) -> None:
        """Lets the others end; with a reason, if this host has failed."""
        if self._listening:
            self._tell(reason)

    @staticmethod
    def _tell(order: Order) -> None:
        agreed(lambda: order)


def check_alike(spec: Resolved, path: Path, execution: Execution) -> None:
    """Checks that all hosts were given the same, and see one results folder; all come here together.

    Raises:
        UsageError: on every host, if not.
    """
    if not alike(f"{spec_toml(spec)}{execution.keep_parameters}".encode()):
        raise UsageError("hosts", execution.hosts, "the hosts were given different commands; give all the same")
    failed, here = None, {}
    try:
        here = environment(spec)
    except Exception as error:  # the others wait for an answer
        failed = error
    for part, words in DIFFERING.items():
        mine = f"host {jax.process_index() + 1}: {failed}" if failed else json.dumps(here[part], sort_keys=True)
        if not alike(mine.encode()):
            raise failed or UsageError("hosts", execution.hosts, f"the hosts differ in {words}; give all the same")
    if failed:
        raise failed
    name = agreed(lambda: f".seen-{os.urandom(8).hex()}")
    probe = path / name
    if jax.process_index() == 0:
        try:
            path.mkdir(parents=True, exist_ok=True)
            probe.touch()
        except OSError:
            pass  # said when the folder is locked
    agreed(lambda: None)
    seen = _appears(probe)
    everywhere = alike(b"seen" if seen else b"")
    if jax.process_index() == 0:
        probe.unlink(missing_ok=True)
        if not everywhere and not any(path.iterdir()):
            path.rmdir()
    if not everywhere:
        raise UsageError("out", str(path), "is not the same folder on all hosts; give one that all see")


def _appears(path: Path) -> bool:
    """Whether a file is there, or comes within the time for which a network's file system may hide it."""
    for _ in range(HIDDEN):
        # Listing a folder asks the server anew.
        if path.parent.is_dir() and path in path.parent.iterdir():
            return True
        time.sleep(1)
    return False


@contextlib.contextmanager
def leading() -> Iterator[Leading]:
    """An executor for the sweeps that the hosts train together until its end; the others ``follow``."""
    executor = Leading()
    try:
        yield executor
    except HostLost:
        raise  # nobody is there to be told
    except Exception as error:
        executor.end(first_line(error))
        raise
    executor.end()


def follow(path: Path, execution: Execution) -> None:
    """Trains what host 0 tells, until it has nothing more to do.

    Args:
        path: the results folder, as this host sees it; only checkpoints and parameters are written to it from here.
        execution: how to train.

    Raises:
        SweepError: if host 0 has failed.
        HostLost: if a host has ended in the middle of a group.
    """
    folder = ResultsFolder(path)
    programs: dict[str, Program] = {}
    while (order := cast(Order, agreed(lambda: None))) is not None:
        if isinstance(order, str):
            raise SweepError(f"host 1 has ended: {order}")
        cell, plan, number = order
        with computing_in(cell.recipe.precision):
            if cell.name not in programs:
                programs = {cell.name: Program(cell.problem(), cell.with_radius, plan)}
            points = list(plan.groups(cell.points))[number]
            checkpoints = Checkpoints(folder.group(cell.name, number, "checkpoint"), together=True)
            kept = folder.group(cell.name, number, "parameters") if execution.keep_parameters else None
            train_and_keep(programs[cell.name], points, checkpoints, kept, execution)
            checkpoints.remove()
