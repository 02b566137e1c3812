"""Initialization of policy and critic, and their shapes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from widebasin.models import ActorCritic


@pytest.fixture(scope="module")
def model():
    return ActorCritic(features=6, actions=3, width=5, key=jax.random.key(1))


@pytest.mark.parametrize(("network", "last"), [("actor", 0.01), ("critic", 1.0)])
def test_weights_are_orthogonal_and_biases_zero(network, last, model):
    for layer, scale in zip(getattr(model, network), (2**0.5, 2**0.5, last), strict=True):
        rows = np.asarray(layer.weight)
        gram = rows @ rows.T if len(rows) <= rows.shape[1] else rows.T @ rows
        np.testing.assert_allclose(gram, scale**2 * np.eye(len(gram)), atol=1e-5 * scale**2)
        assert not np.asarray(layer.bias).any()


def test_outputs_are_those_of_two_networks(model):
    x = np.linspace(-1, 1, 6)
    logits, value = model(jnp.asarray(x).reshape(2, 3))
    for layers, found in ((model.actor, logits), (model.critic, value[None])):
        hidden = x
        for layer in layers[:-1]:
            hidden = np.tanh(np.asarray(layer.weight) @ hidden + np.asarray(layer.bias))
        np.testing.assert_allclose(found, np.asarray(layers[-1].weight) @ hidden, rtol=1e-5, atol=1e-6)


def test_sizes_below_one_are_refused():
    with pytest.raises(ValueError, match="must be at least 1, got 6, 3 and 0"):
        ActorCritic(6, 3, 0, key=jax.random.key(0))
