"""Trains in several processes of this machine."""

import contextlib
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from widebasin.sweep.errors import UsageError
from widebasin.sweep.events import Listener
from widebasin.sweep.executors.executor import Job, option

# Seconds that a process has to end when it is told to.
TO_END = 10.0


@dataclass(frozen=True)
class Processes:
    """Trains in processes of this machine, each on its share of the cores.

    The processes go on if the one that started them is killed.
    """

    name: ClassVar[str] = "processes"
    summary: ClassVar[str] = "in processes of this machine, each on its share of the cores"
    requirement: ClassVar[str] = ""

    retries: int = option(3, "how often a process that was killed is started again")

    def run(self, job: Job, tell: Listener) -> None:
        """See ``Executor.run``."""
        import jax

        from widebasin.sweep.workers import Share, train_in_workers
        from widebasin.training.compilation import cores

        if jax.default_backend() != "cpu":
            remedy = "cannot be used with accelerators, of which this process has taken all: start one process for each"
            raise UsageError("executor", self.name, f"{remedy} with --shard")

        def start(shares: Sequence[Share]) -> list[_Process]:
            return [_Process(share) for share in shares]

        train_in_workers(job, job.execution.processes or cores(), start, tell, retries=self.retries)


class _Process:
    """A process with a share of the work; see ``workers.Worker``."""

    def __init__(self, share: Any) -> None:
        # Not by ``multiprocessing``, which would run the user's script once more in every process.
        command = [sys.executable, "-P", "-c", f"from {__name__} import train; train()"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE)
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError), self.process.stdin as given:
            pickle.dump(share, given)

    def ended(self) -> str | None:
        code = self.process.poll()
        return None if code is None else f"exit code {code}" if code else ""

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(TO_END)
        except subprocess.TimeoutExpired:  # SIGTERM waits while a process is stopped
            self.process.kill()
            self.process.wait()


def train() -> None:
    """What a process does, with the share that it reads."""
    # Ends without a word when the command is interrupted.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from widebasin.sweep.workers import train_share

    share = pickle.load(sys.stdin.buffer)
    number, count = share.job.execution.place
    if hasattr(os, "sched_setaffinity"):
        mine = sorted(os.sched_getaffinity(0))[number - 1 :: count]
        # With fewer cores than processes, some have the same.
        os.sched_setaffinity(0, mine or os.sched_getaffinity(0))
    train_share(share)


EXECUTOR = Processes
