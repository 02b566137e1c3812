"""Multilayer perceptron."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key


class MLP(eqx.Module):
    """Affine layers with ReLU between them: ``x -> W_L relu(... relu(W_1 x + b_1) ...) + b_L``.

    Weights are drawn from ``N(0, 2 / fan_in)`` (He et al. 2015), biases start at 0.

    Example:
        >>> import jax
        >>> from widebasin.models import MLP, count_parameters
        >>> model = MLP.ladder(784, 10, width=100, key=jax.random.key(0))  # LeNet-300-100
        >>> count_parameters(model)
        266610
    """

    INPUT_AXES: ClassVar[Mapping[str, int]] = {"weights": 1}

    weights: list[Float[Array, "outputs inputs"]]
    biases: list[Float[Array, " outputs"]]

    def __init__(self, sizes: Sequence[int], *, key: Key[Array, ""]) -> None:
        """A network with ``sizes = (features, hidden, ..., outputs)``; at least two sizes, each at least 1."""
        if len(sizes) < 2 or min(sizes) < 1:
            raise ValueError(f"sizes must be at least two numbers, each at least 1, got {tuple(sizes)}")
        keys = jax.random.split(key, len(sizes) - 1)
        self.weights = [
            jnp.sqrt(2 / inputs) * jax.random.normal(k, (outputs, inputs))
            for k, (inputs, outputs) in zip(keys, pairwise(sizes), strict=True)
        ]
        self.biases = [jnp.zeros(outputs) for outputs in sizes[1:]]

    @classmethod
    def ladder(cls, features: int, outputs: int, width: int, *, key: Key[Array, ""]) -> "MLP":
        """LeNet-300-100 scaled: ``features - 3 width - width - outputs``. Source: arXiv 2311.17539."""
        return cls((features, 3 * width, width, outputs), key=key)

    def __call__(self, x: Float[Array, "..."]) -> Float[Array, " outputs"]:
        """The outputs (logits) for one example; the pixels of an image are its features, row by row."""
        return self._forward(x)[0]

    def activation_patterns(self, x: Float[Array, "..."]) -> list[Bool[Array, " neurons"]]:
        """Whether each ReLU is active for one example, layer by layer."""
        return self._forward(x)[1]

    def _forward(self, x: Float[Array, "..."]) -> tuple[Float[Array, " outputs"], list[Bool[Array, " neurons"]]]:
        x = x.ravel()
        patterns = []
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            x = weight @ x + bias
            patterns.append(x > 0)
            x = jax.nn.relu(x)
        return self.weights[-1] @ x + self.biases[-1], patterns
