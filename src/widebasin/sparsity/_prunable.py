"""Which parameters can be pruned at all."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

Which = Callable[[PyTree], PyTree]
"""Which leaves are pruned: a function of the parameters that returns booleans of the same structure, or of a prefix of
it. ``prunable`` is the usual one; ``widebasin.sam.by_path`` and ``by_dimensions`` make others."""


def is_floating(leaf: Any) -> bool:
    """Whether a leaf is an array of numbers to train, or the shape of one."""
    return hasattr(leaf, "shape") and hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.inexact)


def prunable(params: PyTree) -> PyTree:
    """Kernels: ``True`` at floating-point arrays of two dimensions or more, ``False`` everywhere else.

    Biases and the scales of normalization have one dimension and stay.

    Args:
        params: parameters of one network, or their shapes. Those of several networks, stacked along a leading axis,
            have a dimension too many: within ``jax.vmap`` they have not.
    """
    return jax.tree.map(lambda leaf: is_floating(leaf) and len(leaf.shape) >= 2, params)


def layers_to_prune(params: PyTree, which: Which) -> list[bool]:
    """For every leaf of ``params`` whether it is pruned.

    Raises:
        ValueError: if a leaf is chosen that holds no floating-point numbers, or no leaf is chosen.
        TypeError: if the choice is not one of booleans.
    """

    def chosen(choice: Any, branch: PyTree) -> PyTree:
        if not isinstance(choice, bool):
            raise TypeError(
                f"which must return True or False for every leaf, got a {type(choice).__name__}: {choice!r}"
            )
        return jax.tree.map(lambda _: choice, branch)

    flags = jax.tree.leaves(jax.tree.map(chosen, which(params), params))
    for (path, leaf), flag in zip(jax.tree.leaves_with_path(params), flags, strict=True):
        if flag and not is_floating(leaf):
            raise ValueError(
                f"which chooses {jax.tree_util.keystr(path)}, which is no floating-point array but "
                f"{type(leaf).__name__}; choose kernels, as widebasin.sparsity.prunable does"
            )
    if not any(flags):
        raise ValueError("which chooses none of the parameters, so there is nothing to prune")
    return flags
