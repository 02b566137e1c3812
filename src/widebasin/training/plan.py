"""Plans of execution: how many networks at once, and whether an epoch is one program or runs step by step."""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import jax

from widebasin.models import count_parameters, is_convolutional
from widebasin.training.compilation import cores
from widebasin.training.memory import COPIES_OF_PARAMETERS, bytes_ahead, bytes_in_training, bytes_of
from widebasin.training.network import computing_in
from widebasin.training.problem import Problem

LOOPS = ("scan", "step")

# Bytes for the networks of one program, of a laptop's memory or of an accelerator's that does not tell its own.
MEMORY = {"cpu": 2 * 2**30, "gpu": 16 * 2**30, "tpu": 8 * 2**30}
# On a core of a CPU a few networks side by side take as long per network as many, within half a million parameters;
# of the smallest, whose epochs take less than their dispatch, more pay.
PARAMETERS_AT_ONCE_ON_CPU = 500_000
FEW_AT_ONCE_ON_CPU = 3
SMALLEST_AT_ONCE_ON_CPU = 12
SMALLEST_PARAMETERS = 500
# Of the memory that an accelerator tells, what the networks of one program may take.
SHARE_OF_MEMORY = 0.9

Item = TypeVar("Item")


@dataclass(frozen=True)
class Plan:
    """A plan of execution. It changes speed only; numbers agree between plans to float tolerance.

    The exception is ``microbatch`` with batch normalization. Under one plan numbers agree to the last bit, whatever
    other networks are in the group, because groups are padded to one size.

    Attributes:
        networks_at_once: number of networks that one program trains by ``vmap``; 1 means one by one, without ``vmap``.
        loop: ``scan``, a whole epoch in one compiled loop, or ``step``, each step dispatched from the host.
        platform: the platform it was chosen for: ``cpu``, ``gpu`` or ``tpu``.
        devices: number of devices of each host, over which the networks of a program, or the batches of one network,
            are split; a CPU core may be a device.
        workers: processes that decode images, if images are streamed from disk.
        hosts: number of hosts, over whose devices the batches of one network are split.
        sharded: whether the large arrays of one network's state are split over all devices too, each of which then
            holds its share of them (fully sharded data parallelism); otherwise every device has a copy.
        microbatch: examples per part of a batch; gradients of the parts are accumulated to save memory; by default the
            whole batch. Batch normalization uses the statistics of each part separately.
    """

    networks_at_once: int
    loop: str
    platform: str
    devices: int = 1
    workers: int = 0
    microbatch: int | None = None
    hosts: int = 1
    sharded: bool = False

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
        if self.hosts < 1:
            raise ValueError(f"hosts must be at least 1, got {self.hosts}")
        if self.networks_at_once > 1 and (self.hosts > 1 or self.sharded):
            raise ValueError(
                f"networks_at_once must be 1 for several hosts or a sharded state, got {self.networks_at_once}"
            )

    @property
    def devices_of_all(self) -> int:
        """Number of devices of all hosts together."""
        return self.devices * self.hosts

    def groups(self, networks: Sequence[Item]) -> Iterator[tuple[Item, ...]]:
        """Splits networks into as few groups as the plan allows, with sizes that differ by at most one."""
        count = -(-len(networks) // self.networks_at_once)
        short, longer = divmod(len(networks), count) if count else (0, 0)
        start = 0
        for group in range(count):
            stop = start + short + (group < longer)
            yield tuple(networks[start:stop])
            start = stop


def choose_plan(problem: Problem, networks: int, memory: int | None = None) -> Plan:
    """Chooses the plan for a problem and a number of networks on the default device.

    Args:
        problem: what the networks are trained on.
        networks: how many there are.
        memory: bytes of an accelerator for its networks and the data that they share; by default what the device tells,
            or ``MEMORY``.

    Batching saves overhead between operations, which matters if a step takes a millisecond, as for a dense network.

    * Dense networks and attention are batched and scanned. On a CPU, every core trains three at once, or twelve with
      fewer than 500 parameters, up to half a million parameters per core; larger networks go one by one. Time per epoch
      and network for one, two, six, ten and thirty at once on two cores: 9.8, 6.4, 7.1, 4.4 and 3.5 ms (25,000
      parameters), 21, 12, 11, 9.7 and 13 ms (76,000), and for one, two and six at once 55, 30 and 33 ms (250,000) and
      141, 112 and 114 ms (890,000). The plan does not depend on the number of networks, so neither do a network's
      numbers, and a sweep can be extended.
    * On accelerators, as many networks run at once as fit in memory, by ``memory.bytes_in_training``: dense ones,
      attention, LSTMs. How fast this is was not measured.
    * Convolutions on CPU go one by one and step by step. ``vmap`` makes them grouped convolutions: six residual
      networks at once take 2.4 (digits, 8 filters) to 3.8 times as long per network (images of 32 x 32, 4 filters). XLA
      runs them slowly within a compiled loop: an epoch as one loop takes 6.6 and 8.8 times as long. With 2 filters on
      the digits the loop does not matter, and three at once take 1.3 times as long. ``models.nature.Blocks`` multiplies
      matrices instead and goes by its size, like dense networks.
    * Several hosts train one network together, which is sharded if its state takes more than a device's memory.
    * Where the host computes a part of the epoch, every device trains one network at a time, and each step is
      dispatched, so that one can interrupt it.

    ``widebasin bench plans`` measures this where you compute; the figures are of 2 cores of an AMD EPYC.
    """
    platform = jax.default_backend()
    structure = problem.structure
    parameters, one = count_parameters(structure), functools.partial(_plan_of_one, problem, platform)
    if problem.from_disk:
        return one("step", parameters, cores())
    if is_convolutional(structure):
        return one("step" if platform == "cpu" else "scan", parameters)
    loop = "step" if problem.on_host else "scan"
    if jax.process_count() > 1:
        return one(loop, parameters)
    if platform == "cpu":
        most = MEMORY["cpu"] // (4 * COPIES_OF_PARAMETERS * parameters + problem.bytes_of_epoch)
        devices = jax.local_device_count()
        few = SMALLEST_AT_ONCE_ON_CPU if parameters < SMALLEST_PARAMETERS else FEW_AT_ONCE_ON_CPU
        # What the host plays, it plays one after the other: more networks, or copies to fill a group up, cost as many.
        few = 1 if problem.on_host else few
        at_once = devices * min(few, PARAMETERS_AT_ONCE_ON_CPU // parameters, most // devices)
    else:
        devices = min(jax.local_device_count(), networks)
        fitting = 1 if problem.on_host else _fitting(problem, platform, memory)
        at_once = _even(networks, max(1, devices * fitting), devices)
    if at_once <= 1:
        return one(loop, parameters)
    return Plan(at_once, loop, platform, min(devices, at_once))


def _fitting(problem: Problem, platform: str, memory: int | None) -> int:
    """Number of networks that fit in the memory of one accelerator, beside the data that they share."""
    memory = memory or _memory(platform)
    with computing_in(problem.recipe.precision):
        # The next group has its data too.
        left = max(0, memory - 2 * bytes_of(problem.data))
        return left // (bytes_in_training(problem) + bytes_ahead(problem))


def _memory(platform: str) -> int:
    """Bytes of a device that networks may take."""
    told = (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit", 0)
    return int(SHARE_OF_MEMORY * told) or MEMORY.get(platform, MEMORY["cpu"])


def _plan_of_one(problem: Problem, platform: str, loop: str, parameters: int, workers: int = 0) -> Plan:
    """The plan of one network on all devices of all hosts."""
    hosts, devices = jax.process_count(), devices_of_one(problem.recipe.batch_size)
    several = platform != "cpu" and hosts * devices > 1
    size = 8 if problem.recipe.precision == "float64" else 4
    sharded = several and size * COPIES_OF_PARAMETERS * parameters > _memory(platform)
    return Plan(1, loop, platform, devices, workers, hosts=hosts, sharded=sharded)


def devices_of_one(batch_size: int, sharded: bool = False) -> int:
    """Number of devices of each host to split the batches of one network over, and its state if it is sharded.

    The cores of a CPU share a batch anyway. It is 1 where the hosts cannot split a batch evenly.
    """
    if jax.default_backend() == "cpu" and not sharded:
        return 1
    sizes, hosts = range(1, jax.local_device_count() + 1), jax.process_count()
    return max((count for count in sizes if batch_size % (count * hosts) == 0), default=1)


def _even(networks: int, most: int, devices: int) -> int:
    """The group size for as few groups as ``most`` networks at once allow, with equally many networks per device."""
    if most >= devices:
        most -= most % devices
    size = -(-networks // -(-networks // most))
    return size if size == 1 else -(-size // devices) * devices
