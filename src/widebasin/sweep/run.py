"""Runs a sweep from its spec to its table of results, by the executor that is asked for."""

from collections.abc import Sequence
from pathlib import Path

from widebasin.sweep.events import Listener, to_all
from widebasin.sweep.execution import Execution
from widebasin.sweep.executors import Executor, Job, executor_of
from widebasin.sweep.folder import ResultsFolder
from widebasin.sweep.spec import Resolved, Spec, resolve


def run(
    spec: Spec | Resolved,
    path: Path,
    *,
    execution: Execution | None = None,
    executor: Executor | None = None,
    listeners: Sequence[Listener] = (),
    overwrite: bool = False,
) -> ResultsFolder:
    """Trains every network of a spec and returns the folder with the results.

    If the folder has a sweep with the same spec, it is continued: finished groups of networks are kept, an unfinished
    group continues from its checkpoint. A sweep whose networks are all in this spec is extended by the others. The
    values equal those of one uninterrupted run bit for bit (except ``seconds``, and ``parameters`` in an extended
    sweep); an extended sweep on accelerators, or with ``networks_at_once``, to float tolerance.

    Args:
        spec: what to train; it is checked and resolved here.
        path: the results folder; created if necessary.
        execution: how to train.
        executor: where to train; by default the one that ``execution`` names.
        listeners: receive the events, see ``widebasin.sweep.events``; include those of ``trackers.listeners_of``.
        overwrite: delete results in the folder that have a different spec or plan, or damaged records. Results of this
            spec are continued anyway.

    Raises:
        UsageError: for a bad spec or folder, before anything is trained.
        DataError: if the workload's data are missing or incomplete.
        SweepError: if the folder is in use or damaged, or its disk is full.
        CheckpointError: if a checkpoint is damaged.
    """
    execution = execution or Execution()
    execution.check()
    job = Job.of(resolve(spec), path, execution, overwrite)
    (executor or executor_of(execution)).run(job, to_all(listeners))
    return job.folder()
