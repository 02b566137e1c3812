"""Random pruning."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key, PyTree

from widebasin.sparsity._lowest import checked_counts, lowest
from widebasin.sparsity._masks import mask_of
from widebasin.sparsity._prunable import Which, layers_to_prune, prunable


def random_mask(
    key: Key[Array, ""],
    params: PyTree,
    pruned: Sequence[int] | Int[Array | np.ndarray, " layers"],
    which: Which = prunable,
) -> PyTree:
    """Prunes weights drawn uniformly, the same fraction in every layer.

    For the same key, a mask with greater counts prunes a superset.

    Args:
        key: key that determines which weights are pruned.
        params: parameters, or their shapes.
        pruned: number of weights to prune in every pruned layer, from ``pruned_per_layer``; may be traced.
        which: the layers to prune, as given to ``pruned_per_layer``.

    Returns:
        A pytree with the structure of ``params``: booleans in the shape of every pruned leaf, ``True`` where a weight
        is kept; a single ``True`` at every other leaf.

    Raises:
        ValueError: if ``pruned`` does not have one count per pruned layer, or one is out of range.
        TypeError: if the counts are no whole numbers.

    Source: Liu et al. 2022, "The Unreasonable Effectiveness of Random Pruning" (arXiv 2202.02643), uniform ratios.

    Example:
        >>> import jax
        >>> from widebasin import sparsity
        >>> params = {"kernel": jax.numpy.ones((4, 4)), "bias": jax.numpy.ones(4)}
        >>> pruned = sparsity.pruned_per_layer(params, 0.75)
        >>> mask = sparsity.random_mask(jax.random.key(0), params, pruned)
        >>> pruned, int(mask["kernel"].sum()), mask["bias"], int(sparsity.remaining(params, mask))
        ((12,), 4, True, 8)
    """
    flags = layers_to_prune(params, which)
    counts = jnp.asarray(pruned)
    if counts.shape != (sum(flags),):
        raise ValueError(
            f"pruned must have one count for each of the {sum(flags)} pruned layers, "
            f"got shape {counts.shape}; pruned_per_layer computes them"
        )
    sizes = [math.prod(leaf.shape) for leaf, flag in zip(jax.tree.leaves(params), flags, strict=True) if flag]
    counts = checked_counts(counts, sizes)
    # Whole numbers of 32 bits: uniform floating-point numbers have only 2^23 values, and ties go by position.
    draws = jnp.split(jax.random.bits(key, (sum(sizes),), jnp.uint32), np.cumsum(sizes)[:-1])
    return mask_of(params, flags, [lowest(draw, counts[i]) for i, draw in enumerate(draws)])
