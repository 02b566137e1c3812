"""The trace of an operator, by random probes."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree
from matfree import stochtrace

from widebasin.curvature._flat import Where, checked_key
from widebasin.curvature._mean_loss import MeanLoss
from widebasin.curvature._operator import LinearOperator, finite_products, hessian


@dataclass(frozen=True)
class Trace:
    """An estimate of a trace.

    Attributes:
        estimate: the mean over probes.
        standard_error: standard error of that mean.
        probes: number of probes.
    """

    estimate: float
    standard_error: float
    probes: int


def trace(
    loss_fn: MeanLoss,
    params: PyTree,
    batch: PyTree,
    *,
    key: Key[Array, ""],
    probes: int = 32,
    where: Where | None = None,
    chunk_size: int | None = None,
) -> Trace:
    """The trace of the Hessian of the mean loss, by Hutchinson's estimator: the mean of ``z^T H z`` over random signs.

    Args:
        loss_fn: see ``hessian``.
        params: see ``hessian``.
        batch: see ``hessian``.
        key: key for the probes.
        probes: number of probes, at least 2; the standard error falls with its square root.
        where: see ``hessian``.
        chunk_size: see ``hessian``.

    Source: Hutchinson 1990.
    """
    return trace_of(hessian(loss_fn, params, batch, where=where, chunk_size=chunk_size), key=key, probes=probes)


def trace_of(operator: LinearOperator, *, key: Key[Array, ""], probes: int = 32) -> Trace:
    """The trace of an operator, such as ``gauss_newton``; see ``trace``."""
    if probes < 2:
        raise ValueError(f"probes must be at least 2, for a standard error, got {probes}")
    vectors = stochtrace.sampler_signs(jnp.zeros(operator.size, operator.dtype), num=probes)(checked_key(key))
    integrand = jax.default_matmul_precision("highest")(stochtrace.monte_carlo_trace())
    values = finite_products(jnp.stack([integrand(operator.__matmul__, vector) for vector in vectors]))
    return Trace(float(values.mean()), float(values.std(ddof=1) / probes**0.5), probes)
