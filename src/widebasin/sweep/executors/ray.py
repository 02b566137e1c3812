"""Trains on a Ray cluster."""

import contextlib
import logging
import os
import socket
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from widebasin.sweep.errors import SweepError, UsageError
from widebasin.sweep.events import Listener
from widebasin.sweep.executors.executor import Job, option

# What decides how a process computes and where its data are.
HANDED_ON = ("JAX_", "XLA_", "WIDEBASIN_")
# Of the memory of a GPU, what tasks that share it take together.
SHARE_OF_MEMORY = 0.9
# Seconds to wait for a cluster to answer.
PATIENCE = 10.0


@dataclass(frozen=True)
class Ray:
    """Trains in tasks of Ray, on a cluster or on this machine; all nodes must see the results folder.

    Ray starts a task that has lost its node on another one. The tasks end with the command that started them.
    """

    name: ClassVar[str] = "ray"
    summary: ClassVar[str] = "in tasks of a Ray cluster, or of one that is started here"
    requirement: ClassVar[str] = "ray>=2.40"

    address: str = option("", "address of a cluster, such as auto or 10.0.0.1:6379; one of this machine by default")
    cpus: float = option(1.0, "CPU cores of a task")
    gpus: float = option(0.0, "GPUs of a task")
    memory: float = option(0.0, "memory of a task in GiB that Ray sets aside")
    retries: int = option(3, "how often a task that was killed is started again")

    def run(self, job: Job, tell: Listener) -> None:
        """See ``Executor.run``."""
        import ray
        from ray.exceptions import RayError

        from widebasin.sweep.workers import Share, train_in_workers, train_share

        with self._connected():
            most = self._room(ray.cluster_resources())
            handed_on = {name: value for name, value in os.environ.items() if name.startswith(HANDED_ON)}
            variables = self._variables() | handed_on
            options: dict[str, Any] = {
                "num_cpus": self.cpus,
                "num_gpus": self.gpus,
                "max_retries": self.retries,
                "max_calls": 1,  # a process that has used JAX cannot be given other devices
                "scheduling_strategy": "SPREAD",
                "runtime_env": {"env_vars": variables},
            }
            if self.memory:
                options["memory"] = int(self.memory * 2**30)
            remote = ray.remote(**options)(train_share)

            def start(shares: Sequence[Share]) -> list[_Task]:
                return [_Task(remote.remote(share)) for share in shares]

            try:
                train_in_workers(job, job.execution.processes or most, start, tell)
            except RayError as error:
                raise SweepError(f"Ray: {str(error).splitlines()[0]}") from error

    def _variables(self) -> dict[str, str]:
        """What makes a task take its share alone: Ray hides neither GPUs from tasks without, nor a GPU's memory."""
        variables = {"JAX_NUM_CPU_DEVICES": str(max(1, int(self.cpus)))}
        if not self.gpus:
            variables["JAX_PLATFORMS"] = "cpu"
        elif self.gpus < 1:
            variables["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{SHARE_OF_MEMORY * self.gpus:.3f}"
        return variables

    @contextlib.contextmanager
    def _connected(self) -> Iterator[None]:
        """A connection to the cluster, which is started if it has no address."""
        import ray

        if ray.is_initialized():
            yield
            return
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            self._check_answers()
            with warnings.catch_warnings():
                # Ray starts programs, and no fork goes on in this one.
                warnings.filterwarnings("ignore", message="os.fork", category=RuntimeWarning)
                ray.init(
                    address=self.address or "local",
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                )
        except (OSError, ValueError) as error:
            remedy = f"no cluster was found there ({str(error).splitlines()[0]}); start one: ray start --head"
            raise UsageError("executor_options", f"address={self.address}", remedy) from error
        try:
            yield
        finally:
            ray.shutdown()

    def _check_answers(self) -> None:
        """Raises ``OSError`` if nothing listens at the address: Ray itself would try for minutes."""
        host, colon, port = self.address.rpartition(":")
        if colon and port.isdecimal() and "/" not in host:
            socket.create_connection((host, int(port)), timeout=PATIENCE).close()

    def _room(self, resources: Mapping[str, float]) -> int:
        """How many tasks have room at the same time.

        Raises:
            UsageError: if none has.
        """
        if self.cpus <= 0:
            raise UsageError("executor_options", f"cpus={self.cpus:g}", "must be positive")
        room = []
        for name, resource, amount in (("cpus", "CPU", self.cpus), ("gpus", "GPU", self.gpus)):
            there = resources.get(resource, 0.0)
            if amount > there:
                remedy = f"must be at most {there:g}, what the cluster has"
                raise UsageError("executor_options", f"{name}={amount:g}", remedy)
            if amount:
                room.append(int(there / amount))
        return min(room)


class _Task:
    """A task of Ray; see ``workers.Worker``."""

    def __init__(self, task: Any) -> None:
        self.task = task

    def ended(self) -> str | None:
        import ray
        from ray.exceptions import RayError

        done, _ = ray.wait([self.task], timeout=0)
        if not done:
            return None
        try:
            ray.get(self.task)
        except RayError as error:
            return str(error).splitlines()[0]
        return ""

    def stop(self) -> None:
        import ray

        ray.cancel(self.task, force=True)


EXECUTOR = Ray
