"""Which examples train, validate and test."""

from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key

from widebasin.data.randomness import permutation


@dataclass(frozen=True)
class SplitSizes:
    """Numbers of examples to train on, to validate on and to test on."""

    train: int
    valid: int
    test: int


class Split(NamedTuple):
    """Indices into the data set, disjoint."""

    train: Int[Array, " train"]
    valid: Int[Array, " valid"]
    test: Int[Array, " test"]


def split_fits(examples: int, sizes: SplitSizes, fixed_test: int = 0) -> bool:
    """Whether a data set has enough examples for a split, and every part some; arguments as ``split_examples`` has."""
    enough = _drawn(sizes, fixed_test) <= examples - fixed_test and sizes.test <= (fixed_test or sizes.test)
    return enough and min(sizes.train, sizes.valid, sizes.test) >= 1


def split_examples(
    key: Key[Array, ""], examples: int, sizes: SplitSizes, fixed_test: int = 0, shuffled: bool = True
) -> Split:
    """Draws a split from a key.

    Args:
        key: decides the split.
        examples: number of examples of the data set.
        sizes: how many to draw for each part.
        fixed_test: if positive, the test part is ``sizes.test`` of the last ``fixed_test`` examples, evenly spaced, as
            they may be sorted by class; only training and validation examples are drawn, from the others.
        shuffled: if not, the examples are taken in their order, whatever the key, and the first of a fixed test set.

    Raises:
        ValueError: if the sizes do not fit the data.
    """
    if not split_fits(examples, sizes, fixed_test):
        raise ValueError(f"{sizes} does not fit a data set of {examples} examples with a test set of {fixed_test}")
    pool = examples - fixed_test
    drawn = _drawn(sizes, fixed_test)
    order = permutation(key, pool) if shuffled else jnp.arange(pool)
    train, valid, rest = jnp.split(order[:drawn], [sizes.train, sizes.train + sizes.valid])
    if not fixed_test:
        return Split(train, valid, rest)
    # On the host, in 64 bits: the product overflows 32.
    spaced = np.arange(sizes.test) * (fixed_test if shuffled else sizes.test) // sizes.test
    return Split(train, valid, pool + jnp.asarray(spaced, train.dtype))


def _drawn(sizes: SplitSizes, fixed_test: int) -> int:
    """How many examples are drawn: those of a fixed test set are not."""
    return sizes.train + sizes.valid + (0 if fixed_test else sizes.test)
