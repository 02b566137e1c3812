"""Sharpness of a minimum, and non-uniformity of its per-sample Hessians, for any pytree model.

``loss_fn(params, batch)`` is the mean loss over a batch, ``example_loss(params, example)`` the loss of one example;
both are plain functions. A batch is a pytree whose leaves have the examples along their leading axis. Everything is
computed over the whole batch, one chunk at a time, so memory is that of a chunk. Results include their own error
estimates.

The precision is that of the parameters: for eight digits, use float64 (``jax.enable_x64``).
"""

from widebasin.curvature._constants import (
    Constants,
    Estimate,
    constants,
    constants_at_minimum,
    least_squares_constants,
)
from widebasin.curvature._density import SpectralDensity, density_of, spectral_density
from widebasin.curvature._eigenvalues import Eigenpairs, bottom_eigenvalues, eigenpairs, top_eigenvalues
from widebasin.curvature._flat import NotFiniteError
from widebasin.curvature._landscape import Landscape, filter_normalized_direction, landscape
from widebasin.curvature._layers import LayerCurvature, by_layer
from widebasin.curvature._moments import (
    HessianMoments,
    LinearStability,
    hessian_moments,
    moment_operator,
    second_moment_operator,
    stability,
)
from widebasin.curvature._operator import LinearOperator, gauss_newton, hessian
from widebasin.curvature._sharpness import (
    AverageSharpness,
    Sharpness,
    average_sharpness,
    normalized_logits,
    worst_case_sharpness,
)
from widebasin.curvature._trace import Trace, trace, trace_of

__all__ = [
    "AverageSharpness",
    "Constants",
    "Eigenpairs",
    "Estimate",
    "HessianMoments",
    "Landscape",
    "LayerCurvature",
    "LinearOperator",
    "LinearStability",
    "NotFiniteError",
    "Sharpness",
    "SpectralDensity",
    "Trace",
    "average_sharpness",
    "bottom_eigenvalues",
    "by_layer",
    "constants",
    "constants_at_minimum",
    "density_of",
    "eigenpairs",
    "filter_normalized_direction",
    "gauss_newton",
    "hessian",
    "hessian_moments",
    "landscape",
    "least_squares_constants",
    "moment_operator",
    "normalized_logits",
    "second_moment_operator",
    "spectral_density",
    "stability",
    "top_eigenvalues",
    "trace",
    "trace_of",
    "worst_case_sharpness",
]
