"""How many weights are pruned: whole numbers, computed on the host in double precision."""

import math

import jax
from jaxtyping import PyTree

from widebasin.sparsity._prunable import Which, layers_to_prune, prunable


def pruned_per_layer(params: PyTree, sparsity: float, which: Which = prunable) -> tuple[int, ...]:
    """``round(sparsity n_l)`` for every layer ``l`` of ``n_l`` weights that is pruned: what ``random_mask`` takes.

    Halves are rounded to the even number. A sparsity of 0 prunes nothing and 1 everything.

    Args:
        params: parameters of one network, or their shapes (``jax.eval_shape``).
        sparsity: share of the weights that are pruned, in [0, 1].
        which: the layers that are pruned; kernels by default.

    Returns:
        A count for every layer that is pruned, in the order of the leaves of ``params``.

    Raises:
        ValueError: if ``sparsity`` is no number in [0, 1].
    """
    checked = _checked(sparsity)
    return tuple(round(checked * size) for size in _sizes(params, which))


def pruned_in_total(params: PyTree, sparsity: float, which: Which = prunable) -> int:
    """``round(sparsity n)`` with the ``n`` weights of all layers that are pruned: what ``snip_mask`` takes.

    Arguments, rounding and errors are those of ``pruned_per_layer``; the sum of its counts may differ by rounding.
    """
    return round(_checked(sparsity) * sum(_sizes(params, which)))


def _checked(sparsity: float) -> float:
    if not 0 <= sparsity <= 1:
        raise ValueError(
            f"sparsity must be a share in [0, 1] (0.75 prunes three weights of four, 0 none), got {sparsity!r}"
        )
    return float(sparsity)


def _sizes(params: PyTree, which: Which) -> list[int]:
    flags = layers_to_prune(params, which)
    return [math.prod(leaf.shape) for leaf, flag in zip(jax.tree.leaves(params), flags, strict=True) if flag]
