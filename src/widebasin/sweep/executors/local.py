"""Trains in this process."""

from dataclasses import dataclass
from typing import ClassVar

from widebasin.sweep.events import Listener
from widebasin.sweep.executors.executor import Job


@dataclass(frozen=True)
class Local:
    """Trains in this process: alone, or with others if the job is a shard."""

    name: ClassVar[str] = "local"
    summary: ClassVar[str] = "in this process"
    requirement: ClassVar[str] = ""

    def run(self, job: Job, tell: Listener) -> None:
        """See ``Executor.run``."""
        from widebasin.sweep.here import train_here

        train_here(job, tell)


EXECUTOR = Local
