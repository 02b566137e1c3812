"""Krylov spaces by the Lanczos method: growing them, and finding which dimensions are more than rounding errors."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from widebasin.curvature._flat import compiled

Product = Callable[[Float[Array, " size"]], Float[Array, " size"]]


def euclidean_norm(array: Float[Array, "..."], axes: tuple[int, ...] | None = None) -> Float[Array, "..."]:
    """``||v||_2``, avoiding overflow and underflow of squared entries.

    Over the whole array, or over axes, which are kept with length 1.
    """
    kept = axes is not None
    largest = jnp.max(jnp.abs(array), axes, keepdims=kept, initial=0)
    scale = jnp.where(largest > 0, largest, 1)
    return scale * jnp.sqrt(jnp.sum((array / scale) ** 2, axes, keepdims=kept))


def begun(start: Float[Array, " size"]) -> tuple[Float[Array, "1 size"], Float[Array, "0 0"]]:
    """Starts a space: its basis (one vector per row, the last is the next one to use) and an empty projection."""
    return (start / euclidean_norm(start))[None], jnp.zeros((0, 0), start.dtype)


def grown(
    product: Product,
    dimension: int,
    basis: Float[Array, "vectors size"],
    projection: Float[Array, "before before"],
) -> tuple[Float[Array, "more size"], Float[Array, "dimension dimension"]]:
    """Extends a Krylov space: its basis and the operator's projection onto it (only the upper triangle is filled).

    Every vector is orthogonalized against all previous ones; if nothing is left, it is zero. Products are separate
    programs, one after the other, because XLA runs convolutions in a compiled loop several times slower on a CPU.
    """
    before = len(projection)
    vector, basis, projection = basis[-1], *_padded(dimension - before, basis, projection)
    for j in range(before, dimension):
        basis, projection, vector = _extended(basis, projection, product(vector), j)
    return basis, projection


def ritz_pairs(
    basis: Float[Array, "vectors size"], projection: Float[Array, "dimension dimension"]
) -> tuple[Float[Array, " dimension"], Float[Array, "dimension dimension"], Float[Array, "dimension size"]]:
    """Eigenvalues in a Krylov space, their eigenvectors (columns) in its basis, and the basis; for compiled programs.

    A space that is exhausted early is padded with zeros, in the basis and in the eigenvalues.
    """
    basis = basis[:-1]
    within = sound(basis)
    projection = jnp.where(within[:, None] & within[None], projection, 0)
    values, coefficients = jnp.linalg.eigh(jnp.triu(projection) + jnp.triu(projection, 1).T)
    return values, coefficients, jnp.where(within[:, None], basis, 0)


def ritz_pairs_of(
    product: Product, dimension: int, start: Float[Array, " size"]
) -> tuple[Float[Array, " dimension"], Float[Array, "dimension dimension"], Float[Array, "dimension size"]]:
    """``ritz_pairs`` of a space that grows inside a compiled program."""

    def step(j: Array, space: tuple[Array, Array]) -> tuple[Array, Array]:
        basis, projection = space
        return _with_product(basis, projection, product(basis[j]), j)

    return ritz_pairs(*jax.lax.fori_loop(0, dimension, step, _padded(dimension, *begun(start))))


@compiled()
def sound(basis: Float[Array, "dimension size"]) -> Bool[Array, " dimension"]:
    """Which vectors of a basis belong to its space.

    Once the space is exhausted, further vectors are rounding errors and no longer orthogonal. The first always belongs.
    """
    off = jnp.triu(jnp.abs(basis @ basis.T - jnp.eye(len(basis), dtype=basis.dtype)))
    return jnp.cumprod((off.max(0) < np.finfo(basis.dtype).eps ** 0.5).at[0].set(True)).astype(bool)


@functools.partial(jax.jit, static_argnums=0)
def _padded(added: int, basis: Array, projection: Array) -> tuple[Array, Array]:
    return jnp.pad(basis, ((0, added), (0, 0))), jnp.pad(projection, (0, added))


def _with_product(basis: Array, projection: Array, vector: Array, j: int | Array) -> tuple[Array, Array]:
    """Adds the product of the operator with vector ``j`` of the basis."""
    before = euclidean_norm(vector)
    first = basis @ vector
    vector = vector - first @ basis
    # Once more: after one pass, rounding errors are still as large as the vectors that are found.
    second = basis @ vector
    vector = vector - second @ basis
    norm = euclidean_norm(vector)
    vector = vector / jnp.where(norm > 0, norm, 1)
    # What is left of a space at its end is rounding error, which may lie outside it, but not exactly.
    ends = norm < np.finfo(vector.dtype).eps ** 0.5 * before
    vector = jax.lax.cond(ends, lambda v: v - (basis @ v) @ basis, lambda v: v, vector)
    return basis.at[j + 1].set(vector), projection.at[:, j].set((first + second)[:-1])


@compiled(donated=(0, 1))
def _extended(basis: Array, projection: Array, vector: Array, j: int | Array) -> tuple[Array, Array, Array]:
    basis, projection = _with_product(basis, projection, vector, j)
    return basis, projection, basis[j + 1]
