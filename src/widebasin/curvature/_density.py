"""The density of a spectrum, by stochastic Lanczos quadrature."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, PyTree

from widebasin.curvature._flat import Where, checked_key, compiled
from widebasin.curvature._krylov import begun, grown, ritz_pairs
from widebasin.curvature._mean_loss import MeanLoss
from widebasin.curvature._operator import LinearOperator, finite_products, hessian


@dataclass(frozen=True)
class SpectralDensity:
    """A spectrum as a distribution over the real line.

    Attributes:
        nodes: ``(probes, dimension)``, Ritz values of every probe.
        weights: the same shape; each row sums to 1. The mean over probes of ``sum_j weights_j f(nodes_j)`` estimates
            ``trace(f(A)) / size``. If the Krylov space of a probe is exhausted before ``dimension``, as for an operator
            with few different eigenvalues, its row is padded with weights of 0.
        size: dimension of the operator.
    """

    nodes: np.ndarray
    weights: np.ndarray
    size: int

    def mean_of(self, function: Callable[[np.ndarray], np.ndarray]) -> tuple[float, float]:
        """``trace(f(A)) / size`` with its standard error over probes."""
        values = (self.weights * function(self.nodes)).sum(1)
        return float(values.mean()), float(values.std(ddof=1) / len(values) ** 0.5)

    def density(self, points: np.ndarray | Array, width: float) -> np.ndarray:
        """The density at points, each node smoothed by a Gaussian of standard deviation ``width``."""
        if not width > 0:
            raise ValueError(f"width must be > 0, got {width}")
        distance = (np.asarray(points)[:, None] - self.nodes.ravel()[None]) / width
        bumps = np.exp(-0.5 * distance**2) / (width * np.sqrt(2 * np.pi))
        return bumps @ self.weights.ravel() / len(self.weights)


def spectral_density(
    loss_fn: MeanLoss,
    params: PyTree,
    batch: PyTree,
    *,
    key: Key[Array, ""],
    probes: int = 8,
    dimension: int = 64,
    where: Where | None = None,
    chunk_size: int | None = None,
) -> SpectralDensity:
    """The density of the eigenvalues of the Hessian of the mean loss.

    Args:
        loss_fn: see ``hessian``.
        params: see ``hessian``.
        batch: see ``hessian``.
        key: key for the probes.
        probes: number of random vectors, at least 2.
        dimension: dimension of the Krylov space of each probe, at most the number of parameters.
        where: see ``hessian``.
        chunk_size: see ``hessian``.

    Source: Golub & Welsch 1969; Ghorbani et al. 2019.
    """
    return density_of(
        hessian(loss_fn, params, batch, where=where, chunk_size=chunk_size), key=key, probes=probes, dimension=dimension
    )


def density_of(
    operator: LinearOperator, *, key: Key[Array, ""], probes: int = 8, dimension: int = 64
) -> SpectralDensity:
    """The density of the eigenvalues of an operator, such as ``gauss_newton``; see ``spectral_density``."""
    if probes < 2:
        raise ValueError(f"probes must be at least 2, for a standard error, got {probes}")
    if not 1 <= dimension <= operator.size:
        raise ValueError(f"dimension must be between 1 and the {operator.size} parameters, got {dimension}")
    starts = jax.random.normal(checked_key(key), (probes, operator.size), operator.dtype)
    rules = [_quadrature(*grown(operator.__matmul__, dimension, *begun(start))) for start in starts]
    nodes, weights = (finite_products(jnp.stack(rows)) for rows in zip(*rules, strict=True))
    return SpectralDensity(nodes, weights, operator.size)


@compiled()
def _quadrature(basis: Array, projection: Array) -> tuple[Array, Array]:
    values, coefficients, _ = ritz_pairs(basis, projection)
    weights = coefficients[0] ** 2
    # Nodes without a weight lie at the mean, so that any function of eigenvalues can be taken of them.
    return jnp.where(weights > 0, values, weights @ values), weights
