"""Parameters as one vector, and data in chunks."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, Float, PyTree


@dataclass(frozen=True)
class Flattening:
    """How the floating-point arrays of a pytree are laid out in a vector. Hashable: one layout compiles once.

    Attributes:
        structure: of the pytree.
        shapes: of its leaves; ``None`` for a leaf that is not differentiated.
        dtypes: of the leaves that are.
        constants: the leaves that are neither differentiated nor arrays, such as activation functions.
    """

    structure: Any
    shapes: tuple[tuple[int, ...] | None, ...]
    dtypes: tuple[str, ...]
    constants: tuple[Any, ...]

    @classmethod
    def of(cls, params: PyTree) -> tuple["Flattening", list[Array]]:
        """The layout of parameters, and the arrays that stay as they are (integers, keys).

        Raises:
            ValueError: if no leaf is a floating-point array, or one is not finite.
        """
        leaves, structure = jax.tree.flatten(params)
        differentiated = [_is_floating(leaf) for leaf in leaves]
        if not any(differentiated):
            raise ValueError("params has no floating-point array to differentiate")
        pairs = list(zip(leaves, differentiated, strict=True))
        for leaf, floating in pairs:
            if floating and not isinstance(leaf, Tracer) and not bool(jnp.isfinite(leaf).all()):
                raise ValueError("params has entries that are not finite: curvature there has no meaning")
        rest = [leaf for leaf, floating in pairs if not floating]
        return cls(
            structure,
            tuple(tuple(leaf.shape) if floating else None for leaf, floating in pairs),
            tuple(str(leaf.dtype) for leaf, floating in pairs if floating),
            tuple(None if hasattr(leaf, "dtype") else leaf for leaf in rest),
        ), [leaf for leaf in rest if hasattr(leaf, "dtype")]

    @property
    def size(self) -> int:
        """Entries of the vector."""
        return sum(math.prod(shape) for shape in self.shapes if shape is not None)

    def vector(self, params: PyTree) -> Float[Array, " size"]:
        """The floating-point leaves, one after the other, in their common dtype."""
        leaves = [leaf for leaf in jax.tree.leaves(params) if _is_floating(leaf)]
        dtype = jnp.result_type(*leaves)
        return jnp.concatenate([jnp.ravel(leaf).astype(dtype) for leaf in leaves])

    def params(self, vector: Float[Array, " size"], arrays: list[Array]) -> PyTree:
        """The pytree back, with the arrays that stay as they are."""
        leaves, start = [], 0
        dtypes, constants, rest = iter(self.dtypes), iter(self.constants), iter(arrays)
        for shape in self.shapes:
            if shape is None:
                constant = next(constants)
                leaves.append(next(rest) if constant is None else constant)
            else:
                stop = start + math.prod(shape)
                leaves.append(vector[start:stop].reshape(shape).astype(next(dtypes)))
                start = stop
        return jax.tree.unflatten(self.structure, leaves)

    def direction(self, vector: Float[Array, " size"]) -> PyTree:
        """A vector in the shapes of the parameters; ``None`` for leaves that are not differentiated."""
        leaves, start = [], 0
        for shape in self.shapes:
            stop = start + (0 if shape is None else math.prod(shape))
            leaves.append(None if shape is None else vector[start:stop].reshape(shape))
            start = stop
        return jax.tree.unflatten(self.structure, leaves)


def _is_floating(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.floating)


def batch_size(batch: PyTree) -> int:
    """Examples in a batch.

    Raises:
        ValueError: if there are none, or leaves disagree.
    """
    lengths = {jnp.shape(leaf)[0] if jnp.ndim(leaf) else None for leaf in jax.tree.leaves(batch)}
    if len(lengths) != 1 or None in lengths:
        raise ValueError(
            "batch must be a pytree of arrays with the examples along their leading axis, "
            f"got leading axes {sorted(map(str, lengths)) or 'of no array'}"
        )
    (length,) = lengths
    if not length:
        raise ValueError("batch has no examples")
    return int(length)


def sum_over_chunks(
    function: Callable[[PyTree], Float[Array, " size"]], batch: PyTree, chunk_size: int | None, zero: Array
) -> Float[Array, " size"]:
    """The sum of ``function(chunk)`` over chunks of ``chunk_size`` examples, one at a time; the last may be smaller."""
    count = batch_size(batch)
    size = count if chunk_size is None else min(chunk_size, count)
    whole = count // size
    if whole == 1:
        total = function(jax.tree.map(lambda leaf: leaf[:size], batch))
    else:
        chunks = jax.tree.map(lambda leaf: leaf[: whole * size].reshape(whole, size, *leaf.shape[1:]), batch)
        total, _ = jax.lax.scan(lambda carry, chunk: (carry + function(chunk), None), zero, chunks)
    if count % size:
        total = total + function(jax.tree.map(lambda leaf: leaf[whole * size :], batch))
    return total


def checked_chunk_size(chunk_size: int | None) -> int | None:
    """The argument, or ``ValueError``."""
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"chunk_size must be at least 1, or None for the whole batch at once, got {chunk_size}")
    return chunk_size
