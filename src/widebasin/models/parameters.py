"""Counting parameters."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree


def count_parameters(model: PyTree) -> int:
    """Number of scalars in the floating-point arrays (or their shapes) of a model, without the state that it starts in.

    The initial running statistics of a model that did not come from ``equinox.nn.make_with_state`` do not count.
    """
    leaves = jax.tree.leaves(model, is_leaf=lambda node: isinstance(node, eqx.nn.StateIndex))
    return sum(
        math.prod(leaf.shape) for leaf in leaves if hasattr(leaf, "shape") and jnp.issubdtype(leaf.dtype, jnp.inexact)
    )
