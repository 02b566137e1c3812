"""How a sweep is carried out, apart from what it asks."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from widebasin.sweep.errors import UsageError

CHOSEN = "(default: chosen from platform and model)"

DataFolder = Annotated[Path | None, tyro.conf.arg(metavar="FOLDER", help_behavior_hint="(default: $WIDEBASIN_DATA)")]


@dataclass(frozen=True)
class Execution:
    """How it is carried out; numbers agree between choices to float tolerance."""

    networks_at_once: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint=CHOSEN)] = None
    """Networks that one program trains; 1 trains them one by one."""
    loop: Annotated[Literal["scan", "step"] | None, tyro.conf.arg(metavar="{scan,step}", help_behavior_hint=CHOSEN)] = (
        None
    )
    """scan (an epoch is one program) or step (steps are dispatched one by one)."""
    checkpoint_seconds: float = 30.0
    """Least time between two checkpoints; 0 writes one after every epoch."""
    devices: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint=CHOSEN)] = None
    """Devices of this host, over which a batch is split, or the networks of one program are."""
    workers: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: one per CPU core)")] = (
        None
    )
    """Processes that read images from the disk, where a workload streams them; 0 reads them in between."""
    microbatch: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: the whole batch)")] = (
        None
    )
    """Examples of a batch at a time: gradients add up, in less memory. Batch normalization sees each part alone."""
    keep_parameters: bool = False
    """Keep the trained parameters of every network in the results folder."""
    data_dir: DataFolder = None
    """Folder of data sets, looked into before the cache."""

    def check(self) -> None:
        """Raises ``UsageError`` where a value cannot be."""
        if self.networks_at_once is not None and self.networks_at_once < 1:
            raise UsageError("networks_at_once", self.networks_at_once, "must be at least 1")
        if self.devices is not None and self.devices < 1:
            raise UsageError("devices", self.devices, "must be at least 1")
        if self.microbatch is not None and self.microbatch < 1:
            raise UsageError("microbatch", self.microbatch, "must be at least 1")
        if self.workers is not None and self.workers < 0:
            raise UsageError("workers", self.workers, "must be at least 0")
        if not (math.isfinite(self.checkpoint_seconds) and self.checkpoint_seconds >= 0):
            raise UsageError("checkpoint_seconds", self.checkpoint_seconds, "must be a finite number >= 0")
