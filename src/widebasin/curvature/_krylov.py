"""Krylov spaces by Lanczos' method: how one grows, and how many dimensions of it are more than rounding errors."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from widebasin.curvature._operator import Apply


def euclidean_norm(vector: Float[Array, " size"]) -> Float[Array, ""]:
    """``||v||_2`` without squares of entries that would be too small or too large for their type."""
    largest = jnp.max(jnp.abs(vector), initial=0)
    scale = jnp.where(largest > 0, largest, 1)
    return scale * jnp.linalg.norm(vector / scale)


def grown(
    apply: Apply,
    dimension: int,
    basis: Float[Array, "vectors size"],
    projection: Float[Array, "before before"],
    arguments: Any,
) -> tuple[Float[Array, "more size"], Float[Array, "dimension dimension"]]:
    """Extends a Krylov space: its basis (one vector per row, and the next one) and the operator's projection on it.

    A space begins with one vector of length 1 and an empty projection, whose upper triangle alone is filled. Every
    vector is made orthogonal to all before it; where nothing is left of one, it is zero.
    """
    added = dimension - len(projection)
    basis, projection = jnp.pad(basis, ((0, added), (0, 0))), jnp.pad(projection, (0, added))

    def step(j: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
        basis, projection = state
        vector = apply(basis[j], arguments)
        first = basis @ vector
        vector = vector - first @ basis
        # Once more: after one pass, rounding errors are still as large as the vectors that are found.
        second = basis @ vector
        vector = vector - second @ basis
        norm = euclidean_norm(vector)
        vector = vector / jnp.where(norm > 0, norm, 1)
        return basis.at[j + 1].set(vector), projection.at[:, j].set((first + second)[:-1])

    return jax.lax.fori_loop(dimension - added, dimension, step, (basis, projection))


def sound(basis: Float[Array, "dimension size"]) -> Bool[Array, " dimension"]:
    """Which vectors of a basis belong to its space.

    Where the space is exhausted, what follows is rounding error, and no longer orthogonal. The first always belongs.
    """
    off = jnp.triu(jnp.abs(basis @ basis.T - jnp.eye(len(basis), dtype=basis.dtype)))
    return jnp.cumprod((off.max(0) < jnp.finfo(basis.dtype).eps ** 0.5).at[0].set(True)).astype(bool)


def ritz_pairs(
    apply: Apply, dimension: int, start: Float[Array, " size"], arguments: Any
) -> tuple[Float[Array, " dimension"], Float[Array, "dimension dimension"], Float[Array, "dimension size"]]:
    """Eigenvalues in a Krylov space, their eigenvectors (columns) in its basis, and the basis; for use in a program.

    A space that is exhausted before its dimension is filled up: with zeros as basis and eigenvalues of nothing.
    """
    begin = (start / euclidean_norm(start))[None]
    basis, projection = grown(apply, dimension, begin, jnp.zeros((0, 0), start.dtype), arguments)
    basis = basis[:-1]
    within = sound(basis)
    projection = jnp.where(within[:, None] & within[None], projection, 0)
    values, coefficients = jnp.linalg.eigh(jnp.triu(projection) + jnp.triu(projection, 1).T)
    return values, coefficients, jnp.where(within[:, None], basis, 0)
