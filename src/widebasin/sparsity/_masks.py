"""Masks: ``True`` where a parameter is kept."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PyTree

from widebasin.sparsity._prunable import is_floating


def apply_mask(params: PyTree, mask: PyTree) -> PyTree:
    """The parameters where the mask is ``True``, and exactly 0 elsewhere, even for NaN or infinity.

    Within a loss, ``loss_fn(apply_mask(params, mask))`` has a gradient that is exactly 0 at pruned weights, so that
    neither an ascent step nor momentum moves them. Leaves that are not floating-point arrays are unchanged.

    Args:
        params: any pytree.
        mask: from ``random_mask`` or ``snip_mask``: booleans that broadcast to the leaves of ``params``.

    Raises:
        ValueError: if an array of booleans does not broadcast to the shape of its leaf.
    """

    def keep(leaf: Any, stays: Any) -> Any:
        if not is_floating(leaf):
            return leaf
        if jnp.ndim(stays) and jnp.broadcast_shapes(jnp.shape(stays), leaf.shape) != leaf.shape:
            raise ValueError(f"mask must fit params, got shape {jnp.shape(stays)} for a leaf of shape {leaf.shape}")
        return jnp.where(stays, leaf, jnp.zeros_like(leaf))

    return jax.tree.map(keep, params, mask)


def remaining(params: PyTree, mask: PyTree) -> Int[Array, ""]:
    """Number of parameters that the mask keeps: entries of all floating-point arrays, including biases."""
    counts = [
        # A leaf that is not pruned has one boolean for all of its entries.
        jnp.sum(jnp.asarray(stays)) * (math.prod(leaf.shape) // jnp.size(stays))
        for leaf, stays in zip(jax.tree.leaves(params), jax.tree.leaves(mask), strict=True)
        if is_floating(leaf) and math.prod(leaf.shape)
    ]
    return jnp.sum(jnp.asarray(counts, jnp.int32))


def mask_of(params: PyTree, flags: list[bool], pruned: list[Bool[Array, "..."]]) -> PyTree:
    """The mask with ``pruned`` at the pruned leaves of ``params``, and a single ``True`` at every other leaf."""
    layers = iter(pruned)
    leaves, structure = jax.tree.flatten(params)
    return structure.unflatten(
        ~next(layers).reshape(leaf.shape) if flag else True for leaf, flag in zip(leaves, flags, strict=True)
    )
