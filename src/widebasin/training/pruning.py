"""Pruning at initialization: which parameters of every network are removed."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, PyTree

from widebasin.data import key_for
from widebasin.models import BatchNormalization
from widebasin.sparsity import prunable, pruned_in_total, pruned_per_layer, random_mask, snip_mask
from widebasin.training.point import Point
from widebasin.training.problem import Model, Problem

# Axes whose value no mask depends on.
WITHOUT_EFFECT = ("method", "rho", "learning_rate", "weight_decay", "output_scale")
# Names of arrays that are added to the tokens of a transformer: they have two dimensions, but multiply nothing.
EMBEDDINGS = ("positions",)


def kernels(params: PyTree) -> PyTree:
    """Which arrays are pruned: those with two or more dimensions, except position embeddings of transformers."""
    return jax.tree_util.tree_map_with_path(
        lambda path, can_be: can_be and getattr(path[-1], "name", "") not in EMBEDDINGS, prunable(params)
    )


@dataclass(frozen=True)
class Pruner:
    """A way to choose the parameters to prune.

    Attributes:
        counted: (parameters or their shapes, sparsity) -> exact number of pruned parameters.
        mask: (key of the seed, parameters, () -> gradient of a batch, sparsity) -> mask of kept parameters.
    """

    counted: Callable[[PyTree, float], int]
    mask: Callable[[Key[Array, ""], PyTree, Callable[[], PyTree], float], PyTree]


def _counted_at_random(shapes: PyTree, sparsity: float) -> int:
    return sum(pruned_per_layer(shapes, sparsity, kernels))


def _counted_in_total(shapes: PyTree, sparsity: float) -> int:
    return pruned_in_total(shapes, sparsity, kernels)


_random_mask = jax.jit(functools.partial(random_mask, which=kernels))


def _at_random(key: Key[Array, ""], params: PyTree, gradient: Callable[[], PyTree], sparsity: float) -> PyTree:
    del gradient
    return _random_mask(key, params, jnp.asarray(pruned_per_layer(params, sparsity, kernels)))


def _by_snip(key: Key[Array, ""], params: PyTree, gradient: Callable[[], PyTree], sparsity: float) -> PyTree:
    del key
    return snip_mask(params, gradient(), _counted_in_total(params, sparsity), kernels)


PRUNERS: dict[str, Pruner] = {
    "random": Pruner(_counted_at_random, _at_random),
    "snip": Pruner(_counted_in_total, _by_snip),
}
"""Name on the command line -> pruner."""


def pruner_named(name: str) -> Pruner:
    """The pruner with this name; ``ValueError`` if there is none."""
    if name not in PRUNERS:
        raise ValueError(f"pruner must be one of {', '.join(PRUNERS)} if the sparsity is not 0, got {name!r}")
    return PRUNERS[name]


def pruned_parameters(shapes: PyTree, sparsity: float, pruner: str) -> int:
    """The exact number of parameters that a pruner removes; ``shapes`` are the parameters or their shapes."""
    return pruner_named(pruner).counted(shapes, sparsity) if sparsity else 0


def masks_of(
    problem: Problem, points: Sequence[Point], models: Model, sources: PyTree, batches: PyTree, keys: Key[Array, " n"]
) -> PyTree:
    """The masks of networks, with a leading axis over networks; dense networks keep everything.

    A mask depends on the seed, the sparsity and the pruner, for SNIP also on one batch of training examples and on the
    model's keyword arguments, such as dropout; never on the method, its radius, the learning rate or the weight decay.
    SNIP uses the loss of the model's own outputs, even if a centered model is trained. Normalization scales that start
    at 0 are set to 1 for SNIP, because they would hide the kernels before them.

    Args:
        problem: the problem, without wrappers (``Problem.plain``).
        points: the networks.
        models: models at initialization, leading axis over networks.
        sources: sources of the problem, leading axis over networks.
        batches: a training batch for each network.
        keys: keys for dropout.

    Raises:
        ValueError: if a network names an unknown pruner, or a gradient is not finite.
    """
    gradients_of = jax.jit(functools.partial(_gradients, problem))
    found: dict[Any, PyTree] = {}
    which = [
        (one.seed, *sorted((name, value) for name, value in one.axes if name not in WITHOUT_EFFECT)) for one in points
    ]
    for position, point in enumerate(points):
        if which[position] in found:
            continue
        sparsity = float(point["sparsity"])
        own = jax.tree.map(lambda leaf, at=position: leaf[at], (models, sources, batches, keys))
        # A dense network has the mask that takes nothing away.
        pruner = pruner_named(point["pruner"] if sparsity else "random")
        key = key_for(jax.random.key(point.seed), "pruning")
        mask = pruner.mask(key, own[0].params, lambda own=own: gradients_of(*own), sparsity)
        found[which[position]] = jax.tree.map(np.asarray, mask)
    return jax.tree.map(lambda *rows: jnp.asarray(np.stack(rows)), *(found[one] for one in which))


def _gradients(problem: Problem, model: Model, source: PyTree, batch: PyTree, key: Key[Array, ""]) -> PyTree:
    """The gradient of the loss on one batch, with normalization scales of 0 set to 1."""
    keys = jax.random.split(key, jax.tree.leaves(batch)[0].shape[0])

    def loss_fn(params: PyTree) -> Array:
        totals, _ = problem.losses(Model(params, model.state), source, batch, keys, training=True)
        return problem.minimized(totals, source)

    return jax.grad(loss_fn)(jax.tree.map(_opened, model.params, is_leaf=_is_normalization))


def _opened(node: Any) -> Any:
    if not _is_normalization(node):
        return node
    return eqx.tree_at(lambda one: one.scale, node, jnp.where(node.scale == 0, 1, node.scale))


def _is_normalization(node: Any) -> bool:
    return isinstance(node, BatchNormalization)
