"""Non-uniformity of the per-sample Hessians, and linear stability of a minimum under stochastic SAM."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from widebasin.curvature._eigenvalues import Eigenpairs, Progress, eigenpairs
from widebasin.curvature._flat import (
    Flattening,
    Where,
    at_least_single,
    batch_size,
    checked_chunk_size,
    joined,
    sum_over_chunks,
)
from widebasin.curvature._mean_loss import ExampleLoss, MeanLoss, check_example_loss
from widebasin.curvature._operator import Apply, LinearOperator, checked_hessian

ORDERS = (2, 3, 4)


@dataclass(frozen=True)
class HessianMoments:
    """Sharpness and non-uniformity of the per-sample Hessians ``H_i`` with mean ``H``.

    Attributes:
        sharpness: ``lambda_max(H)``.
        nonuniformity: order k -> ``s_k = max(lambda_max(D_k), 0)^(1/k)`` with ``D_k = mean_i H_i^k - H^k``. ``D_3`` and
            ``D_4`` need not be positive semidefinite, hence the maximum; values within rounding error are 0.
        eigenpairs: 1 -> eigenpairs of ``H``, k -> eigenpairs of ``D_k``, with their residuals.
        converged: whether all eigenvalues converged.
    """

    sharpness: float
    nonuniformity: dict[int, float]
    eigenpairs: dict[int, Eigenpairs]

    @property
    def converged(self) -> bool:
        """Whether all eigenvalues converged."""
        return all(pairs.converged for pairs in self.eigenpairs.values())


@dataclass(frozen=True)
class LinearStability:
    """Condition (6): whether the second moment of stochastic SAM, linearized at a minimum, stays bounded.

    Attributes:
        value: ``lambda_max(S)``. It is at least 1 if some direction changes no example's gradient.
        stable: whether it is at most 1, within the tolerance of the eigenvalue; a value above 1 by less than that needs
            a smaller tolerance. If the eigenvalue did not converge, it may be larger than found, and nothing is called
            stable.
        eigenpairs: the eigenpair, with its residual.
    """

    value: float
    stable: bool
    eigenpairs: Eigenpairs

    @property
    def converged(self) -> bool:
        """Whether the eigenvalue converged."""
        return self.eigenpairs.converged


def hessian_moments(
    example_loss: ExampleLoss,
    params: PyTree,
    batch: PyTree,
    *,
    orders: Sequence[int] = ORDERS,
    key: Key[Array, ""] | None = None,
    tolerance: float = 1e-3,
    most_products: int = 1000,
    where: Where | None = None,
    chunk_size: int | None = None,
    progress: Progress | None = None,
) -> HessianMoments:
    """Sharpness and non-uniformity, matrix-free: a product with ``D_k`` takes ``k`` products with each ``H_i``.

    Args:
        example_loss: ``(params, example) -> loss`` of one example.
        params: see ``hessian``.
        batch: the examples; the paper uses a random subset.
        orders: orders of the moments.
        key: see ``eigenpairs``.
        tolerance: see ``eigenpairs``.
        most_products: see ``eigenpairs``, for each order.
        where: see ``hessian``; all Hessians are then restricted to these diagonal blocks.
        chunk_size: examples at a time.
        progress: called with the number of products so far, over all orders.

    Raises:
        ValueError: as ``hessian``; if an order is below 2.

    Source: arXiv 2311.17539, section on linear stability; Wu et al. 2018 for order 2.
    """
    options: dict[str, Any] = {"key": key, "tolerance": tolerance, "most_products": most_products}
    blocks: dict[str, Any] = {"where": where, "chunk_size": chunk_size}
    mean = mean_hessian(example_loss, params, batch, **blocks)
    found = {1: eigenpairs(mean, 1, "top", progress=progress, **options)}
    nonuniformity = {}
    for order in orders:
        operator = moment_operator(example_loss, params, batch, order, **blocks)
        # Of examples that are all alike, D_k is the rounding error of a difference of k-th powers, the largest of
        # which may be that of negative curvature.
        rounding = 100 * float(jnp.finfo(operator.dtype).eps) * found[1].modulus ** order
        found[order] = eigenpairs(
            operator,
            1,
            "top",
            absolute=rounding,
            progress=_continued(progress, sum(pairs.products for pairs in found.values())),
            **options,
        )
        largest = float(found[order].eigenvalues[0])
        nonuniformity[order] = largest ** (1 / order) if largest > rounding else 0.0
    return HessianMoments(
        sharpness=float(found[1].eigenvalues[0]),
        nonuniformity=nonuniformity,
        eigenpairs=found,
    )


def stability(
    example_loss: ExampleLoss,
    params: PyTree,
    batch: PyTree,
    *,
    learning_rate: float,
    rho: float = 0.0,
    examples_per_step: int = 1,
    key: Key[Array, ""] | None = None,
    tolerance: float = 1e-3,
    most_products: int = 1000,
    where: Where | None = None,
    chunk_size: int | None = None,
    progress: Progress | None = None,
) -> LinearStability:
    """Whether stochastic SAM would stay at this minimum: condition (6), ``lambda_max(S) <= 1``.

    Args:
        example_loss: ``(params, example) -> loss`` of one example.
        params: the minimum.
        batch: the examples that it is trained on.
        learning_rate: ``eta``.
        rho: radius of the unnormalized ascent; 0 is stochastic gradient descent.
        examples_per_step: batch size, see ``second_moment_operator``.
        key: see ``eigenpairs``.
        tolerance: see ``eigenpairs``.
        most_products: see ``eigenpairs``.
        where: see ``hessian``.
        chunk_size: examples at a time.
        progress: see ``eigenpairs``.

    Raises:
        ValueError: as ``second_moment_operator``.

    Source: arXiv 2311.17539, condition (6).
    """
    operator = second_moment_operator(
        example_loss,
        params,
        batch,
        learning_rate=learning_rate,
        rho=rho,
        examples_per_step=examples_per_step,
        where=where,
        chunk_size=chunk_size,
    )
    pairs = eigenpairs(operator, 1, "top", key=key, tolerance=tolerance, most_products=most_products, progress=progress)
    value = float(pairs.eigenvalues[0])
    return LinearStability(value, pairs.converged and value <= 1 + tolerance, pairs)


def _continued(progress: Progress | None, products: int) -> Progress | None:
    return None if progress is None else lambda further: progress(products + further)


def mean_hessian(
    example_loss: ExampleLoss,
    params: PyTree,
    batch: PyTree,
    *,
    where: Where | None = None,
    chunk_size: int | None = None,
) -> LinearOperator:
    """``H``, the Hessian of the mean of the examples' losses."""
    params, batch = at_least_single((params, batch))
    check_example_loss(example_loss, params, batch)
    return checked_hessian(_mean_of(example_loss), params, batch, where=where, chunk_size=chunk_size)


def moment_operator(
    example_loss: ExampleLoss,
    params: PyTree,
    batch: PyTree,
    order: int,
    *,
    where: Where | None = None,
    chunk_size: int | None = None,
) -> LinearOperator:
    """``D_k = mean_i H_i^k - H^k``."""
    if order < 2:
        raise ValueError(f"order must be at least 2, got {order}: the first central moment of H_i is 0")
    return _per_example(example_loss, params, batch, _moment_apply, where, chunk_size, (jnp.asarray(order),))


def second_moment_operator(
    example_loss: ExampleLoss,
    params: PyTree,
    batch: PyTree,
    *,
    learning_rate: float,
    rho: float = 0.0,
    examples_per_step: int = 1,
    where: Where | None = None,
    chunk_size: int | None = None,
) -> LinearOperator:
    """``S = mean_i M_i^2`` with ``M_i = I - eta H_i - eta rho H_i^2``, one step of linearized SAM on example ``i``.

    Equal to ``(I - eta H - eta rho H^2)^2 + eta (eta - 2 rho) D_2 + 2 eta^2 rho D_3 + eta^2 rho^2 D_4``. For stochastic
    gradient descent with batches of ``B`` independent examples it is ``(I - eta H)^2 + eta^2 D_2 / B``.

    Raises:
        ValueError: as ``hessian``; if ``learning_rate`` is not positive, ``rho`` negative, or ``examples_per_step``
            below 1, or above 1 for a ``rho`` above 0: there ``S`` has products of different examples' Hessians.
    """
    if not learning_rate > 0 or not rho >= 0:
        raise ValueError(f"learning_rate must be > 0 and rho >= 0, got {learning_rate} and {rho}")
    if not hasattr(examples_per_step, "__index__") or examples_per_step < 1:
        raise ValueError(f"examples_per_step must be a whole number of at least 1, got {examples_per_step}")
    if examples_per_step > 1 and rho > 0:
        raise ValueError(f"examples_per_step must be 1 for rho > 0, got {examples_per_step} and rho {rho}")
    constants = (jnp.asarray(learning_rate), jnp.asarray(rho))
    if examples_per_step > 1:
        constants = (*constants, jnp.asarray(1 / examples_per_step))
        return _per_example(example_loss, params, batch, _batch_second_moment_apply, where, chunk_size, constants)
    return _per_example(example_loss, params, batch, _second_moment_apply, where, chunk_size, constants)


@functools.lru_cache(maxsize=256)
def _mean_of(example_loss: ExampleLoss) -> MeanLoss:
    def mean_loss(params: PyTree, batch: PyTree) -> Float[Array, ""]:
        return jnp.mean(jax.vmap(lambda example: example_loss(params, example))(batch))

    return mean_loss


def _per_example(
    example_loss: ExampleLoss,
    params: PyTree,
    batch: PyTree,
    make: Callable[..., Apply],
    where: Where | None,
    chunk_size: int | None,
    constants: tuple[Array, ...],
) -> LinearOperator:
    # Of the same checks as the mean Hessian.
    mean = mean_hessian(example_loss, params, batch, where=where, chunk_size=chunk_size)
    apply = make(example_loss, mean.flattening, mean.apply, checked_chunk_size(chunk_size))
    return LinearOperator(apply, (*mean.arguments, constants), mean.flattening, mean.dtype)


def example_product(
    example_loss: ExampleLoss, flattening: Flattening, point: Array, arrays: Any
) -> Callable[..., Array]:
    """``(example, vector) -> H_i vector``."""
    product = _leaves_product(example_loss, flattening, flattening.leaves(point), arrays)

    def of_vector(example: PyTree, vector: Array) -> Array:
        return joined(product(example, flattening.leaves(vector)), vector.dtype)

    return of_vector


def _leaves_product(
    example_loss: ExampleLoss, flattening: Flattening, point: list[Array], arrays: Any
) -> Callable[[PyTree, list[Array]], list[Array]]:
    """``(example, direction) -> H_i direction``, on leaves: a vector per example would be split for every product."""

    def product(example: PyTree, direction: list[Array]) -> list[Array]:
        gradient = jax.grad(lambda leaves: example_loss(flattening.assembled(leaves, arrays), example))

        return jax.jvp(gradient, (point,), (direction,))[1]

    return product


def _sum_of_products(
    example_loss: ExampleLoss,
    flattening: Flattening,
    point: list[Array],
    arrays: Any,
    batch: PyTree,
    directions: list[Array],
) -> list[Array]:
    """``sum_i H_i u_i``, as the gradient of ``sum_i <grad f_i, u_i>``: products of single examples are not stored."""

    def slope(leaves: list[Array], example: PyTree, direction: list[Array]) -> Array:
        gradient = jax.grad(lambda leaves: example_loss(flattening.assembled(leaves, arrays), example))(leaves)
        dtype = jnp.result_type(*gradient)
        return sum(
            (jnp.vdot(g, d).astype(dtype) for g, d in zip(gradient, direction, strict=True)), jnp.zeros((), dtype)
        )

    return jax.grad(lambda leaves: jax.vmap(slope, (None, 0, 0))(leaves, batch, directions).sum())(point)


@functools.lru_cache(maxsize=256)
def _moment_apply(example_loss: ExampleLoss, flattening: Flattening, mean: Apply, chunk_size: int | None) -> Apply:
    def apply(vector: Array, arguments: Any) -> Array:
        # The order is an argument, so that all orders share a program.
        point, arrays, batch, (order,) = arguments
        leaves, direction = flattening.leaves(point), flattening.leaves(vector)
        product = _leaves_product(example_loss, flattening, leaves, arrays)

        def power(example: PyTree) -> list[Array]:
            # The first product, of a direction that all examples share, is one of matrices: it stays out of the loop.
            return jax.lax.fori_loop(2, order, lambda _, u: product(example, u), product(example, direction))

        def of_chunk(chunk: PyTree) -> Array:
            powers = jax.vmap(power)(chunk)
            total = _sum_of_products(example_loss, flattening, leaves, arrays, chunk, powers)
            return joined(total, vector.dtype)

        total = sum_over_chunks(of_chunk, batch, chunk_size, jnp.zeros_like(vector))

        of_mean = jax.lax.fori_loop(0, order, lambda _, v: mean(v, (point, arrays, batch)), vector)
        return total / batch_size(batch) - of_mean

    return apply


@functools.lru_cache(maxsize=256)
def _second_moment_apply(
    example_loss: ExampleLoss, flattening: Flattening, mean: Apply, chunk_size: int | None
) -> Apply:
    del mean

    def apply(vector: Array, arguments: Any) -> Array:
        point, arrays, batch, (learning_rate, rho) = arguments
        leaves, direction = flattening.leaves(point), flattening.leaves(vector)
        product = _leaves_product(example_loss, flattening, leaves, arrays)

        def plus(left: list[Array], factor: Array, right: list[Array]) -> list[Array]:
            return [a + factor.astype(a.dtype) * b for a, b in zip(left, right, strict=True)]

        def ascent(example: PyTree, u: list[Array]) -> list[Array]:
            return plus(u, rho, product(example, u))

        def step(example: PyTree) -> list[Array]:
            return plus(direction, -learning_rate, product(example, ascent(example, direction)))

        def of_chunk(chunk: PyTree) -> Array:
            steps = jax.vmap(step)(chunk)
            ascents = jax.vmap(ascent)(chunk, steps)
            total = _sum_of_products(example_loss, flattening, leaves, arrays, chunk, ascents)
            return joined(plus([u.sum(0) for u in steps], -learning_rate, total), vector.dtype)

        return sum_over_chunks(of_chunk, batch, chunk_size, jnp.zeros_like(vector)) / batch_size(batch)

    return apply


@functools.lru_cache(maxsize=256)
def _batch_second_moment_apply(
    example_loss: ExampleLoss, flattening: Flattening, mean: Apply, chunk_size: int | None
) -> Apply:
    of_one = _second_moment_apply(example_loss, flattening, mean, chunk_size)

    def apply(vector: Array, arguments: Any) -> Array:
        point, arrays, batch, (learning_rate, rho, share) = arguments

        def step(vector: Array) -> Array:
            return vector - learning_rate.astype(vector.dtype) * mean(vector, (point, arrays, batch))

        # D_2 of a mean of B independent examples is 1/B of that of one.
        share = share.astype(vector.dtype)
        return share * of_one(vector, (point, arrays, batch, (learning_rate, rho))) + (1 - share) * step(step(vector))

    return apply
