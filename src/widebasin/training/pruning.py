"""Which parameters of every network are pruned at initialization."""

import functools
from collections.abc import Sequence
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

PRUNERS = ("random", "snip")
# Names of arrays that are added to the tokens of a transformer: they have two dimensions, but multiply nothing.
EMBEDDINGS = ("positions",)


def kernels(params: PyTree) -> PyTree:
    """Which arrays are pruned: those of two dimensions or more, but for the positions of transformers."""
    return jax.tree_util.tree_map_with_path(
        lambda path, can_be: can_be and getattr(path[-1], "name", "") not in EMBEDDINGS, prunable(params)
    )


def pruned_parameters(shapes: PyTree, sparsity: float, pruner: str) -> int:
    """How many parameters a pruner takes away, exactly; ``shapes`` are the parameters or their shapes."""
    if sparsity == 0:
        return 0
    if pruner == "random":
        return sum(pruned_per_layer(shapes, sparsity, kernels))
    if pruner == "snip":
        return pruned_in_total(shapes, sparsity, kernels)
    raise ValueError(f"pruner must be one of {', '.join(PRUNERS)} where the sparsity is not 0, got {pruner!r}")


def masks_of(
    problem: Problem, points: Sequence[Point], models: Model, sources: PyTree, batches: PyTree, keys: Key[Array, " n"]
) -> PyTree:
    """The masks of networks, leading axis over them; those of dense ones keep everything.

    A mask depends on the seed, the sparsity and the pruner, and SNIP's on one batch of training examples; never on the
    method or its radius. SNIP takes the loss of the model's own outputs, also where a centered model is trained, and
    scales of normalization that start at 0 as 1: they would hide the kernels before them.

    Args:
        problem: what is trained, without what wraps it (``Problem.plain``).
        points: the networks.
        models: at initialization, leading axis over networks.
        sources: of the problem, likewise.
        batches: a training batch for each network.
        keys: of dropout.

    Raises:
        ValueError: if a network is to be pruned by no pruner that there is, or a gradient is not finite.
    """
    gradients_of = jax.jit(functools.partial(_gradients, problem))
    found: dict[Any, PyTree] = {}
    which = [(one.seed, one.get("label_noise", 0.0), one["sparsity"], one["pruner"]) for one in points]
    for position, point in enumerate(points):
        if which[position] in found:
            continue
        own = jax.tree.map(lambda leaf, at=position: leaf[at], (models, sources, batches, keys))
        params, sparsity = own[0].params, float(point["sparsity"])
        pruned = pruned_parameters(params, sparsity, str(point["pruner"]))
        if point["pruner"] == "snip":
            mask = snip_mask(params, gradients_of(*own), pruned, kernels)
        else:
            key = key_for(jax.random.key(point.seed), "pruning")
            mask = _random_mask(key, params, jnp.asarray(pruned_per_layer(params, sparsity, kernels)))
        found[which[position]] = jax.tree.map(np.asarray, mask)
    return jax.tree.map(lambda *rows: jnp.asarray(np.stack(rows)), *(found[one] for one in which))


_random_mask = jax.jit(functools.partial(random_mask, which=kernels))


def _gradients(problem: Problem, model: Model, source: PyTree, batch: PyTree, key: Key[Array, ""]) -> PyTree:
    """The gradient of what is minimized on one batch, with scales of 1 for those of 0."""
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
