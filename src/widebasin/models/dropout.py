"""Dropout whose rate may be a traced number, so that it can be an axis of a grid."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

Rate = float | Float[Array, ""]


def dropped(key: Key[Array, ""] | None, x: Float[Array, "..."], rate: Rate) -> Float[Array, "..."]:
    """Each entry of ``x`` is set to 0 with probability ``rate``, and the others are divided by ``1 - rate``.

    Args:
        key: decides which entries; ``None``, as outside of training, drops none.
        x: any array.
        rate: in [0, 1).
    """
    if key is None:
        return x
    kept = jax.random.bernoulli(key, 1 - rate, x.shape)
    return jnp.where(kept, x / (1 - rate), 0).astype(x.dtype)


def words_dropped(
    key: Key[Array, ""] | None, words: Int[Array, " positions"], rate: Rate, unknown: int, present: Bool[Array, "..."]
) -> Int[Array, " positions"]:
    """Each word that is present is replaced by the unknown word with probability ``rate``.

    Args:
        key: decides which; ``None``, as outside of training, replaces none.
        words: numbers of words.
        rate: in [0, 1).
        unknown: number of the unknown word.
        present: where there is a word, and no padding.
    """
    if key is None:
        return words
    return jnp.where(jax.random.bernoulli(key, rate, words.shape) & present, unknown, words)
