"""Linear networks."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key


class LinearNetwork(eqx.Module):
    """A product of matrices, without biases or nonlinearity: ``x -> W_L ... W_1 x``.

    One matrix is linear regression; two with squared loss are matrix factorization. Entries are drawn from ``N(0, 1 /
    fan_in)``.

    Example:
        >>> import jax
        >>> from widebasin.models import LinearNetwork, count_parameters
        >>> count_parameters(LinearNetwork((6, 10, 10), key=jax.random.key(0)))
        160
    """

    INPUT_AXES: ClassVar[Mapping[str, int]] = {"weights": 1}

    weights: list[Float[Array, "outputs inputs"]]

    def __init__(self, sizes: Sequence[int], *, key: Key[Array, ""]) -> None:
        """A network with ``sizes = (features, hidden, ..., outputs)``; at least two sizes, each at least 1."""
        if len(sizes) < 2 or min(sizes) < 1:
            raise ValueError(f"sizes must be at least two numbers, each at least 1, got {tuple(sizes)}")
        keys = jax.random.split(key, len(sizes) - 1)
        self.weights = [
            jax.random.normal(k, (outputs, inputs)) / jnp.sqrt(inputs)
            for k, (inputs, outputs) in zip(keys, pairwise(sizes), strict=True)
        ]

    def __call__(self, x: Float[Array, " features"]) -> Float[Array, " outputs"]:
        """The outputs for one example."""
        for weight in self.weights:
            x = weight @ x
        return x


class LinearRegression(eqx.Module):
    """Linear regression on only the first features: ``x -> W x[:width]``, starting at ``W = 0``."""

    INPUT_AXES: ClassVar[Mapping[str, int]] = {"weight": 1}

    weight: Float[Array, "outputs width"]

    def __init__(self, width: int, outputs: int = 1) -> None:
        """Weights of 0 for ``width`` features and each output."""
        if min(width, outputs) < 1:
            raise ValueError(f"width and outputs must be at least 1, got {width} and {outputs}")
        self.weight = jnp.zeros((outputs, width))

    def __call__(self, x: Float[Array, " features"]) -> Float[Array, " outputs"]:
        """The outputs for one example."""
        width = self.weight.shape[1]
        if x.shape[0] < width:
            raise ValueError(f"the examples must have at least {width} features, got {x.shape[0]}")
        return self.weight @ x[:width]
