"""Classifiers in float64, small enough for dense Hessians of the mean loss and of every example."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

from widebasin.models import MLP


class Problem(NamedTuple):
    params: MLP
    batch: tuple[jax.Array, jax.Array]
    hessian: np.ndarray  # of the mean loss
    hessians: np.ndarray  # of every example


def example_loss(params, example):
    inputs, label = example
    return optax.softmax_cross_entropy_with_integer_labels(params(inputs), label)


def mean_loss(params, batch):
    return jnp.mean(jax.vmap(lambda example: example_loss(params, example))(batch))


def problem(examples=23) -> Problem:
    """A ReLU network of 64 parameters. Call it in float64."""
    keys = jax.random.split(jax.random.key(0), 3)
    batch = jax.random.normal(keys[0], (examples, 4)), jax.random.randint(keys[1], (examples,), 0, 3)
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), MLP((4, 5, 4, 3), key=keys[2]))
    return Problem(params, batch, *dense_hessians(example_loss, params, batch))


def smooth_example_loss(params, example):
    inputs, label = example
    hidden = jnp.tanh(inputs @ params["first"]["kernel"] + params["first"]["bias"])
    return optax.softmax_cross_entropy_with_integer_labels(hidden @ params["last"]["kernel"], label)


def smooth_loss(params, batch):
    return jnp.mean(jax.vmap(lambda example: smooth_example_loss(params, example))(batch))


def smooth_problem(examples=12) -> Problem:
    """A network of 300 parameters without kinks. Call it in float64."""
    keys = jax.random.split(jax.random.key(1), 5)
    params = {
        "first": {"kernel": jax.random.normal(keys[0], (12, 20)), "bias": 0.1 * jax.random.normal(keys[1], (20,))},
        "last": {"kernel": 0.3 * jax.random.normal(keys[2], (20, 2))},
    }
    batch = jax.random.normal(keys[3], (examples, 12)), jax.random.randint(keys[4], (examples,), 0, 2)
    return Problem(params, batch, *dense_hessians(smooth_example_loss, params, batch))


def dense_hessians(example_loss, params, batch) -> tuple[np.ndarray, np.ndarray]:
    """Of the mean loss and of every example."""
    flat, unravel = ravel_pytree(params)
    each = jax.jit(jax.vmap(jax.hessian(lambda v, *example: example_loss(unravel(v), example)), (None, 0, 0)))
    hessians = np.asarray(each(flat, *batch))
    return hessians.mean(0), hessians
