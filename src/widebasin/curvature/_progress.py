"""Reports while a compiled program runs: how many products with an operator there have been."""

import contextlib
import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from widebasin.curvature._operator import Apply, LinearOperator

Progress = Callable[[int], None]

# Programs are compiled for a number, which they get as an argument, not for a function: a new one compiles nothing.
_counters: dict[int, Callable[[], None]] = {}
_numbers = itertools.count()


@contextlib.contextmanager
def reporting(operator: LinearOperator, progress: Progress | None) -> Iterator[LinearOperator]:
    """The operator, which within the context calls ``progress(products so far)`` at every product."""
    if progress is None:
        yield operator
        return
    number, products = next(_numbers), itertools.count(1)
    _counters[number] = lambda: progress(next(products))
    arguments = (operator.arguments, jnp.asarray(number, jnp.int32))
    try:
        yield dataclasses.replace(operator, apply=_counting(operator.apply), arguments=arguments)
        jax.effects_barrier()
    finally:
        del _counters[number]


@functools.lru_cache(maxsize=256)
def _counting(apply: Apply) -> Apply:
    def counting(vector: Array, arguments: Any) -> Array:
        inner, number = arguments
        product = apply(vector, inner)
        # An entry of the product goes along so that the report waits for it.
        jax.debug.callback(_count, number, product[0])
        return product

    return counting


def _count(number: Array, entry: Array) -> None:
    del entry
    # A program that was interrupted may still run after its context has ended.
    if counter := _counters.get(int(number)):
        counter()
