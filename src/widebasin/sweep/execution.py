"""How a sweep is carried out, separate from what is trained."""

import math
import re
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import tyro

from widebasin.sweep.errors import UsageError, nearest_name
from widebasin.sweep.executors.registry import EXECUTORS, executor_of

LOOPS = ("scan", "step")
# Flags of ``Execution`` that are whole numbers.
WHOLE = ("networks_at_once", "devices", "microbatch", "processes", "workers")
# The value of ``hosts`` by which the scheduler of a cluster is asked.
AUTO = "auto"
CHOSEN = "(default: chosen from platform and model)"

DataFolder = Annotated[Path | None, tyro.conf.arg(metavar="FOLDER", help_behavior_hint="(default: $WIDEBASIN_DATA)")]

HostsFlag = Annotated[str | None, tyro.conf.arg(metavar="I/N@ADDRESS:PORT", help_behavior_hint="(default: one host)")]


class Hosts(NamedTuple):
    """This host and the others; nothing of it is known where the scheduler of a cluster is asked.

    Attributes:
        index: number of this host, from 0.
        count: number of hosts.
        coordinator: address and port of host 0.
    """

    index: int | None = None
    count: int | None = None
    coordinator: str | None = None


@dataclass(frozen=True)
class Execution:
    """How a sweep is carried out; numbers agree between choices to float tolerance."""

    networks_at_once: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint=CHOSEN)] = None
    """Networks that one program trains together; 1 trains them one by one."""
    loop: Annotated[Literal["scan", "step"] | None, tyro.conf.arg(metavar="{scan,step}", help_behavior_hint=CHOSEN)] = (
        None
    )
    """scan (an epoch is one program) or step (steps are dispatched one by one)."""
    checkpoint_seconds: float = 30.0
    """Minimum time between two checkpoints; 0 writes one after every epoch."""
    devices: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint=CHOSEN)] = None
    """Devices of this host, over which a batch, or the networks of one program, are split."""
    workers: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: one per CPU core)")] = (
        None
    )
    """Processes that read images from disk, if the workload streams them; 0 reads them in the main process."""
    microbatch: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: the whole batch)")] = (
        None
    )
    """Examples per part of a batch; gradients add up, saving memory. Batch normalization uses each part alone."""
    keep_parameters: bool = False
    """Keep the trained parameters of every network in the results folder."""
    executor: Annotated[
        str | None,
        tyro.conf.arg(
            metavar="{" + ",".join(EXECUTORS) + "}",
            help_behavior_hint="(default: local; processes if several)",
        ),
    ] = None
    """Where to train; widebasin list executors tells more."""
    processes: Annotated[
        int | None,
        tyro.conf.arg(metavar="INT", help_behavior_hint="(default: as many as fit)"),
    ] = None
    """Processes that train the sweep together: on every core, or in all of a Ray cluster; Slurm needs a number."""
    executor_options: Annotated[
        tuple[str, ...],
        tyro.conf.arg(metavar="NAME=VALUE [NAME=VALUE ...]", help_behavior_hint="(default: none)"),
    ] = ()
    """What the executor shall ask for, such as partition=gpu gpus=1."""
    shard: Annotated[str | None, tyro.conf.arg(metavar="I/N", help_behavior_hint="(default: trains alone)")] = None
    """Number of this process and of all that share the results folder, such as 1/4; any may come or go."""
    lease_seconds: float = 60.0
    """Time after which other processes take over the networks of a process that has vanished."""
    hosts: HostsFlag = None
    """Number of this host, of all that train each network together, and where host 1 listens; or auto (Slurm)."""
    shard_parameters: bool = False
    """Split the parameters of each network, and its optimizer's state, over all devices; less memory on each."""
    data_dir: DataFolder = None
    """Folder of data sets; searched before the cache."""

    def __post_init__(self) -> None:
        """NumPy's whole numbers become Python's, and a single option a tuple."""
        for argument in WHOLE:
            value = getattr(self, argument)
            if isinstance(value, Integral) and not isinstance(value, bool):
                object.__setattr__(self, argument, int(value))
        if isinstance(self.executor_options, str):
            object.__setattr__(self, "executor_options", (self.executor_options,))

    def check(self) -> None:
        """Raises ``UsageError`` if a value is invalid."""
        for argument in WHOLE:
            value, least = getattr(self, argument), 0 if argument == "workers" else 1
            if value is not None and (isinstance(value, bool) or not isinstance(value, Integral) or value < least):
                raise UsageError(argument, value, f"must be a whole number of at least {least}")
        if self.loop not in (None, *LOOPS):
            raise nearest_name("loop", self.loop, LOOPS)
        if self.place is not None:
            for argument in ("processes", "executor", "executor_options"):
                if value := getattr(self, argument):
                    raise UsageError(argument, value, "must be left out with --shard, which is one process of several")
        if self.executor == "local" and self.processes not in (None, 1):
            remedy = "must be 1 with --executor local; several are of processes, slurm or ray"
            raise UsageError("processes", self.processes, remedy)
        executor_of(self)
        if not isinstance(self.lease_seconds, (int, float)) or not 1 <= self.lease_seconds < math.inf:
            raise UsageError("lease_seconds", self.lease_seconds, "must be a finite number of seconds, at least 1")
        seconds = self.checkpoint_seconds
        if not isinstance(seconds, (int, float)) or not (math.isfinite(seconds) and seconds >= 0):
            raise UsageError("checkpoint_seconds", seconds, "must be a finite number >= 0")
        for argument in ("keep_parameters", "shard_parameters"):
            if not isinstance(getattr(self, argument), bool):
                raise UsageError(argument, getattr(self, argument), "must be True or False")
        if self.together is not None and (self.shard or self.processes or self.executor):
            remedy = "must be left out with --executor, --processes and --shard, which train different networks"
            raise UsageError("hosts", self.hosts, remedy)
        if (self.together is not None or self.shard_parameters) and (self.networks_at_once or 1) > 1:
            remedy = "must be 1 with --hosts or --shard-parameters: all devices train one network"
            raise UsageError("networks_at_once", self.networks_at_once, remedy)

    @property
    def together(self) -> Hosts | None:
        """The hosts of ``hosts``; ``None`` if this process is alone.

        Raises:
            UsageError: if it does not say which they are.
        """
        if self.hosts is None:
            return None
        if self.hosts == AUTO:
            return Hosts()
        found = re.fullmatch(r"(\d+)/(\d+)@(\S+:(\d+))", str(self.hosts))
        if found and 1 <= int(found[1]) <= int(found[2]) and 1 <= int(found[4]) <= 65_535:
            return Hosts(int(found[1]) - 1, int(found[2]), found[3])
        remedy = (
            "must be I/N@ADDRESS:PORT with I from 1 to N, and the address of host 1 with a free port, such as "
            f"1/4@10.0.0.1:4321; or {AUTO} under Slurm or Open MPI"
        )
        raise UsageError("hosts", self.hosts, remedy)

    @property
    def place(self) -> tuple[int, int] | None:
        """The two numbers of ``shard``; ``None`` if this process trains alone.

        Raises:
            UsageError: if it is not of this form.
        """
        if self.shard is None:
            return None
        found = re.fullmatch(r"(\d+)/(\d+)", str(self.shard))
        if found and 1 <= int(found[1]) <= int(found[2]):
            return int(found[1]), int(found[2])
        raise UsageError("shard", self.shard, "must be I/N with I from 1 to N, such as 1/4")
