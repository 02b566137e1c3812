"""Where networks are trained: several in one program, and on which devices."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from widebasin.training.compilation import compiler_options
from widebasin.training.plan import Plan

# Name of the axis of the mesh.
DEVICES = "devices"


class Placement:
    """Turns functions of one network into compiled programs for all networks of a group, as the plan says.

    Several networks are vectorized by ``jax.vmap``; several devices each have some of them, without communication. A
    single network is on all devices, which split its batches.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.many = plan.networks_at_once > 1
        self.mesh = Mesh(np.asarray(jax.local_devices()[: plan.devices]), (DEVICES,)) if plan.devices > 1 else None

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
            return jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], one(*squeezed, *arguments[own:]))

        return lifted

    def shared(self, tree: PyTree) -> PyTree:
        """Arrays that all networks share, on all devices."""
        # Not ``jnp.asarray``, which compiles and keeps a small program for every shape.
        return jax.device_put(tree, None if self.mesh is None else NamedSharding(self.mesh, PartitionSpec()))

    def own(self, tree: PyTree) -> PyTree:
        """Arrays with a leading axis over networks: several networks are split over devices, one is on all devices."""
        spec = PartitionSpec(DEVICES) if self.many else PartitionSpec()
        return jax.device_put(tree, None if self.mesh is None else NamedSharding(self.mesh, spec))

    def split(self, batch: PyTree) -> PyTree:
        """A batch, split over devices if one network trains on several devices."""
        if self.mesh is None or self.many:
            return batch
        sharding = NamedSharding(self.mesh, PartitionSpec(DEVICES))
        return jax.tree.map(lambda leaf: jax.lax.with_sharding_constraint(leaf, sharding), batch)

    def filled(self, networks: int) -> int:
        """The padded size of a group: all groups of a plan have the same size and share one program."""
        at_once = -(-self.plan.networks_at_once // self.plan.devices) * self.plan.devices
        return max(at_once, networks) if self.many else networks
