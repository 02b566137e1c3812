"""Estimates of the constants in the convergence theorem: smoothness and Polyak-Łojasiewicz."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PyTree

from widebasin.curvature._eigenvalues import eigenpairs
from widebasin.curvature._example_norms import largest_example_norm
from widebasin.curvature._flat import Flattening, batch_size, compiled, sum_over_chunks
from widebasin.curvature._krylov import euclidean_norm
from widebasin.curvature._mean_loss import ExampleLoss
from widebasin.curvature._moments import mean_hessian
from widebasin.curvature._operator import finite_products


@dataclass(frozen=True)
class Estimate:
    """An estimate of a constant.

    Attributes:
        value: the number.
        kind: in words, whether it is exact, a lower bound or an upper bound.
    """

    value: float
    kind: str


@dataclass(frozen=True)
class Constants:
    """The arguments of ``widebasin.theory.convergence``: ``theory.convergence(**found.values, rho=0.1)``.

    They are always consistent: ``pl <= smoothness <= smoothness_each``.

    Attributes:
        smoothness_each: ``beta``, a Lipschitz constant of the gradient of every example's loss.
        smoothness: ``lambda``, a Lipschitz constant of the gradient of the mean loss.
        pl: ``a`` in ``(1/2) ||grad f||^2 >= a f``.
        converged: whether all eigenvalues converged.
    """

    smoothness_each: Estimate
    smoothness: Estimate
    pl: Estimate
    converged: bool

    @property
    def values(self) -> dict[str, float]:
        """The three numbers by their names."""
        return {name: getattr(self, name).value for name in ("smoothness_each", "smoothness", "pl")}


def constants(
    example_loss: ExampleLoss,
    trajectory: Sequence[PyTree],
    batch: PyTree,
    *,
    lowest: float = 0.0,
    key: Key[Array, ""] | None = None,
    tolerance: float = 1e-3,
    most_products: int = 1000,
    chunk_size: int | None = None,
) -> Constants:
    """Lower or upper bounds on the constants, from the points of a trajectory.

    * ``smoothness_each``: the largest ``||H_i||_2`` of any example at any point; ``beta`` is at least that.
    * ``smoothness``: the largest ``||H||_2`` of the mean loss, or the largest ``||grad f||^2 / (2 (f - lowest))`` if
      that is larger, which ``lambda`` bounds for every smooth function; ``lambda`` is at least that.
    * ``pl``: the smallest ``||grad f||^2 / (2 (f - lowest))``; ``a`` is at most that.

    Points at which ``f`` is ``lowest``, or above it by no more than a hundred rounding errors of either, are left out
    of these ratios. A rate computed from them is thus the best that the theorem could guarantee, not a guarantee.

    Args:
        example_loss: ``(params, example) -> loss`` of one example.
        trajectory: a list of points with the same structure; one is enough.
        batch: the examples.
        lowest: the infimum of the mean loss; 0 if the model can interpolate.
        key: see ``eigenpairs``.
        tolerance: see ``eigenpairs``; also for the norms of single examples.
        most_products: see ``eigenpairs``, for each norm at each point.
        chunk_size: examples at a time, each with its own Krylov space.

    Raises:
        ValueError: as ``hessian``; if ``trajectory`` is empty, or the loss is not above ``lowest``.

    Source: the quantities of arXiv 2311.17539; that ``||grad f||^2 <= 2 lambda (f - inf f)``: Nesterov 2004, (2.1.7).
    """
    if len(trajectory) == 0:
        raise ValueError("trajectory must have at least one point, a pytree of parameters")
    each, mean, ratios, converged = [], [], [], True
    for params in trajectory:
        operator = mean_hessian(example_loss, params, batch, chunk_size=chunk_size)
        pairs = eigenpairs(operator, 1, "modulus", key=key, tolerance=tolerance, most_products=most_products)
        mean.append(abs(float(pairs.eigenvalues[0])))
        norm, sound = largest_example_norm(
            example_loss, operator, key=key, tolerance=tolerance, most_products=most_products, chunk_size=chunk_size
        )
        each.append(norm)
        converged &= pairs.converged and sound
        value, length = map(
            float, _loss_and_gradient_norm(example_loss, operator.flattening, chunk_size, operator.arguments)
        )
        rounding = 100 * float(jnp.finfo(operator.dtype).eps) * max(abs(value), abs(lowest))
        if value < lowest - rounding:
            raise ValueError(f"lowest must be at most the loss at every point, got {lowest:g}, above {value:g}")
        if value > lowest + rounding:
            # The square alone may leave the range of its type where the ratio does not.
            ratios.append(length / (2 * (value - lowest)) * length)
    if not ratios:
        raise ValueError(
            f"the loss is {lowest:g} at every point of trajectory, up to rounding: pl needs a point with a larger loss"
        )
    smoothness = max(*mean, *ratios)
    return Constants(
        Estimate(max(*each, smoothness), "largest seen: a lower bound"),
        Estimate(smoothness, "largest seen: a lower bound"),
        Estimate(min(ratios), "smallest seen: an upper bound"),
        converged,
    )


def constants_at_minimum(
    example_loss: ExampleLoss,
    params: PyTree,
    batch: PyTree,
    *,
    threshold: float | None = None,
    tolerance: float = 1e-6,
    chunk_size: int | None = None,
) -> Constants:
    """The constants of the quadratic model at a minimum where every example's gradient is 0.

    There ``f_i(w* + x) = x^T H_i x / 2`` to second order, all ``H_i`` positive semidefinite. So ``beta`` is the largest
    eigenvalue of any ``H_i``, ``lambda`` that of their mean ``H``, and ``a`` the smallest positive one of ``H``, as
    ``||H x||^2 / 2 >= a x^T H x / 2``. For models small enough for a dense ``H``.

    Args:
        example_loss: ``(params, example) -> loss`` of one example.
        params: the minimum.
        batch: the examples.
        threshold: eigenvalues of ``H`` above this fraction of the largest count as positive; by default the square root
            of the rounding error of the parameters' precision.
        tolerance: tolerance for ``beta``; see ``eigenpairs``.
        chunk_size: examples at a time.

    Raises:
        ValueError: as ``hessian``; if there are more than 10,000 parameters, or ``H`` is zero or has a negative
            eigenvalue beyond the threshold, so that this is not such a minimum.
    """
    operator = mean_hessian(example_loss, params, batch, chunk_size=chunk_size)
    if operator.size > 10_000:
        raise ValueError(f"the dense Hessian is needed: params may have at most 10,000 entries, got {operator.size}")
    share = operator.flattening.rounding_error**0.5 if threshold is None else threshold
    if not 0 < share < 1:
        raise ValueError(f"threshold must lie in (0, 1), got {share}")
    values = np.linalg.eigvalsh(finite_products(operator.dense()))
    largest = float(values[-1])
    if largest <= 0 or values[0] < -share * largest:
        raise ValueError(
            f"params must be a minimum with some curvature: eigenvalues of its Hessian run from {values[0]:.3g} to "
            f"{largest:.3g}"
        )
    each, converged = largest_example_norm(example_loss, operator, tolerance=tolerance, chunk_size=chunk_size)
    kind = "of the quadratic model at this point"
    return Constants(
        Estimate(max(each, largest), kind),
        Estimate(largest, kind),
        Estimate(float(values[values > share * largest][0]), kind),
        converged,
    )


def least_squares_constants(inputs: Float[np.ndarray | Array, "examples features"]) -> Constants:
    """The constants of linear least squares, ``f_i(w) = (w . x_i - y_i)^2``, everywhere and exactly.

    ``H_i = 2 x_i x_i^T`` wherever ``w`` is, so ``beta = 2 max_i ||x_i||^2``, ``lambda = 2 s_max`` and ``a = 2 s_min``,
    with ``s`` the eigenvalues of ``X^T X / n`` that are not 0. Indeed ``f - min f = d^T S d`` for ``d`` the distance to
    a minimizer, ``grad f = 2 S d``, and ``2 ||S d||^2 >= 2 s_min d^T S d``. Targets do not matter; several outputs,
    ``||W x_i - y_i||^2``, have the same constants. If the loss is half the square, all constants are half as large.

    Args:
        inputs: ``(examples, features)``.

    Raises:
        ValueError: if there are no inputs, all are 0, or one is not finite.
    """
    rows = np.asarray(inputs, np.float64)
    if rows.ndim != 2 or not rows.size or not np.isfinite(rows).all() or not rows.any():
        raise ValueError(f"inputs must be a finite matrix (examples, features), not all 0, got shape {rows.shape}")
    singular = np.linalg.svd(rows, compute_uv=False)
    # Those of an exact 0 are rounding errors of this size.
    singular = singular[singular > singular[0] * max(rows.shape) * np.finfo(np.float64).eps]
    return Constants(
        Estimate(2 * float((rows**2).sum(1).max()), "exact"),
        Estimate(2 * float(singular[0] ** 2) / len(rows), "exact"),
        Estimate(2 * float(singular[-1] ** 2) / len(rows), "exact"),
        True,
    )


@compiled(0, 1, 2)
def _loss_and_gradient_norm(
    example_loss: ExampleLoss, flattening: Flattening, chunk_size: int | None, arguments: Any
) -> tuple[Array, Array]:
    point, arrays, batch = arguments

    def total(chunk: PyTree) -> Array:
        def loss(vector: Array) -> Array:
            return jax.vmap(lambda example: example_loss(flattening.params(vector, arrays), example))(chunk).sum()

        value, gradient = jax.value_and_grad(loss)(point)
        return jnp.append(gradient, value)

    mean = sum_over_chunks(total, batch, chunk_size, jnp.zeros(len(point) + 1, point.dtype)) / batch_size(batch)
    return mean[-1], euclidean_norm(mean[:-1])
