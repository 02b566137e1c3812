"""Counting parameters."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import PyTree


def count_parameters(model: PyTree) -> int:
    """Number of scalars in the floating-point arrays (or their shapes) of a model."""
    return sum(
        math.prod(leaf.shape)
        for leaf in jax.tree.leaves(model)
        if hasattr(leaf, "shape") and jnp.issubdtype(leaf.dtype, jnp.inexact)
    )
