"""Architectures as Equinox modules for one example; width is an argument. Batches come from ``jax.vmap``."""

from widebasin.models.linear import LinearNetwork, LinearRegression
from widebasin.models.mlp import MLP
from widebasin.models.parameters import count_parameters

__all__ = ["MLP", "LinearNetwork", "LinearRegression", "count_parameters"]
