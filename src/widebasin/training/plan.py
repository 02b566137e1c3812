"""How networks are executed: how many at once, and whether an epoch is one program or dispatched step by step."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import equinox as eqx
import jax
from jaxtyping import PyTree

from widebasin.models import count_parameters, is_convolutional
from widebasin.training.compilation import cores
from widebasin.training.problem import PARTS, Problem

LOOPS = ("scan", "step")

# Bytes that the networks of one program may take, of a laptop's memory or an accelerator's.
MEMORY = {"cpu": 2 * 2**30, "gpu": 16 * 2**30, "tpu": 8 * 2**30}
# Above half a million parameters at once on a core, batching costs more than it saves; a few dense networks always pay.
PARAMETERS_AT_ONCE_ON_CPU = 500_000
FEW_AT_ONCE_ON_CPU = 3
# Parameters, momentum, two gradients, the ascent point, and one more while the optimizer updates.
COPIES_OF_PARAMETERS = 6

Item = TypeVar("Item")


@dataclass(frozen=True)
class Plan:
    """A plan of execution. It changes speed; numbers agree between plans to float tolerance.

    But for ``microbatch`` where there is batch normalization.

    Attributes:
        networks_at_once: how many networks one program trains by ``vmap``; 1 means one by one, without ``vmap``.
        loop: ``scan``, a whole epoch in one compiled loop, or ``step``, each step dispatched from the host.
        platform: what it was chosen for: ``cpu``, ``gpu`` or ``tpu``.
        devices: of this host, over which the networks of a program are split, or the batches of one; a core of the CPU
            may be one.
        workers: processes that decode images, where these are streamed from the disk.
        microbatch: examples of a batch at a time, whose gradients are accumulated, in the memory of so many; all of
            them by default. Batch normalization takes the statistics of each part by itself.
    """

    networks_at_once: int
    loop: str
    platform: str
    devices: int = 1
    workers: int = 0
    microbatch: int | None = None

    def __post_init__(self) -> None:
        if self.networks_at_once < 1:
            raise ValueError(f"networks_at_once must be at least 1, got {self.networks_at_once}")
        if self.loop not in LOOPS:
            raise ValueError(f"loop must be one of {', '.join(LOOPS)}, got {self.loop!r}")
        if self.devices < 1 or self.workers < 0:
            raise ValueError(
                f"devices must be at least 1 and workers at least 0, got {self.devices} and {self.workers}"
            )
        if self.microbatch is not None and self.microbatch < 1:
            raise ValueError(f"microbatch must be at least 1, got {self.microbatch}")

    def groups(self, networks: Sequence[Item]) -> Iterator[tuple[Item, ...]]:
        """Cuts networks into as few groups as the plan allows, of sizes that differ by at most one."""
        count = -(-len(networks) // self.networks_at_once)
        short, longer = divmod(len(networks), count) if count else (0, 0)
        start = 0
        for group in range(count):
            stop = start + short + (group < longer)
            yield tuple(networks[start:stop])
            start = stop


def choose_plan(problem: Problem, networks: int) -> Plan:
    """The plan for a problem and a number of networks on the default device.

    Batching saves time between operations. Where a step takes a millisecond, as that of a dense network, this counts.

    * Dense networks are batched and scanned: on accelerators as many at once as fit the memory, on CPU as many as have
      about half a million parameters together on every core. With both cores as one device, batches of 30 networks of
      60,000 to 270,000 parameters take 1.2 to 1.5 times as long per network; with a device each, 6, 12 and 36 networks
      of 25,000 parameters at once take as long per network, within 7%.
    * Convolutions on CPU go one by one and step by step. ``vmap`` makes them grouped convolutions: six residual
      networks at once take 2.4 (digits, 8 filters) to 3.8 times as long per network (images of 32 x 32, 4 filters). XLA
      runs them slowly within a compiled loop: an epoch as one loop takes 6.6 and 8.8 times as long. With 2 filters on
      the digits the loop does not matter, and three at once take 1.3 times as long.
    * Attention goes up to three at once on every core of a CPU, within the same half a million parameters, an epoch as
      one loop: more would fill the memory with activations. Against one by one, with both cores as one device, three
      vision transformers at once take .8 to 1 times as long on the digits, two .9 to 1 times on images of 32 x 32. On
      accelerators they go one by one, until measured.

    ``widebasin bench plans`` measures this where you compute; the figures are of 2 cores of an AMD EPYC.
    """
    platform = jax.default_backend()
    if problem.from_disk:
        return Plan(1, "step", platform, devices_of_one(problem), cores())
    structure = problem.structure
    if is_convolutional(structure):
        return Plan(1, "step" if platform == "cpu" else "scan", platform, devices_of_one(problem))
    devices = min(jax.local_device_count(), networks)
    parameters = count_parameters(structure)
    most = MEMORY.get(platform, MEMORY["cpu"]) // _bytes_of_network(problem, parameters)
    attends = _attends(structure)
    if platform == "cpu":
        few, within = FEW_AT_ONCE_ON_CPU, PARAMETERS_AT_ONCE_ON_CPU // parameters
        most = min(most, devices * (min(few, within) if attends else max(few, within)))
    elif attends:
        most = 1
    at_once = _even(networks, max(1, most), devices)
    return Plan(
        at_once,
        "scan",
        platform,
        min(devices, at_once) if at_once > 1 else devices_of_one(problem),
    )


def _bytes_of_network(problem: Problem, parameters: int) -> int:
    """What the state of a network takes in training, and which examples are its own."""
    examples = max(jax.tree.leaves(problem.blocks(part))[0].size for part in PARTS)
    return 4 * (COPIES_OF_PARAMETERS * parameters + 2 * examples)


def _attends(model: PyTree) -> bool:
    """Whether a model has attention."""
    leaves = jax.tree.leaves(model, is_leaf=_is_attention)
    return any(map(_is_attention, leaves))


def _is_attention(node: object) -> bool:
    return isinstance(node, eqx.nn.MultiheadAttention)


def devices_of_one(problem: Problem) -> int:
    """Over how many devices of this host the batches of one network are split; the cores of a CPU share them anyway."""
    if jax.default_backend() == "cpu":
        return 1
    sizes = range(1, jax.local_device_count() + 1)
    return max(count for count in sizes if problem.recipe.batch_size % count == 0)


def _even(networks: int, most: int, devices: int) -> int:
    """The size of as few groups as ``most`` networks at once allow; every device has as many of a group."""
    if most >= devices:
        most -= most % devices
    size = -(-networks // -(-networks // most))
    return size if size == 1 else -(-size // devices) * devices
