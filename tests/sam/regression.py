"""Every registered method at any ``m``, and one small problem to run them on."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from widebasin import sam

NAMES = tuple(sam.METHODS)
RHO = 0.3


class Regression(NamedTuple):
    """A network with one hidden layer of four tanh units and 32 examples, in the precision that is set."""

    params: dict
    batch: tuple[jax.Array, jax.Array]


def regression(seed=0):
    keys = jax.random.split(jax.random.key(seed), 5)
    params = {
        "in": jax.random.normal(keys[0], (3, 4)),
        "bias": jax.random.normal(keys[1], (4,)),
        "out": jax.random.normal(keys[2], (4,)),
    }
    return Regression(params, (jax.random.normal(keys[3], (32, 3)), jax.random.normal(keys[4], (32,))))


def predictions(params, inputs):
    return jnp.tanh(inputs @ params["in"] + params["bias"]) @ params["out"]


def loss(params, inputs, targets):
    return jnp.mean((predictions(params, inputs) - targets) ** 2)


def method_called(name, m=None, rho=RHO):
    method = sam.METHODS[name].with_radius(rho)
    return method if name == "sgd" else dataclasses.replace(method, m=m)


def key_at(step):
    return jax.random.fold_in(jax.random.key(3), step)


def descend(params, gradients, learning_rate=0.1):
    return jax.tree.map(lambda w, g: w - learning_rate * g, params, gradients)


def trajectory(step, params, state, steps=2):
    """What ``step(params, state, key) -> (value, gradients, state)`` returns in steps of gradient descent."""
    returned = []
    for i in range(steps):
        value, gradients, state = step(params, state, key_at(i))
        returned.append((value, gradients, state))
        params = descend(params, gradients)
    return returned
