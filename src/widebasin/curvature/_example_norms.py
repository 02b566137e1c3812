"""The largest spectral norm of any example's Hessian."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from widebasin.curvature._flat import Flattening, batch_size, compiled
from widebasin.curvature._krylov import euclidean_norm, ritz_pairs_of
from widebasin.curvature._mean_loss import ExampleLoss
from widebasin.curvature._moments import example_product
from widebasin.curvature._operator import LinearOperator, finite_products


def largest_example_norm(
    example_loss: ExampleLoss,
    mean: LinearOperator,
    *,
    key: Key[Array, ""] | None = None,
    tolerance: float = 1e-3,
    most_products: int = 1000,
    chunk_size: int | None = None,
) -> tuple[float, bool]:
    """``max_i ||H_i||_2``, and whether it converged; the criteria of ``eigenpairs`` apply to every example.

    Krylov spaces have 10, 20, 40 ... dimensions, because every example has its own and only its norm is needed.
    Examples that cannot have the largest norm, judging by their residual, need not converge.

    Args:
        example_loss: ``(params, example) -> loss`` of one example.
        mean: the ``mean_hessian`` of this loss, which has the point and the examples.
        key: key for the start vector.
        tolerance: relative to the norm.
        most_products: maximum number of products with each example's Hessian.
        chunk_size: examples at a time, each with its own Krylov space.
    """
    start = jax.random.normal(jax.random.key(0) if key is None else key, (mean.size,), mean.dtype)
    dimension, products, before = min(10, max(most_products - 1, 1), mean.size), 0, None
    while True:
        found = _norms(example_loss, mean.flattening, dimension, chunk_size, start, mean.arguments)
        norms, residuals, dimensions = (finite_products(one) for one in found)
        products += dimension + 1
        largest = float(norms.max())
        scale = max(tolerance * largest, np.finfo(np.float64).tiny)
        # A space that ends before its dimension holds every eigenvalue there is, as does the whole one.
        exact = dimension >= mean.size or bool((dimensions < dimension).all())
        still = exact or (before is not None and abs(largest - before) <= scale)
        converged = still and bool((residuals[norms + residuals >= largest] <= scale).all())
        following = min(2 * dimension, mean.size)
        if converged or exact or products + following + 1 > most_products:
            return largest, converged
        before, dimension = largest, following


@compiled(0, 1, 2, 3)
def _norms(
    example_loss: ExampleLoss,
    flattening: Flattening,
    dimension: int,
    chunk_size: int | None,
    start: Array,
    arguments: Any,
) -> tuple[Array, Array, Array]:
    """For every example: the norm, the residual of its eigenvector, and the actual dimension of its space."""
    point, arrays, batch = arguments
    product = example_product(example_loss, flattening, point, arrays)

    def of_example(example: Any) -> tuple[Array, Array, Array]:
        values, coefficients, basis = ritz_pairs_of(lambda vector: product(example, vector), dimension, start)
        vector = coefficients[:, jnp.argmax(jnp.abs(values))] @ basis
        vector = vector / jnp.linalg.norm(vector)
        image = product(example, vector)
        value = vector @ image
        return jnp.abs(value), euclidean_norm(image - value * vector), jnp.any(basis != 0, axis=1).sum()

    return jax.lax.map(of_example, batch, batch_size=chunk_size or batch_size(batch))
