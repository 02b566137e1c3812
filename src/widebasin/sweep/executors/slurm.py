"""Trains in jobs of Slurm."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from widebasin.sweep.errors import SweepError, UsageError
from widebasin.sweep.events import Listener
from widebasin.sweep.executors.executor import Job, option

CLUSTERS = ("slurm", "local")


@dataclass(frozen=True)
class Slurm:
    """Trains in the tasks of one job array, submitted by submitit.

    The command that submits them shows their progress, and they go on if it ends. A task that is preempted, or whose
    time is over, is put into the queue again. Further options of ``sbatch`` are taken from ``SBATCH_...`` variables.
    """

    name: ClassVar[str] = "slurm"
    summary: ClassVar[str] = "in an array of Slurm jobs, one for each of --processes"
    requirement: ClassVar[str] = "submitit>=1.5"

    partition: str = option("", "partition of the cluster")
    account: str = option("", "account that is charged")
    qos: str = option("", "quality of service")
    constraint: str = option("", "features that a node must have")
    minutes: int = option(240, "time limit of a task; it is then queued again")
    requeues: int = option(20, "how often a task whose time is over is queued again")
    gpus: int = option(0, "GPUs of a task")
    cpus: int = option(1, "CPU cores of a task")
    memory: float = option(8.0, "memory of a task in GiB")
    at_once: int = option(256, "tasks that run at the same time at most")
    cluster: str = option("slurm", "slurm, or local to try it on this machine without Slurm")

    def run(self, job: Job, tell: Listener) -> None:
        """See ``Executor.run``."""
        from widebasin.sweep.workers import Share, train_in_workers

        count = job.execution.processes
        if count is None:
            raise UsageError("processes", None, "must be given with --executor slurm: the tasks of the job array")
        if self.cluster not in CLUSTERS:
            raise UsageError("executor_options", f"cluster={self.cluster}", f"must be {' or '.join(CLUSTERS)}")

        def start(shares: Sequence[Share]) -> list[_Task]:
            return [_Task(task) for task in self._submitted(shares)]

        train_in_workers(job, count, start, tell, go_on=True)

    def _submitted(self, shares: Sequence[Any]) -> list[Any]:
        """Submits one task per share."""
        import submitit
        from submitit.core.utils import FailedJobError

        try:
            executor = submitit.AutoExecutor(
                folder=shares[0].events, cluster=self.cluster, slurm_max_num_timeout=self.requeues
            )
        except RuntimeError as error:
            remedy = "srun was not found: run this where jobs are submitted, or try executor_options cluster=local"
            raise UsageError("executor", self.name, remedy) from error
        named = {"partition": self.partition, "account": self.account, "qos": self.qos, "constraint": self.constraint}
        executor.update_parameters(
            name="widebasin",
            timeout_min=self.minutes,
            cpus_per_task=self.cpus,
            gpus_per_node=self.gpus or None,
            mem_gb=self.memory,
            slurm_array_parallelism=self.at_once,
            slurm_additional_parameters={"requeue": True},
            **{f"slurm_{name}": value for name, value in named.items() if value},
        )
        try:
            tasks = executor.map_array(_Train(), shares)
        except FailedJobError as error:
            raise SweepError(f"Slurm has not taken the jobs: {str(error).strip().splitlines()[-1]}") from error
        if self.cluster == "slurm":
            number = tasks[0].job_id.partition("_")[0]
            said = f"Slurm has job {number}; it goes on if this command ends, and ends by scancel {number}"
            logging.getLogger("widebasin").info(said)
        return tasks


class _Train:
    """What a task does; submitit submits it again when its time is over, or it is preempted."""

    def __call__(self, share: Any) -> None:
        from widebasin.sweep.workers import train_share

        train_share(share)

    def checkpoint(self, share: Any) -> Any:
        import submitit

        return submitit.helpers.DelayedSubmission(self, share)


class _Task:
    """A task of the array; see ``workers.Worker``."""

    def __init__(self, task: Any) -> None:
        self.task = task

    def ended(self) -> str | None:
        if not self.task.done():
            return None
        return "" if self.task.paths.result_pickle.exists() and self.task.exception() is None else self._how()

    def _how(self) -> str:
        return f"job {self.task.job_id}: {self.task.state.lower()}"

    def stop(self) -> None:
        if not self.task.done():
            self.task.cancel(check=False)


EXECUTOR = Slurm
