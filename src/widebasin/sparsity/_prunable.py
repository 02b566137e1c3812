"""Which parameters can be pruned."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

Which = Callable[[PyTree], PyTree]
"""Selects the leaves to prune: a function of the parameters that returns booleans of the same structure, or of a
prefix of it. ``prunable`` is the usual one; ``widebasin.sam.by_path`` and ``by_dimensions`` create others."""


def is_floating(leaf: Any) -> bool:
    """Whether a leaf is a floating-point array, or the shape of one."""
    return hasattr(leaf, "shape") and hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.inexact)


def prunable(params: PyTree) -> PyTree:
    """Selects kernels: ``True`` at floating-point arrays with two or more dimensions, ``False`` everywhere else.

    Biases and normalization scales have one dimension and are kept.

    Args:
        params: parameters of one network, or their shapes. Stacked parameters of several networks have one dimension
            too many; use ``jax.vmap`` for these.
    """
    return jax.tree.map(lambda leaf: is_floating(leaf) and len(leaf.shape) >= 2, params)


def layers_to_prune(params: PyTree, which: Which) -> list[bool]:
    """For every leaf of ``params``, whether it is pruned.

    Raises:
        ValueError: if a selected leaf is not floating-point, or no leaf is selected.
        TypeError: if the selection does not consist of booleans.
    """

    def chosen(choice: Any, branch: PyTree) -> PyTree:
        if not isinstance(choice, bool):
            raise TypeError(
                f"which must return True or False for every leaf, got {choice!r}, of type {type(choice).__name__}"
            )
        return jax.tree.map(lambda _: choice, branch)

    flags = jax.tree.leaves(jax.tree.map(chosen, which(params), params))
    for (path, leaf), flag in zip(jax.tree.leaves_with_path(params), flags, strict=True):
        if flag and not is_floating(leaf):
            raise ValueError(
                f"which selects {jax.tree_util.keystr(path)}, which is not a floating-point array but "
                f"{type(leaf).__name__}; select kernels, as widebasin.sparsity.prunable does"
            )
    if not any(flags):
        raise ValueError("which selects none of the parameters, so there is nothing to prune")
    return flags
