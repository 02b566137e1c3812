"""Selects the lowest of many numbers: exactly the given count, even with ties."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Int, Shaped, UInt


@jax.jit
def lowest(numbers: UInt[Array, " entries"], count: Int[Array, ""]) -> Bool[Array, " entries"]:
    """Marks the ``count`` lowest numbers; among equal numbers, the first ones.

    A greater count gives a superset. ``count`` must be in ``0 .. entries`` and may be traced.
    """
    width = jnp.iinfo(numbers.dtype).bits

    # The greatest bound with at most ``count`` numbers below it is found bit by bit, the highest first: a sort takes
    # four times as long on a CPU.
    def lengthen(i: Int[Array, ""], bound: Array) -> Array:
        higher = bound | (jnp.ones_like(bound) << (width - 1 - i).astype(bound.dtype))
        return jnp.where(jnp.sum(numbers < higher) <= count, higher, bound)

    bound = jax.lax.fori_loop(0, width, lengthen, jnp.zeros((), numbers.dtype))
    below, equal = numbers < bound, numbers == bound
    return below | (equal & (jnp.cumsum(equal) <= count - jnp.sum(below)))


def checked_counts(counts: Shaped[Array, "..."], most: Sequence[int]) -> Int[Array, "..."]:
    """Numbers of weights to prune; those that are known before the program is compiled are checked.

    Raises:
        TypeError: if they are no whole numbers, such as a sparsity.
        ValueError: if one is negative, or more than there are weights.
    """
    if not jnp.issubdtype(counts.dtype, jnp.integer):
        raise TypeError(
            f"pruned must be whole numbers of weights, got {counts}; pruned_per_layer and pruned_in_total compute them "
            "from a sparsity"
        )
    if not isinstance(counts, Tracer):
        known = np.asarray(counts)
        if (known < 0).any() or (known > np.asarray(most).reshape(known.shape)).any():
            raise ValueError(f"pruned must be between 0 and the number of weights, {list(most)}, got {counts}")
    return counts
