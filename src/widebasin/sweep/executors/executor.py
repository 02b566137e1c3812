"""The protocol ``Executor``, and what it gets: a ``Job``."""

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from widebasin.sweep.events import Listener

# Executors are named on the command line, whose help loads nothing of what trains.
if TYPE_CHECKING:
    from widebasin.sweep.execution import Execution
    from widebasin.sweep.folder import ResultsFolder
    from widebasin.sweep.spec import Resolved


def option(default: Any, summary: str) -> Any:
    """An option of an executor, as a field of its dataclass.

    Args:
        default: its value if it is not given; its type is that of all values.
        summary: what it is, in a few words.
    """
    return dataclasses.field(default=default, metadata={"summary": summary})


@dataclass(frozen=True)
class Job:
    """A sweep to train, or a share of it: plain data, for any process that sees the folder.

    Attributes:
        workload: name of the workload.
        spec: the resolved spec as TOML.
        path: the results folder.
        execution: how to train.
        overwrite: whether results of another spec in the folder are deleted.
        directory: where the names of the user's files begin.
    """

    workload: str
    spec: str
    path: Path
    execution: "Execution"
    overwrite: bool = False
    directory: Path = dataclasses.field(default_factory=Path.cwd)

    @classmethod
    def of(cls, spec: "Resolved", path: Path, execution: "Execution", overwrite: bool = False) -> "Job":
        """The job to train a spec in a folder."""
        from widebasin.sweep.spec_file import spec_toml

        return cls(spec.workload, spec_toml(spec), path, execution, overwrite)

    def resolved(self) -> "Resolved":
        """The spec."""
        from widebasin.sweep.spec import workload_named
        from widebasin.sweep.spec_file import parse_resolved

        return parse_resolved(self.spec, workload_named(self.workload).axes)

    def folder(self) -> "ResultsFolder":
        """The results folder; one that others share is waited for."""
        from widebasin.sweep.executors.local import Local
        from widebasin.sweep.executors.registry import named
        from widebasin.sweep.folder import OTHERS, ResultsFolder
        from widebasin.sweep.held_folder import LOOKED_AT

        shared = self.execution.place is not None or named(self.execution) is not Local
        return ResultsFolder(self.path, patience=OTHERS if shared else LOOKED_AT)

    def share(self, number: int, count: int) -> "Job":
        """The job of one of several processes that train it together, each in any directory.

        Args:
            number: of the process, from 1 on.
            count: of the processes.
        """
        execution = dataclasses.replace(
            self.execution, executor=None, executor_options=(), processes=None, shard=f"{number}/{count}"
        )
        path = self.path.absolute()
        return dataclasses.replace(self, path=path, execution=execution, overwrite=False)

    def enter(self) -> None:
        """Makes a process find the user's files and data as the one that made the job did."""
        from widebasin.data.places import look_in

        if self.directory.is_dir():
            os.chdir(self.directory)
        look_in(self.execution.data_dir)


@runtime_checkable
class Executor(Protocol):
    """Trains jobs. The rows do not depend on it.

    One that can be named on the command line is a frozen dataclass whose fields are its options, see ``option``; a
    module in this folder declares it as ``EXECUTOR``. It has, as class variables, its ``name``, a ``summary`` that says
    where it trains, in a few words, and as ``requirement`` the package that it needs, in pip's syntax, or nothing.
    """

    def run(self, job: Job, tell: Listener) -> None:
        """Trains what is missing, writes the tables and reports events.

        Raises:
            UsageError: if the job cannot be trained, before anything is.
            SweepError: if it could not be finished.
        """
        ...
