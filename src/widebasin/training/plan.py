"""How replicates are executed: how many at once, and whether an epoch is one program or dispatched step by step."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import equinox as eqx
import jax
from jaxtyping import PyTree

from widebasin.models import is_convolutional
from widebasin.training.task import Task

LOOPS = ("scan", "step")

# Bytes that the replicates of one program may take, of a laptop's memory or an accelerator's.
MEMORY = {"cpu": 2 * 2**30, "gpu": 16 * 2**30, "tpu": 8 * 2**30}
# Above half a million parameters at once, batching costs more than it saves on CPU; a few dense networks always pay.
PARAMETERS_AT_ONCE_ON_CPU = 500_000
FEW_AT_ONCE_ON_CPU = 3
# Parameters, momentum, two gradients, the ascent point, and one more while the optimizer updates.
COPIES_OF_PARAMETERS = 6

Item = TypeVar("Item")


@dataclass(frozen=True)
class Plan:
    """A plan of execution. It changes speed; numbers agree between plans to float tolerance.

    Attributes:
        networks_at_once: how many replicates one program trains by ``vmap``; 1 means one by one, without ``vmap``.
        loop: ``scan``, a whole epoch in one compiled loop, or ``step``, each step dispatched from the host.
        platform: what it was chosen for: ``cpu``, ``gpu`` or ``tpu``.
        devices: of this host, over which a batch is split, or several replicates are.
        workers: processes that decode images, where these are streamed from the disk.
    """

    networks_at_once: int
    loop: str
    platform: str
    devices: int = 1
    workers: int = 0

    def __post_init__(self) -> None:
        if self.networks_at_once < 1:
            raise ValueError(f"networks_at_once must be at least 1, got {self.networks_at_once}")
        if self.loop not in LOOPS:
            raise ValueError(f"loop must be one of {', '.join(LOOPS)}, got {self.loop!r}")
        if self.devices < 1 or self.workers < 0:
            raise ValueError(
                f"devices must be at least 1 and workers at least 0, got {self.devices} and {self.workers}"
            )

    def groups(self, replicates: Sequence[Item]) -> Iterator[tuple[Item, ...]]:
        """Cuts replicates into as few groups as the plan allows, of sizes that differ by at most one."""
        count = -(-len(replicates) // self.networks_at_once)
        short, longer = divmod(len(replicates), count) if count else (0, 0)
        start = 0
        for group in range(count):
            stop = start + short + (group < longer)
            yield tuple(replicates[start:stop])
            start = stop


def choose_plan(task: Task, replicates: int) -> Plan:
    """The plan for a task and a number of replicates on the default device.

    Batching saves time between operations. Where a step takes a millisecond, as that of a dense network, this counts.

    * Dense networks are batched and scanned: on accelerators as many at once as fit the memory, on CPU as many as have
      about half a million parameters together, where the time per network is least (batches of 30 networks of 60,000
      to 270,000 parameters take 1.2 to 1.5 times as long per network).
    * Convolutions on CPU go one by one and step by step. ``vmap`` makes them grouped convolutions: six residual
      networks at once take 2.4 (digits, 8 filters) to 3.8 times as long per network (images of 32 x 32, 4 filters). XLA
      runs them slowly within a compiled loop: an epoch as one loop takes 6.6 and 8.8 times as long. With 2 filters on
      the digits the loop does not matter, and three at once take 1.3 times as long.
    * Attention goes up to three at once on CPU, within the same half a million parameters, an epoch as one loop: more
      would fill the memory with activations. Against one by one, three vision transformers at once take .8 to 1 times
      as long on the digits, two .9 to 1 times on images of 32 x 32. On accelerators they go one by one, until measured.

    ``widebasin bench plans`` measures this where you compute; the figures are of 2 cores of an AMD EPYC.
    """
    platform = jax.default_backend()
    if task.dataset.files is not None:
        return Plan(1, "step", platform, _devices(task.recipe.batch_size), _cores())
    model = eqx.filter_eval_shape(task.build, jax.random.key(0))
    if is_convolutional(model):
        return Plan(1, "step" if platform == "cpu" else "scan", platform, _devices(task.recipe.batch_size))
    per_replicate = 4 * (COPIES_OF_PARAMETERS * task.network.num_params + 2 * len(task.dataset))
    most = MEMORY.get(platform, MEMORY["cpu"]) // per_replicate
    attends = _attends(model)
    if platform == "cpu":
        few, within = FEW_AT_ONCE_ON_CPU, PARAMETERS_AT_ONCE_ON_CPU // task.network.num_params
        most = min(most, few, within) if attends else min(most, max(few, within))
    elif attends:
        most = 1
    at_once = _even(replicates, max(1, min(replicates, most)))
    return Plan(at_once, "scan", platform, _devices(at_once if at_once > 1 else task.recipe.batch_size))


def _attends(model: PyTree) -> bool:
    """Whether a model has attention."""
    leaves = jax.tree.leaves(model, is_leaf=_is_attention)
    return any(map(_is_attention, leaves))


def _is_attention(node: object) -> bool:
    return isinstance(node, eqx.nn.MultiheadAttention)


def _cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _devices(shared: int) -> int:
    """Over how many devices of this host so many examples, or replicates, can be split evenly."""
    return max(count for count in range(1, jax.local_device_count() + 1) if shared % count == 0)


def _even(replicates: int, most: int) -> int:
    """The largest divisor of ``replicates`` up to ``most``: groups of one size share one compiled program."""
    divisor = max(size for size in range(1, most + 1) if replicates % size == 0)
    return divisor if 2 * divisor > most else most
