"""Random keys by purpose."""

import math
import zlib

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key


def key_for(key: Key[Array, ""], purpose: str) -> Key[Array, ""]:
    """The key for one purpose ("split", "initialization", ...): ``fold_in(key, crc32(purpose))``.

    Keys depend on the name of the purpose, never on the order of calls. A new source of randomness therefore changes no
    other, and networks with the same seed share split, initialization, batch order and noisy labels, whatever their
    method and radius.
    """
    return jax.random.fold_in(key, zlib.crc32(purpose.encode()))


def permutation(key: Key[Array, ""], count: int) -> Int[Array, " count"]:
    """A random permutation of the numbers below ``count``.

    It equals ``jax.random.permutation``: the numbers are sorted by 32 random bits each, repeatedly if equal bits would
    not be rare. Bits and position are sorted as one 64-bit number, because on a CPU, XLA sorts single numbers in less
    than half of the time.
    """
    order = jnp.arange(count, dtype=jnp.int32)
    # The bits that three times the logarithm of the count asks for: then equal ones leave no trace.
    for _ in range(math.ceil(3 * math.log(max(count, 1)) / math.log(2**32 - 1))):
        key, drawn = jax.random.split(key)
        bits = jax.random.bits(drawn, (count,), jnp.uint32)
        with jax.enable_x64(True):
            numbers = (bits.astype(jnp.uint64) << 32) | jnp.arange(count, dtype=jnp.uint64)
            positions = (jax.lax.sort(numbers, is_stable=False) & (2**32 - 1)).astype(jnp.int32)
        order = order[positions]
    return order
