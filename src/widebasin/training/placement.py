"""Where networks are trained: several in one program, and on which devices."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from widebasin.training.compilation import compiler_options
from widebasin.training.plan import Plan
from widebasin.training.problem import Share
from widebasin.training.state import TrainingState

# Name of the axis of the mesh.
DEVICES = "devices"
# Elements of an array from which on it pays to split it over devices: smaller ones, such as biases, cost a message.
SHARDED_FROM = 2**12


class Placement:
    """Turns functions of one network into compiled programs for all networks of a group, as the plan says.

    Several networks are vectorized by ``jax.vmap``; several devices each have some of them, without communication. A
    single network is on all devices, of all hosts, which split its batches, and the large arrays of its state if it is
    sharded.

    Raises:
        ValueError: if there are not as many hosts and devices as the plan says.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.many = plan.networks_at_once > 1
        self.mesh = Mesh(np.asarray(_devices(plan)), (DEVICES,)) if plan.devices_of_all > 1 else None

    @property
    def share(self) -> Share | None:
        """What this host reads of every batch; ``None`` if it is alone."""
        return Share(jax.process_index(), self.plan.hosts, self.plan.devices) if self.plan.hosts > 1 else None

    def compiled(
        self,
        one: Callable[..., Any],
        shared: int = 0,
        donate: bool = False,
        once: bool = False,
        in_turn: bool = False,
    ) -> Callable[..., Any]:
        """A program for all networks, with a leading axis over networks in every argument and result.

        Args:
            one: a function of one network.
            shared: number of last arguments that are the same for all networks and have no such axis.
            donate: whether the memory of the first argument may be reused.
            once: whether it runs only once per group, so that fast compilation matters more than speed.
            in_turn: whether a device computes one network after the other. Needed on CPU where ``one`` may factorize
                matrices: several batched factorizations in a program, as by orthogonal initialization under ``vmap``,
                wait for each other's threads for ever.
        """
        mapped = self._in_turn if in_turn else jax.vmap
        lifted = self._side_by_side(one, shared, mapped) if self.many else self._alone(one, shared)
        return jax.jit(lifted, donate_argnums=0 if donate else (), compiler_options=compiler_options(once=once))

    def _side_by_side(self, one: Callable[..., Any], shared: int, mapped: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(one)
        def lifted(*arguments: Any) -> Any:
            own = len(arguments) - shared
            batched = mapped(one, in_axes=(0,) * own + (None,) * shared)
            if self.mesh is None:
                return batched(*arguments)
            specs = (PartitionSpec(DEVICES),) * own + (PartitionSpec(),) * shared
            return jax.shard_map(
                batched, mesh=self.mesh, in_specs=specs, out_specs=PartitionSpec(DEVICES), check_vma=False
            )(*arguments)

        return lifted

    @staticmethod
    def _in_turn(one: Callable[..., Any], in_axes: tuple[int | None, ...]) -> Callable[..., Any]:
        own = sum(axis == 0 for axis in in_axes)

        def batched(*arguments: Any) -> Any:
            return jax.lax.map(lambda row: one(*row, *arguments[own:]), arguments[:own])

        return batched

    def _alone(self, one: Callable[..., Any], shared: int) -> Callable[..., Any]:
        @functools.wraps(one)
        def lifted(*arguments: Any) -> Any:
            own = len(arguments) - shared
            squeezed = jax.tree.map(lambda leaf: leaf[0], arguments[:own])
            return self.placed(jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], one(*squeezed, *arguments[own:])))

        return lifted

    def placed(self, results: PyTree) -> PyTree:
        """Traced arrays of one network: on all devices, but for the large ones of a sharded ``TrainingState``."""
        if self.mesh is None or self.many:
            return results

        def place(node: Any) -> Any:
            split = self.plan.sharded and isinstance(node, TrainingState)
            return jax.tree.map(
                lambda leaf: jax.lax.with_sharding_constraint(
                    leaf, self._sharding(self._sharded(leaf.shape) if split else PartitionSpec())
                ),
                node,
            )

        return jax.tree.map(place, results, is_leaf=lambda node: isinstance(node, TrainingState))

    def _sharded(self, shape: tuple[int, ...]) -> PartitionSpec:
        """The largest dimension that the devices can split evenly is split; small arrays are on all devices."""
        fits = [axis for axis, size in enumerate(shape) if size % self.plan.devices_of_all == 0]
        if math.prod(shape) < SHARDED_FROM or not fits:
            return PartitionSpec()
        largest = max(fits, key=lambda axis: shape[axis])
        return PartitionSpec(*(DEVICES if axis == largest else None for axis in range(len(shape))))

    def _sharding(self, spec: PartitionSpec) -> NamedSharding:
        assert self.mesh is not None
        return NamedSharding(self.mesh, spec)

    def shared(self, tree: PyTree) -> PyTree:
        """Arrays that all networks share, on all devices."""
        return self._put(tree, PartitionSpec())

    def own(self, tree: PyTree) -> PyTree:
        """Arrays with a leading axis over networks: several networks are split over devices, one is on all devices."""
        return self._put(tree, PartitionSpec(DEVICES) if self.many else PartitionSpec())

    def _put(self, tree: PyTree, spec: PartitionSpec) -> PyTree:
        if self.plan.hosts == 1:
            # Not ``jnp.asarray``, which compiles and keeps a small program for every shape.
            return jax.device_put(tree, None if self.mesh is None else self._sharding(spec))
        sharding = self._sharding(spec)

        # ``device_put`` would send the arrays to the other hosts to compare them.
        def put(leaf: Any) -> Any:
            whole = np.asarray(leaf)
            return jax.make_array_from_callback(whole.shape, sharding, lambda index: whole[index])

        return jax.tree.map(put, tree)

    def on_one_device(self, tree: PyTree) -> PyTree:
        """Arrays with a leading axis over networks, on one device where several share the networks.

        There, rows can be taken. On devices that share the rows, taking one is a program in which they wait for each
        other, and a process in which two threads ran such programs at once was seen to abort.
        """
        if self.mesh is None or not self.many:
            return tree
        return jax.device_put(jax.device_get(tree), self.mesh.devices.flat[0])

    def put_together(self, batch: PyTree) -> PyTree:
        """A batch of one network, on the devices that split it, of the parts that the hosts have of it."""
        sharding = self._sharding(PartitionSpec(None, DEVICES))
        return jax.tree.map(lambda leaf: jax.make_array_from_process_local_data(sharding, leaf), batch)

    def split(self, batch: PyTree) -> PyTree:
        """A batch, split over devices if one network trains on several devices."""
        if self.mesh is None or self.many:
            return batch
        sharding = self._sharding(PartitionSpec(DEVICES))
        return jax.tree.map(lambda leaf: jax.lax.with_sharding_constraint(leaf, sharding), batch)

    def filled(self, networks: int) -> int:
        """The padded size of a group: all groups of a plan have the same size and share one program."""
        at_once = -(-self.plan.networks_at_once // self.plan.devices) * self.plan.devices
        return max(at_once, networks) if self.many else networks


def _devices(plan: Plan) -> list[Any]:
    """As many devices of every host as the plan says, host by host."""
    if plan.hosts == 1:
        return jax.local_devices()[: plan.devices]
    found = [
        [device for device in jax.devices() if device.process_index == host][: plan.devices]
        for host in range(jax.process_count())
    ]
    if [len(of_host) for of_host in found] != [plan.devices] * plan.hosts:
        raise ValueError(
            f"the plan is for {plan.hosts} hosts with {plan.devices} devices each, but here are {len(found)} with "
            f"{', '.join(str(len(of_host)) for of_host in found)}: start the same command on that many equal hosts"
        )
    return [device for of_host in found for device in of_host]
