"""Selects the lowest of many numbers: exactly the given count, even with ties."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, UInt


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
