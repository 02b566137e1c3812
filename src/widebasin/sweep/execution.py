"""How a sweep is carried out, separate from what is trained."""

import math
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Annotated, Literal

import tyro

from widebasin.sweep.errors import UsageError, nearest_name

LOOPS = ("scan", "step")
CHOSEN = "(default: chosen from platform and model)"

DataFolder = Annotated[Path | None, tyro.conf.arg(metavar="FOLDER", help_behavior_hint="(default: $WIDEBASIN_DATA)")]


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
    data_dir: DataFolder = None
    """Folder of data sets; searched before the cache."""

    def check(self) -> None:
        """Raises ``UsageError`` if a value is invalid."""
        for argument, least in (("networks_at_once", 1), ("devices", 1), ("microbatch", 1), ("workers", 0)):
            value = getattr(self, argument)
            if value is not None and (isinstance(value, bool) or not isinstance(value, Integral) or value < least):
                raise UsageError(argument, value, f"must be a whole number of at least {least}")
        if self.loop not in (None, *LOOPS):
            raise nearest_name("loop", self.loop, LOOPS)
        seconds = self.checkpoint_seconds
        if not isinstance(seconds, (int, float)) or not (math.isfinite(seconds) and seconds >= 0):
            raise UsageError("checkpoint_seconds", seconds, "must be a finite number >= 0")
        if not isinstance(self.keep_parameters, bool):
            raise UsageError("keep_parameters", self.keep_parameters, "must be True or False")
