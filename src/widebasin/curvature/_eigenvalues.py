"""Eigenvalues by the Lanczos method, with a Krylov space that grows until they converge."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, PyTree

from widebasin.curvature._flat import Where, checked_key, compiled
from widebasin.curvature._krylov import Product, begun, euclidean_norm, grown, sound
from widebasin.curvature._mean_loss import MeanLoss
from widebasin.curvature._operator import LinearOperator, finite_products, hessian

Progress = Callable[[int], None]


@dataclass(frozen=True)
class Eigenpairs:
    """Eigenvalues at one end of a spectrum, with error estimates.

    Attributes:
        eigenvalues: ``(k,)``, from the end inwards: descending for the top, ascending for the bottom; fewer if the
            Krylov space has fewer different ones and the operator is too large to be solved exactly.
        eigenvectors: ``(k, size)``, of length 1; ``operator.direction`` converts them to the shapes of the parameters.
        residuals: ``(k,)``: ``||A v - lambda v||``, computed separately. An eigenvalue lies within this distance of
            ``lambda``.
        converged: whether every residual, and every change when the Krylov space last grew, is within the tolerance.
        products: total number of products of the operator with a vector.
        modulus: the largest modulus of any eigenvalue found on the way, at either end: the spectral norm, or less if it
            was not met.
    """

    eigenvalues: np.ndarray
    eigenvectors: Array
    residuals: np.ndarray
    converged: bool
    products: int
    modulus: float


def top_eigenvalues(
    loss_fn: MeanLoss,
    params: PyTree,
    batch: PyTree,
    k: int = 1,
    *,
    key: Key[Array, ""] | None = None,
    tolerance: float = 1e-3,
    most_products: int = 1000,
    where: Where | None = None,
    chunk_size: int | None = None,
    progress: Progress | None = None,
) -> Eigenpairs:
    """The ``k`` largest eigenvalues of the Hessian of the mean loss; the first is the sharpness.

    See ``hessian`` for ``loss_fn``, ``params``, ``batch``, ``where`` and ``chunk_size``, ``eigenpairs`` for the rest.
    """
    return eigenpairs(
        hessian(loss_fn, params, batch, where=where, chunk_size=chunk_size),
        k,
        "top",
        key=key,
        tolerance=tolerance,
        most_products=most_products,
        progress=progress,
    )


def bottom_eigenvalues(
    loss_fn: MeanLoss,
    params: PyTree,
    batch: PyTree,
    k: int = 1,
    *,
    key: Key[Array, ""] | None = None,
    tolerance: float = 1e-3,
    most_products: int = 1000,
    where: Where | None = None,
    chunk_size: int | None = None,
    progress: Progress | None = None,
) -> Eigenpairs:
    """The ``k`` smallest eigenvalues of the Hessian of the mean loss; see ``top_eigenvalues``."""
    return eigenpairs(
        hessian(loss_fn, params, batch, where=where, chunk_size=chunk_size),
        k,
        "bottom",
        key=key,
        tolerance=tolerance,
        most_products=most_products,
        progress=progress,
    )


def eigenpairs(
    operator: LinearOperator,
    k: int = 1,
    end: str = "top",
    *,
    key: Key[Array, ""] | None = None,
    tolerance: float = 1e-3,
    absolute: float = 0.0,
    most_products: int = 1000,
    progress: Progress | None = None,
) -> Eigenpairs:
    """Eigenvalues at one end of the spectrum of an operator.

    The Lanczos method with full reorthogonalization, from a random vector, in a Krylov space of 20, 40, 80 ...
    dimensions (at least ``2 k``), until every residual ``||A v - lambda v||`` and every change of an eigenvalue from
    one space to the next is at most ``tolerance`` times the largest modulus found. Residuals alone cannot detect a
    missed eigenvalue, and a spectrum clustered at its end needs the growth. Equal eigenvalues are found only once, up
    to rounding errors, as with any method from one vector. A space of the full dimension is solved exactly.

    Args:
        operator: a symmetric operator.
        k: number of eigenvalues.
        end: ``top``, ``bottom``, or ``modulus`` for the largest in modulus; the first of these is the spectral norm.
        key: key for the start vector; by default a fixed one.
        tolerance: relative to the largest modulus of an eigenvalue.
        absolute: values up to this count as zero, for operators that may consist only of rounding errors.
        most_products: maximum number of products, though ``2 k`` are always taken; if it is reached, the result is not
            converged.
        progress: called with the number of products so far.

    Raises:
        ValueError: if ``k`` is not between 1 and the dimension, another argument is out of its range, or products with
            the operator are not finite.
    """
    if not hasattr(k, "__index__") or not 1 <= k <= operator.size:
        raise ValueError(f"k must be a whole number between 1 and the {operator.size} parameters, got {k}")
    if end not in _ORDERS:
        raise ValueError(f"end must be 'top', 'bottom' or 'modulus', got {end!r}")
    if not tolerance > 0 or most_products < 1:
        raise ValueError(f"tolerance must be > 0 and most_products at least 1, got {tolerance} and {most_products}")
    key = jax.random.key(0) if key is None else checked_key(key)
    start = jax.random.normal(key, (operator.size,), operator.dtype)
    if operator.support is not None:
        start = start * operator.support
    return _growing(operator, _reporting(operator, progress), k, end, start, tolerance, absolute, most_products)


_ORDERS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "top": lambda values: -values,
    "bottom": lambda values: values,
    "modulus": lambda values: -np.abs(values),
}


def _reporting(operator: LinearOperator, progress: Progress | None) -> Product:
    """The product with the operator, which also calls ``progress(products so far)``."""
    if progress is None:
        return operator.__matmul__
    numbers = itertools.count(1)

    def product(vector: Array) -> Array:
        image = jax.block_until_ready(operator @ vector)
        progress(next(numbers))
        return image

    return product


def _growing(
    operator: LinearOperator,
    product: Product,
    k: int,
    end: str,
    start: Array,
    tolerance: float,
    absolute: float,
    most_products: int,
) -> Eigenpairs:
    """Computes eigenvalues in Krylov spaces that grow until the eigenvalues converge."""
    dimension = min(max(20, 2 * k), max(most_products - k, k), operator.size)
    products, before = 0, None
    basis, projection = begun(start)
    while True:
        exact = dimension == operator.size
        if exact and operator.support is None:
            values, coefficients = np.linalg.eigh(finite_products(operator.dense(product)))
            products += operator.size
            within = None
        else:
            products += dimension - len(projection)
            basis, projection = grown(product, dimension, basis, projection)
            values, coefficients = _ritz_pairs(basis, projection)
            within = basis
            # The space holds every eigenvalue there is, each once: only equal ones are left to find.
            exact = exact or k <= len(values) < dimension
        order = np.argsort(_ORDERS[end](values), kind="stable")[:k]
        chosen = values[order]
        vectors = jnp.asarray(coefficients[:, order].T, operator.dtype)
        vectors = vectors if within is None else _combined(vectors, within)
        residuals = np.array([_residual(product(v), v, value) for v, value in zip(vectors, chosen, strict=True)], float)
        products += len(chosen)
        modulus = float(np.abs(values).max())
        scale = max(tolerance * modulus, absolute, np.finfo(np.float64).tiny)
        still = exact or (before is not None and len(before) == k and np.all(np.abs(chosen - before) <= scale))
        converged = bool(still and len(chosen) == k and np.all(residuals <= scale))
        following = min(2 * dimension, operator.size)
        solved = following == operator.size and operator.support is None
        cost = (operator.size if solved else following - dimension) + k
        if converged or dimension == operator.size or products + cost > most_products:
            return Eigenpairs(chosen, vectors, residuals, converged, products, modulus)
        before, dimension = chosen, following


def _ritz_pairs(basis: Array, projection: Array) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues in the Krylov space (with its actual dimension) and their eigenvectors in its basis."""
    dimension = int(sound(basis)[:-1].sum())
    values, coefficients = np.linalg.eigh(finite_products(projection)[:dimension, :dimension], "U")
    return values, np.pad(coefficients, ((0, len(basis) - dimension), (0, 0)))


@compiled()
def _combined(coefficients: Array, basis: Array) -> Array:
    vectors = coefficients @ basis
    return vectors / jnp.linalg.norm(vectors, axis=1, keepdims=True)


@jax.jit
def _residual(image: Array, vector: Array, value: Array) -> Array:
    return euclidean_norm(image - value.astype(vector.dtype) * vector)
