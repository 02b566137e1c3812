"""Numbers of pruned weights: integers, computed on the host in double precision."""

import math

import jax
from jaxtyping import PyTree

from widebasin.sparsity._prunable import Which, layers_to_prune, prunable


def pruned_per_layer(params: PyTree, sparsity: float, which: Which = prunable) -> tuple[int, ...]:
    """``round(sparsity n_l)`` for every pruned layer ``l`` with ``n_l`` weights; the argument of ``random_mask``.

    Halves are rounded to the even number. A sparsity of 0 prunes nothing and 1 everything.

    Args:
        params: parameters of one network, or their shapes (``jax.eval_shape``).
        sparsity: fraction of the weights that are pruned, in [0, 1].
        which: the layers to prune; by default kernels.

    Returns:
        One count per pruned layer, in the order of the leaves of ``params``.

    Raises:
        ValueError: if ``sparsity`` is not a number in [0, 1].
    """
    checked = _checked(sparsity)
    return tuple(round(checked * size) for size in _sizes(params, which))


def pruned_in_total(params: PyTree, sparsity: float, which: Which = prunable) -> int:
    """``round(sparsity n)`` for the ``n`` weights of all pruned layers together; the argument of ``snip_mask``.

    Arguments, rounding and errors are those of ``pruned_per_layer``; the sum of its counts may differ by rounding.
    """
    return round(_checked(sparsity) * sum(_sizes(params, which)))


def _checked(sparsity: float) -> float:
    if not 0 <= sparsity <= 1:
        raise ValueError(
            f"sparsity must be a fraction in [0, 1] (0.75 prunes three of four weights, 0 none), got {sparsity!r}"
        )
    return float(sparsity)


def _sizes(params: PyTree, which: Which) -> list[int]:
    flags = layers_to_prune(params, which)
    return [math.prod(leaf.shape) for leaf, flag in zip(jax.tree.leaves(params), flags, strict=True) if flag]
