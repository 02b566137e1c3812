"""Splits into training, validation and test examples."""

from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key

from widebasin.data.randomness import permutation


@dataclass(frozen=True)
class SplitSizes:
    """Numbers of training, validation and test examples."""

    train: int
    valid: int
    test: int


class Split(NamedTuple):
    """Disjoint indices into the data set."""

    train: Int[Array, " train"]
    valid: Int[Array, " valid"]
    test: Int[Array, " test"]


def split_fits(examples: int, sizes: SplitSizes, fixed_test: int = 0, fixed_valid: int = 0) -> bool:
    """Whether a data set has enough examples for a split, with no empty part; arguments as in ``split_examples``."""
    enough = _drawn(sizes, fixed_test, fixed_valid) <= examples - fixed_test - fixed_valid
    enough &= sizes.test <= (fixed_test or sizes.test) and sizes.valid <= (fixed_valid or sizes.valid)
    return enough and min(sizes.train, sizes.valid, sizes.test) >= 1


def split_examples(
    key: Key[Array, ""],
    examples: int,
    sizes: SplitSizes,
    fixed_test: int = 0,
    shuffled: bool = True,
    fixed_valid: int = 0,
) -> Split:
    """Draws a split from a key.

    Args:
        key: key that determines the split.
        examples: number of examples in the data set.
        sizes: how many to draw for each part.
        fixed_test: if positive, the test part is ``sizes.test`` of the last ``fixed_test`` examples, evenly spaced
            because they may be sorted by class; training and validation examples are drawn from the others.
        shuffled: if false, the examples are taken in order, whatever the key; from a fixed test set, the first ones.
        fixed_valid: likewise for the examples before the test set, from which the validation part is taken.

    Raises:
        ValueError: if the sizes do not fit the data.
    """
    if not split_fits(examples, sizes, fixed_test, fixed_valid):
        raise ValueError(
            f"{sizes} does not fit a data set of {examples} examples with a test set of {fixed_test} and a validation "
            f"set of {fixed_valid}"
        )
    pool = examples - fixed_test - fixed_valid
    order = permutation(key, pool) if shuffled else jnp.arange(pool)
    drawn = {part: order[place] for part, place in _places(sizes, fixed_test, fixed_valid).items()}
    same = parts_of_every_split(examples, sizes, fixed_test, shuffled, fixed_valid)
    return Split(**(drawn | {part: jnp.asarray(indices, order.dtype) for part, indices in same.items()}))


def parts_of_every_split(
    examples: int, sizes: SplitSizes, fixed_test: int = 0, shuffled: bool = True, fixed_valid: int = 0
) -> dict[str, Int[np.ndarray, "..."]]:
    """The parts that do not depend on the key, by name, as indices; arguments as in ``split_examples``."""
    pool = examples - fixed_test - fixed_valid

    def spaced(number: int, among: int) -> np.ndarray:
        # In 64 bits: the product overflows 32.
        return np.arange(number) * (among if shuffled else number) // number

    found = {}
    if not shuffled:
        found |= {part: np.arange(pool)[place] for part, place in _places(sizes, fixed_test, fixed_valid).items()}
    if fixed_valid:
        found["valid"] = pool + spaced(sizes.valid, fixed_valid)
    if fixed_test:
        found["test"] = pool + fixed_valid + spaced(sizes.test, fixed_test)
    return found


def _places(sizes: SplitSizes, fixed_test: int, fixed_valid: int) -> dict[str, slice]:
    """Where the parts are in the order of the pool, those of official sets aside."""
    drawn = _drawn(sizes, fixed_test, fixed_valid)
    return {
        "train": slice(sizes.train),
        "valid": slice(sizes.train, sizes.train + sizes.valid),
        "test": slice(drawn - sizes.test, drawn),
    }


def _drawn(sizes: SplitSizes, fixed_test: int, fixed_valid: int) -> int:
    """Number of examples to draw; a fixed test or validation set is not drawn."""
    return sizes.train + (0 if fixed_valid else sizes.valid) + (0 if fixed_test else sizes.test)
