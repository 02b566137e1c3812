"""Policy and critic of an agent."""

from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

# Standard deviations, relative to an orthogonal matrix: hidden layers, the policy's and the critic's last layer.
HIDDEN, POLICY, VALUE = 2**0.5, 0.01, 1.0


class ActorCritic(eqx.Module):
    """Two networks without common parameters: the policy's logits and the critic's value.

    Both have two hidden layers of tanh. Weights are orthogonal, scaled by ``sqrt(2)``, the last layers by .01 (policy)
    and 1 (critic), as in CleanRL; biases start at 0.

    Example:
        >>> import jax
        >>> from widebasin.models import ActorCritic, count_parameters
        >>> count_parameters(ActorCritic(features=4, actions=2, width=64, key=jax.random.key(0)))
        9155
    """

    ORTHOGONAL: ClassVar[tuple[str, ...]] = ("actor", "critic")

    actor: list[eqx.nn.Linear]
    critic: list[eqx.nn.Linear]

    def __init__(self, features: int, actions: int, width: int, *, key: Key[Array, ""]) -> None:
        """Networks with ``width`` features in every hidden layer."""
        if min(features, actions, width) < 1:
            raise ValueError(f"features, actions and width must be at least 1, got {features}, {actions} and {width}")
        one, other = jax.random.split(key)
        self.actor = _layers((features, width, width, actions), POLICY, one)
        self.critic = _layers((features, width, width, 1), VALUE, other)

    def __call__(self, observation: Float[Array, "..."]) -> tuple[Float[Array, " actions"], Float[Array, ""]]:
        """Logits of the actions, and the value, of one observation; its entries are the features, row by row."""
        x = observation.ravel()
        return _through(self.actor, x), _through(self.critic, x)[0]


def _layers(sizes: Sequence[int], last: float, key: Key[Array, ""]) -> list[eqx.nn.Linear]:
    scales = [HIDDEN] * (len(sizes) - 2) + [last]
    return [
        orthogonal(inputs, outputs, scale, own)
        for (inputs, outputs), scale, own in zip(
            pairwise(sizes), scales, jax.random.split(key, len(scales)), strict=True
        )
    ]


def orthogonal(inputs: int, outputs: int, scale: float, key: Key[Array, ""]) -> eqx.nn.Linear:
    """A layer with orthogonal weights, times ``scale``, and biases of 0."""
    layer = eqx.nn.Linear(inputs, outputs, key=key)
    weight = jax.nn.initializers.orthogonal(scale)(key, (outputs, inputs))
    return eqx.tree_at(lambda one: (one.weight, one.bias), layer, (weight, jnp.zeros(outputs)))


def _through(layers: Sequence[eqx.nn.Linear], x: Float[Array, " features"]) -> Float[Array, " outputs"]:
    for layer in layers[:-1]:
        x = jnp.tanh(layer(x))
    return layers[-1](x)
