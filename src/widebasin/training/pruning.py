"""Which parameters of every replicate are pruned at initialization."""

import functools
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PyTree

from widebasin.data import key_for
from widebasin.models import BatchNormalization
from widebasin.sparsity import prunable, pruned_in_total, pruned_per_layer, random_mask, snip_mask
from widebasin.training.preparation import batches_of
from widebasin.training.task import Point, Task

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
    task: Task, replicates: Sequence[Point], params: PyTree, model: list[Array], batches: tuple[Array, Array]
) -> PyTree:
    """The masks of replicates, leading axis over them; those of dense ones keep everything.

    A mask depends on the seed, the sparsity and the pruner, and SNIP's on one batch of training examples; never on the
    method or its radius. SNIP takes the loss of the model's own outputs, also where a centered model is trained, and
    scales of normalization that start at 0 as 1: they would hide the kernels before them.

    Args:
        task: what is trained.
        replicates: the networks.
        params: at initialization, leading axis over replicates.
        model: the models' states, likewise.
        batches: the (stored) inputs and the targets of a training batch for each replicate.

    Raises:
        ValueError: if a replicate is to be pruned by no pruner that there is, or a gradient is not finite.
    """
    inputs, targets = batches
    found: dict[Any, PyTree] = {}
    for position, replicate in enumerate(replicates):
        which = (replicate.seed, replicate.label_noise, replicate.sparsity, replicate.pruner)
        if which in found:
            continue
        own = jax.tree.map(lambda leaf, at=position: leaf[at], (params, model))
        pruned = pruned_parameters(own[0], replicate.sparsity, replicate.pruner)
        if replicate.pruner == "snip":
            gradients = _gradients(task, *own, inputs[position], targets[position])
            mask = snip_mask(own[0], gradients, pruned, kernels)
        else:
            key = key_for(jax.random.key(replicate.seed), "pruning")
            mask = _random_mask(key, own[0], jnp.asarray(pruned_per_layer(own[0], replicate.sparsity, kernels)))
        found[which] = jax.tree.map(np.asarray, mask)
    own_masks = [found[r.seed, r.label_noise, r.sparsity, r.pruner] for r in replicates]
    return jax.tree.map(lambda *rows: jnp.asarray(np.stack(rows)), *own_masks)


_random_mask = jax.jit(functools.partial(random_mask, which=kernels))


@functools.partial(jax.jit, static_argnums=0)
def _gradients(task: Task, params: PyTree, model: list[Array], inputs: Array, targets: Array) -> PyTree:
    """The gradient of the mean loss on one batch, with scales of 1 for those of 0."""

    def loss_fn(params: PyTree) -> Array:
        outputs, _ = task.network.outputs(params, model, task.dataset.prepared(inputs), training=True)
        return jnp.mean(jax.vmap(task.objective.loss)(outputs, targets))

    return jax.grad(loss_fn)(jax.tree.map(_opened, params, is_leaf=_is_normalization))


def _opened(node: Any) -> Any:
    if not _is_normalization(node):
        return node
    return eqx.tree_at(lambda one: one.scale, node, jnp.where(node.scale == 0, 1, node.scale))


def _is_normalization(node: Any) -> bool:
    return isinstance(node, BatchNormalization)


def first_batch(task: Task, seed: int) -> Int[Array, " batch_size"]:
    """Positions, among the training examples, of the first batch that networks of a seed train on."""
    return batches_of(task, key_for(jax.random.key(seed), "training"), 0)[0]
