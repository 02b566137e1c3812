"""Parameters as one vector, and data in chunks."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Key, PyTree

Where = Callable[[str, Any], bool]


class NotFiniteError(ValueError):
    """Parameters, a loss or its derivatives are not finite, as after divergence, so curvature is undefined."""


def compiled(*static: int, donated: tuple[int, ...] = ()) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """``jax.jit`` with these static arguments, and with matrix products as precise as their type.

    Otherwise accelerators may round the factors of float32 to 10 bits or fewer. A small rise of a loss, and the
    orthogonality of a Krylov space, are lost by that. Programs without matrix products need it not.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        precise = jax.default_matmul_precision("highest")(function)
        return jax.jit(precise, static_argnums=static, donate_argnums=donated)

    return decorate


def at_least_single(tree: PyTree) -> PyTree:
    """Arrays of half precision in float32: at a perturbed point they would be rounded by more than they move."""

    def wide(leaf: Any) -> Any:
        return leaf.astype(jnp.float32) if is_floating(leaf) and jnp.finfo(leaf.dtype).bits < 32 else leaf

    return jax.tree.map(wide, tree)


@dataclass(frozen=True)
class Flattening:
    """The layout of a pytree's floating-point arrays in a vector. Hashable, so that equal layouts compile once.

    Attributes:
        structure: structure of the pytree.
        shapes: shapes of its leaves; ``None`` for a leaf that is not differentiated.
        dtypes: dtypes of the differentiated leaves.
        constants: leaves that are neither differentiated nor arrays, such as activation functions.
    """

    structure: Any
    shapes: tuple[tuple[int, ...] | None, ...]
    dtypes: tuple[str, ...]
    constants: tuple[Any, ...]

    @classmethod
    def of(cls, params: PyTree, where: Where | None = None) -> tuple["Flattening", list[Array]]:
        """The layout of the parameters that ``where`` selects, and the other arrays, which stay constant.

        Raises:
            ValueError: if no leaf is a floating-point array, one is complex or not finite (``NotFiniteError``), or
                ``where`` selects none.
        """
        with_paths, structure = jax.tree_util.tree_flatten_with_path(params)
        paths = [jax.tree_util.keystr(path) for path, _ in with_paths]
        leaves = [leaf for _, leaf in with_paths]
        for path, leaf in zip(paths, leaves, strict=True):
            if hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.complexfloating):
                raise ValueError(
                    f"params{path} must be real, got dtype {leaf.dtype}: give its real and imaginary parts as two "
                    "arrays, and put them together in the loss"
                )
        floating = [is_floating(leaf) for leaf in leaves]
        if not any(floating):
            raise ValueError("params has no floating-point array to differentiate")
        known = {path: leaf for path, leaf in zip(paths, leaves, strict=True) if is_floating(leaf)}
        values = {path: leaf for path, leaf in known.items() if not isinstance(leaf, Tracer)}
        for path, finite in jax.device_get(_are_finite(values)).items():
            if not finite:
                raise NotFiniteError(f"params{path} has entries that are not finite: curvature is undefined")
        chosen = [
            can_be and (where is None or bool(where(path, leaf)))
            for path, leaf, can_be in zip(paths, leaves, floating, strict=True)
        ]
        if not any(chosen):
            shown = ", ".join(list(known)[:8]) + (" ..." if len(known) > 8 else "")
            raise ValueError(f"where selects none of the parameters; their paths are {shown}")
        pairs = list(zip(leaves, chosen, strict=True))
        rest = [leaf for leaf, differentiated in pairs if not differentiated]
        return cls(
            structure,
            tuple(tuple(leaf.shape) if differentiated else None for leaf, differentiated in pairs),
            tuple(str(jax.dtypes.canonicalize_dtype(leaf.dtype)) for leaf, chosen in pairs if chosen),
            tuple(None if hasattr(leaf, "dtype") else leaf for leaf in rest),
        ), [leaf for leaf in rest if hasattr(leaf, "dtype")]

    @property
    def size(self) -> int:
        """Number of entries of the vector."""
        return sum(math.prod(shape) for shape in self.shapes if shape is not None)

    @property
    def rounding_error(self) -> float:
        """The rounding error of the least precise differentiated leaf, relative to 1."""
        return max(float(jnp.finfo(dtype).eps) for dtype in self.dtypes)

    def vector(self, params: PyTree) -> Float[Array, " size"]:
        """The concatenated differentiated leaves in their common dtype."""
        pairs = zip(jax.tree.leaves(params), self.shapes, strict=True)
        leaves = [leaf for leaf, shape in pairs if shape is not None]
        with jax.numpy_dtype_promotion("standard"):
            return joined(leaves, jnp.result_type(*leaves))

    def params(self, vector: Float[Array, " size"], arrays: list[Array]) -> PyTree:
        """Restores the pytree, with the constant arrays."""
        return self.assembled(self.leaves(vector), arrays)

    def leaves(self, vector: Float[Array, " size"]) -> list[Array]:
        """The differentiated leaves, in the dtype of the vector.

        Differentiate by them, not by the vector, where the derivative of each slice would be a whole vector.
        """
        shapes = [shape for shape in self.shapes if shape is not None]
        cuts = np.cumsum([math.prod(shape) for shape in shapes])[:-1]
        return [part.reshape(shape) for part, shape in zip(jnp.split(vector, cuts), shapes, strict=True)]

    def assembled(self, leaves: list[Array], arrays: list[Array]) -> PyTree:
        """The pytree of the differentiated leaves, in their own dtypes, and the constant arrays."""
        differentiated = (leaf.astype(dtype) for leaf, dtype in zip(leaves, self.dtypes, strict=True))
        constants, rest = iter(self.constants), iter(arrays)
        whole = []
        for shape in self.shapes:
            if shape is None:
                constant = next(constants)
                whole.append(next(rest) if constant is None else constant)
            else:
                whole.append(next(differentiated))
        return jax.tree.unflatten(self.structure, whole)

    def direction(self, vector: Float[Array, " size"]) -> PyTree:
        """A vector in the shapes of the parameters; ``None`` for leaves that are not differentiated."""
        leaves, start = [], 0
        for shape in self.shapes:
            stop = start + (0 if shape is None else math.prod(shape))
            leaves.append(None if shape is None else vector[start:stop].reshape(shape))
            start = stop
        return jax.tree.unflatten(self.structure, leaves)

    def coordinates(self, direction: PyTree, dtype: Any) -> Float[Array, " size"]:
        """The vector of a direction, the inverse of ``direction``; ``None`` for a leaf means that it does not move.

        Raises:
            ValueError: if the direction does not match the parameters.
        """
        try:
            leaves = self.structure.flatten_up_to(direction)
        except (ValueError, TypeError) as error:
            raise ValueError(f"a direction must have the structure of params: {error}") from error
        pieces = []
        for leaf, shape in zip(leaves, self.shapes, strict=True):
            if shape is None:
                continue
            if leaf is not None and getattr(leaf, "shape", None) != shape:
                found = getattr(leaf, "shape", leaf)
                raise ValueError(f"a direction must match params: an array of shape {shape} is needed, got {found}")
            pieces.append(jnp.zeros(math.prod(shape), dtype) if leaf is None else jnp.ravel(leaf).astype(dtype))
        return jnp.concatenate(pieces)


@jax.jit
def _are_finite(leaves: dict[str, Array]) -> dict[str, Array]:
    return {path: jnp.isfinite(leaf).all() for path, leaf in leaves.items()}


@functools.partial(jax.jit, static_argnums=1)
def joined(leaves: list[Array], dtype: Any) -> Float[Array, " size"]:
    """The vector of the differentiated leaves."""
    return jnp.concatenate([jnp.ravel(leaf).astype(dtype) for leaf in leaves])


def is_floating(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.floating)


def batch_size(batch: PyTree) -> int:
    """Number of examples in a batch.

    Raises:
        ValueError: if there are none, or leaves have different numbers.
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
    function: Callable[[PyTree], Float[Array, "*shape"]],
    batch: PyTree,
    chunk_size: int | None,
    zero: Float[Array, "*shape"],
) -> Float[Array, "*shape"]:
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


def checked_key(key: Any) -> Key[Array, ""]:
    """The argument, or ``ValueError``."""
    dtype = getattr(key, "dtype", None)
    typed = dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key) and key.shape == ()
    if not typed and not (dtype == jnp.uint32 and key.ndim == 1):
        raise ValueError(f"key must be one key, such as jax.random.key(0), got {key!r}")
    return key
