"""How large a sweep can be: processes on one machine, many workers on one folder, a grid of 100,000 networks."""

import builtins
import collections
import contextlib
import functools
import io
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np

from widebasin.benchmarks.benchmark import Benchmark, Measured
from widebasin.benchmarks.timing import Timing, interleave
from widebasin.studies.answering import write_answer
from widebasin.studies.study import Options
from widebasin.sweep import Execution, Spec, resolve
from widebasin.sweep.cells import cells
from widebasin.sweep.events import Listener
from widebasin.sweep.executors import Job
from widebasin.sweep.executors.local import Local
from widebasin.sweep.folder import ResultsFolder
from widebasin.sweep.groups import train_alone, train_sharing
from widebasin.sweep.here import train_here
from widebasin.sweep.plans import plan_for
from widebasin.sweep.rows import groups_of
from widebasin.sweep.run import run
from widebasin.sweep.status import status_of
from widebasin.training import Program

# Trained in one and in two processes, as a command from start to end.
TRAINED = ("--widths", "32", "64", "--rhos", "0.05", "0.1", "0.2", "0.5", "--seeds", "5", "--epochs", "40")
TRAINED_NETWORKS = 2 * 5 * 5
# Workers on one folder, and the groups that they share.
SHARED = ((1, 400), (8, 400), (64, 400), (64, 1_600))
MODELLED = 1_000
# 20 widths, SGD and 24 radii, 200 seeds; as many networks in a program as an accelerator would have.
LARGE = Spec(widths=tuple(range(2, 22)), rhos=tuple(round(0.01 * k, 2) for k in range(1, 25)), seeds=200, epochs=10)
LARGE_AT_ONCE = 20
CALLS = (
    "stat",
    "open",
    "mkdir",
    "replace",
    "rename",
    "unlink",
    "remove",
    "rmdir",
    "scandir",
    "listdir",
    "utime",
    "fsync",
)
MIB = 2**20


class MadeUp(Program):
    """A program that trains nothing and makes up the metrics, so that the rest can be measured."""

    def __init__(self, problem: Any, method_at: Callable[[Any], Any], plan: Any) -> None:
        del plan
        self.problem, self.method_at = problem, method_at

    def prepare(self, points: Sequence[Any]) -> None:
        """Nothing to compile."""

    def computing(self) -> contextlib.AbstractContextManager[None]:
        """No settings."""
        return contextlib.nullcontext()

    def start(self, points: Sequence[Any]) -> tuple[Any, None, Any]:
        """A state that says how many networks there are."""
        nothing = np.zeros((len(points), 1), np.float32)
        epoch = np.full(len(points), points[0].seed)
        return SimpleNamespace(params=nothing, model=nothing, epoch=epoch), None, SimpleNamespace(mask=None)

    @property
    def ahead(self) -> int:
        """There is nothing to wait for."""
        return 0

    def begin_epoch(
        self, state: Any, source: None, hyperparameters: Any, number: int, last: bool
    ) -> tuple[Any, Callable[[], dict[str, np.ndarray]]]:
        """Metrics drawn at random."""
        del source, hyperparameters, number, last
        draw = np.random.default_rng(int(state.epoch[0]))
        parts = ("train", "valid", "test", "final_train")
        names = ("gradient_norm", *(f"{part}_{name}" for part in parts for name in self.problem.names))
        return state, lambda: {name: draw.random(len(state.epoch), np.float32) for name in names}


class MakingUp(Local):
    """Trains with ``MadeUp`` in this process."""

    def run(self, job: Job, tell: Listener) -> None:
        """See ``Executor.run``."""
        train_here(job, tell, functools.partial(train_alone, program=MadeUp))


@dataclass
class Calls:
    """File operations by name: how many, and the seconds in them."""

    counts: collections.Counter[str] = field(default_factory=collections.Counter)
    seconds: float = 0.0

    @property
    def total(self) -> int:
        """All operations."""
        return self.counts.total()


@contextlib.contextmanager
def counted() -> Iterator[Calls]:
    """Counts the file operations of all threads of this process; reading and writing an open file is none."""
    calls, lock = Calls(), threading.Lock()

    def wrapped(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counting(*arguments: Any, **named: Any) -> Any:
            started = time.perf_counter()
            try:
                return call(*arguments, **named)
            finally:
                # A file that is open already is only wrapped.
                if not (name == "open" and isinstance(arguments[0], int)):
                    with lock:
                        calls.counts[name] += 1
                        calls.seconds += time.perf_counter() - started

        return counting

    with contextlib.ExitStack() as replaced:
        for name in CALLS:
            replaced.enter_context(mock.patch.object(os, name, wrapped(name, getattr(os, name))))
        opened = wrapped("open", io.open)
        replaced.enter_context(mock.patch.object(io, "open", opened))
        replaced.enter_context(mock.patch.object(builtins, "open", opened))
        yield calls


@dataclass(frozen=True)
class Shared:
    """What workers did on one folder.

    Attributes:
        groups: number of groups of networks.
        calls: the file operations of all workers.
        seconds: until the last worker had ended.
    """

    groups: int
    calls: Calls
    seconds: float


def shared(workers: int, groups: int) -> Shared:
    """Threads that share a folder as processes with ``--shard`` do; their networks are made up.

    Args:
        workers: number of threads.
        groups: number of groups of one network, a multiple of 40: in four cells, ten radii each.
    """
    spec = resolve(
        Spec(widths=(8, 12, 16, 20), methods=("sam",), rhos=tuple(0.1 * k for k in range(1, 11)), seeds=groups // 40)
    )
    execution = Execution(networks_at_once=1)
    grid = cells(spec)
    plans = {cell.name: plan_for(cell, execution) for cell in grid}
    with tempfile.TemporaryDirectory() as path, ThreadPoolExecutor(workers) as threads:

        def work(number: int) -> None:
            folder = ResultsFolder(Path(path))
            train_sharing(grid, plans, folder, execution, lambda event: None, (number, workers), MadeUp)

        started = time.perf_counter()
        with counted() as calls:
            list(threads.map(work, range(1, workers + 1)))
        return Shared(groups, calls, time.perf_counter() - started)


def _shared_rows(cases: Sequence[tuple[int, int]]) -> list[Measured]:
    """A row for every number of workers, and what follows for ``MODELLED`` of them."""
    found = [(workers, shared(workers, groups)) for workers, groups in cases]
    rows = [
        Measured(
            f"{workers} worker{'s' * (workers > 1)}, {one.groups:,} groups: a group",
            Timing((one.seconds / one.groups,)),
            more=(
                ("file operations per group", f"{one.calls.total / one.groups:.1f}"),
                (
                    "most of all",
                    ", ".join(f"{name} {n / one.groups:.1f}" for name, n in one.calls.counts.most_common(3)),
                ),
            ),
        )
        for workers, one in found
    ]
    operations = max(one.calls.total / one.groups for _, one in found)
    # Alone, since threads wait for each other within an operation.
    alone = found[0][1].calls
    each = alone.seconds / alone.total
    rows.append(
        Measured(
            f"{MODELLED:,} workers, shortest group that the folder keeps up with (model)",
            Timing((MODELLED * operations * each,)),
            more=(("file operations per group", f"{operations:.1f}"), ("us per operation", f"{1e6 * each:.0f}")),
        )
    )
    return rows


def _stages(spec: Spec, at_once: int, send: Any) -> None:
    """Sends name, seconds and peak bytes of every stage of a large sweep; for a process of its own."""
    path = tempfile.TemporaryDirectory()
    folder, execution = ResultsFolder(Path(path.name) / "sweep"), Execution(networks_at_once=at_once)

    def timed(name: str, call: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        result = call()
        send.send((name, time.perf_counter() - started, _peak()))
        return result

    def planned() -> Any:
        grid = cells(resolve(spec))
        return [groups_of(cell, plan_for(cell, execution)) for cell in grid]

    with path:
        groups = timed("plan", planned)
        timed(
            "write the rows of all groups, and merge",
            lambda: run(spec, folder.path, execution=execution, executor=MakingUp()),
        )
        timed("verify, and merge again", lambda: run(spec, folder.path, execution=execution, executor=MakingUp()))
        timed("merge", lambda: folder.merge(groups))
        timed("status", lambda: status_of(folder))
        timed("report", lambda: write_answer(folder, Options()))
        send.send(None)


def _peak() -> int:
    """Most bytes in memory so far."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM"):
                return 1024 * int(line.split()[1])
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most


def _large_rows(spec: Spec, at_once: int) -> list[Measured]:
    """A row for every stage."""
    context = multiprocessing.get_context("spawn")
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=_stages, args=(spec, at_once, send))
    process.start()
    send.close()
    resolved = resolve(spec)
    networks = sum(len(cell.points) for cell in cells(resolved))
    rows = []
    with contextlib.suppress(EOFError):
        while (stage := receive.recv()) is not None:
            name, seconds, peak = stage
            rows.append(
                Measured(
                    f"{networks:,} networks: {name}", Timing((seconds,)), more=(("peak MiB", f"{peak / MIB:,.0f}"),)
                )
            )
    process.join()
    if process.exitcode:
        raise RuntimeError(f"the process of the large grid has ended with exit code {process.exitcode}")
    return rows


def _process_rows(rounds: int, grid: Sequence[str], networks: int) -> list[Measured]:
    """The same command with one and with two processes."""
    with tempfile.TemporaryDirectory() as folder:
        numbers = iter(range(10**9))

        def command(processes: int) -> Callable[[], None]:
            def trained() -> None:
                out = Path(folder) / str(next(numbers))
                words = ["sweep", *grid, "--processes", str(processes), "--networks-at-once", "5", "--devices", "1"]
                subprocess.run(
                    [sys.executable, "-m", "widebasin", *words, "--quiet", "--out", str(out)],
                    check=True,
                    stdout=subprocess.DEVNULL,
                )

            return trained

        timings = interleave({"1 process": command(1), "2 processes": command(2)}, rounds)
    return [
        Measured(
            what,
            timing,
            timing.over(timings["1 process"]),
            "1 process",
            more=(("networks per minute", f"{60 * networks / timing.median:.0f}"),),
        )
        for what, timing in timings.items()
    ]


def measure(
    rounds: int,
    grid: Sequence[str] = TRAINED,
    networks: int = TRAINED_NETWORKS,
    cases: Sequence[tuple[int, int]] = SHARED,
    large: Spec = LARGE,
    at_once: int = LARGE_AT_ONCE,
) -> Benchmark:
    """Times a command with one and two processes in turn; the rest once.

    Args:
        rounds: how often the command is timed.
        grid: flags of the command.
        networks: how many it trains.
        cases: pairs of workers and groups, see ``shared``; the first has one worker.
        large: spec of the large sweep.
        at_once: networks in a group of the large sweep.
    """
    return Benchmark(
        name="sweeps",
        title=f"{networks} networks as a command; workers on one folder; a large sweep of {large.epochs} epochs",
        rounds=rounds,
        rows=(*_process_rows(rounds, grid, networks), *_shared_rows(cases), *_large_rows(large, at_once)),
        note="Only the command trains, programs compiled before; its time is that of the whole process, report "
        "included, and the rest is measured once. Workers are threads with leases of their own that write made-up rows "
        "of one network per group. File operations are calls that name a file (open, stat, list, rename ...), and "
        "fsync. In the model the folder serves one operation after the other, each as long as for one worker here. The "
        f"large sweep has groups of {at_once} networks with made-up metrics, in a process of its own.",
    )
