"""The mean loss over a batch: its value, one chunk at a time, and the check that it is a mean."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, Float, PyTree

from widebasin.curvature._flat import Flattening, NotFiniteError, batch_size, compiled, joined, sum_over_chunks
from widebasin.curvature._krylov import euclidean_norm

MeanLoss = Callable[[PyTree, PyTree], Float[Array, ""]]
ExampleLoss = Callable[[PyTree, PyTree], Float[Array, ""]]


def mean_over_chunks(loss_fn: MeanLoss, params: PyTree, batch: PyTree, chunk_size: int | None) -> Float[Array, ""]:
    """The mean loss over a batch, computed from its chunks."""

    def total(chunk: PyTree) -> Array:
        return batch_size(chunk) * loss_fn(params, chunk)

    zero = jnp.zeros((), jax.eval_shape(total, batch).dtype)
    return sum_over_chunks(total, batch, chunk_size, zero) / batch_size(batch)


def check_mean_loss(
    loss_fn: MeanLoss, params: PyTree, batch: PyTree, chunk_size: int | None = None, name: str = "loss_fn"
) -> None:
    """Checks that a loss is a scalar and a mean over examples, which computing in chunks requires.

    Its value on the first chunk of examples is compared with the mean over two parts of it; where it is almost 0, also
    beside the parameters. Traced parameters or data have no value to compare.

    Raises:
        ValueError: if the loss is not a scalar, not finite, or not the mean over two parts; for parameters, as
            ``Flattening.of``.
    """
    count = batch_size(batch)
    flattening, arrays = Flattening.of(params)
    shapes = _shapes(lambda batch: loss_fn(params, batch), batch, name)
    if shapes != [()]:
        raise ValueError(f"{name} must be one scalar, got shapes {shapes}: take the mean over examples")
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves((params, batch))):
        return
    examples = count if chunk_size is None else min(count, max(chunk_size, 2))
    point = flattening.vector(params)
    values = _whole_and_parts(loss_fn, flattening, examples, point, arrays, batch)
    if not math.isfinite(values[0]):
        raise NotFiniteError(f"{name} is {values[0]} at these params: curvature is undefined")
    if examples == 1 or _shows_a_mean(values, examples, name, "it is"):
        return
    values = _whole_and_parts(loss_fn, flattening, examples, _beside(flattening, point), arrays, batch)
    if all(map(math.isfinite, values)):
        _shows_a_mean(values, examples, name, "with params moved by a tenth of their size it is")


def _shows_a_mean(values: list[Array], examples: int, name: str, where: str) -> bool:
    """Whether the values are so far from 0 that they show a mean.

    Raises:
        ValueError: if the first is not the mean of the others.
    """
    whole, first, second = map(float, values)
    half = examples // 2
    mean = (half * first + (examples - half) * second) / examples
    eps = float(jnp.finfo(values[0].dtype).eps)
    # Rounding errors of a loss that is as good as zero may differ between the whole and its parts.
    relative, absolute = eps**0.5 * max(abs(whole), abs(first), abs(second)), 10 * eps
    if not abs(whole - mean) <= relative + absolute:
        raise ValueError(
            f"{name} is not a mean over examples: {where} {whole:.6g} on {examples} of them, but {mean:.6g} as the "
            "mean over two parts of these. Use the mean instead of the sum, and make examples independent: batch norm "
            "must use its running statistics (inference mode)"
        )
    return relative > absolute


@compiled(0)
def _beside(flattening: Flattening, point: Array) -> Array:
    """Another point: every array moved at random by about a tenth of its size."""
    random = flattening.leaves(jax.random.normal(jax.random.key(0), point.shape, point.dtype))
    sizes = [euclidean_norm(leaf) / max(leaf.size, 1) ** 0.5 for leaf in flattening.leaves(point)]
    steps = [jnp.where(size > 0, size, 1) * leaf for size, leaf in zip(sizes, random, strict=True)]
    return point + joined(steps, point.dtype) / 10


def check_example_loss(example_loss: ExampleLoss, params: PyTree, batch: PyTree) -> None:
    """Checks that the loss of one example is a scalar.

    Raises:
        ValueError: if it is not.
    """
    batch_size(batch)
    first = jax.eval_shape(lambda batch: jax.tree.map(lambda leaf: leaf[0], batch), batch)
    shapes = _shapes(lambda example: example_loss(params, example), first, "example_loss")
    if shapes != [()]:
        raise ValueError(f"example_loss must be one scalar for one example, got shapes {shapes}")


def _shapes(function: Callable[[PyTree], PyTree], argument: PyTree, name: str) -> list[tuple[int, ...]]:
    try:
        return [leaf.shape for leaf in jax.tree.leaves(jax.eval_shape(function, argument))]
    except NameError as error:
        if "axis name" not in str(error):
            raise
        raise ValueError(
            f"{name} takes a mean over the examples of a batch ({error}), so examples are not independent: batch norm "
            "must use its running statistics (inference mode)"
        ) from error


@compiled(0, 1, 2)
def _whole_and_parts(
    loss_fn: MeanLoss, flattening: Flattening, examples: int, point: Array, arrays: list[Array], batch: PyTree
) -> list[Any]:
    params, half = flattening.params(point, arrays), examples // 2
    ranges = [(0, examples), (0, half), (half, examples)] if half else [(0, examples)]
    return [
        loss_fn(params, jax.tree.map(lambda leaf, start=start, stop=stop: leaf[start:stop], batch))
        for start, stop in ranges
    ]
