"""Problems that several tests share."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
import pytest

from widebasin.models import MLP


class Problem(NamedTuple):
    loss: object  # (params, inputs, labels) -> mean cross entropy
    loss_with_logits: object  # (params, inputs, labels) -> (mean cross entropy, logits)
    params: MLP
    batch: tuple[jax.Array, jax.Array]


@pytest.fixture(scope="session")
def classification() -> Problem:
    """Cross entropy of a ReLU network with 203 parameters on 32 random examples."""
    keys = jax.random.split(jax.random.key(0), 3)
    batch = (jax.random.normal(keys[0], (32, 6)), jax.random.randint(keys[1], (32,), 0, 3))

    def loss_with_logits(model, inputs, labels):
        logits = jax.vmap(model)(inputs)
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels)), logits

    def loss(model, inputs, labels):
        return loss_with_logits(model, inputs, labels)[0]

    return Problem(loss, loss_with_logits, MLP((6, 16, 5, 3), key=keys[2]), batch)


@pytest.fixture
def float64():
    """Double precision within one test."""
    with jax.enable_x64(True):
        yield
