"""Randomness by purpose."""

import zlib

import jax
from jaxtyping import Array, Key


def key_for(key: Key[Array, ""], purpose: str) -> Key[Array, ""]:
    """The key for one purpose ("split", "initialization", ...): ``fold_in(key, crc32(purpose))``.

    Keys depend on the purpose's name and never on the order in which they are asked for, so that a new source of
    randomness leaves all others as they were, and so that networks of one seed share split, initialization, batch
    order and noisy labels whatever their method and radius.
    """
    return jax.random.fold_in(key, zlib.crc32(purpose.encode()))
