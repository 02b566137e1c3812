"""Counting parameters."""

import equinox as eqx
import jax
from jaxtyping import PyTree


def count_parameters(model: PyTree) -> int:
    """Number of scalars in the floating-point arrays (or their shapes) of a model."""
    is_parameter = lambda leaf: eqx.is_inexact_array(leaf) or isinstance(leaf, jax.ShapeDtypeStruct)  # noqa: E731
    return sum(leaf.size for leaf in jax.tree.leaves(eqx.filter(model, is_parameter)))
