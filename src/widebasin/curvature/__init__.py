"""How sharp a minimum is, and how uneven its per-sample Hessians are, for any pytree model.

``loss_fn(params, batch)`` is the mean loss over a batch, ``example_loss(params, example)`` the loss of one example;
both are plain functions. A batch is a pytree whose leaves have the examples along their leading axis. Everything is
computed over the whole batch given, a chunk at a time, so memory is that of a chunk. Results carry their own doubt.

Precision is that of the parameters: for eight digits, use float64 (``jax.enable_x64``).
"""

from widebasin.curvature._density import SpectralDensity, spectral_density
from widebasin.curvature._eigenvalues import Eigenpairs, bottom_eigenvalues, eigenpairs, top_eigenvalues
from widebasin.curvature._moments import (
    HessianMoments,
    LinearStability,
    hessian_moments,
    moment_operator,
    second_moment_operator,
    stability,
)
from widebasin.curvature._operator import LinearOperator, gauss_newton, hessian
from widebasin.curvature._trace import Trace, trace

__all__ = [
    "Eigenpairs",
    "HessianMoments",
    "LinearOperator",
    "LinearStability",
    "SpectralDensity",
    "Trace",
    "bottom_eigenvalues",
    "eigenpairs",
    "gauss_newton",
    "hessian",
    "hessian_moments",
    "moment_operator",
    "second_moment_operator",
    "spectral_density",
    "stability",
    "top_eigenvalues",
    "trace",
]
