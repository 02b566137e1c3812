"""A classifier of 67 parameters in float64, small enough for dense Hessians of the mean loss and of every example."""

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
    """Call it in float64."""
    keys = jax.random.split(jax.random.key(0), 3)
    batch = jax.random.normal(keys[0], (examples, 4)), jax.random.randint(keys[1], (examples,), 0, 3)
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), MLP((4, 5, 4, 3), key=keys[2]))
    flat, unravel = ravel_pytree(params)
    dense = jax.jit(jax.hessian(lambda v, *batch: mean_loss(unravel(v), batch)))
    each = jax.jit(jax.vmap(jax.hessian(lambda v, *example: example_loss(unravel(v), example)), (None, 0, 0)))
    return Problem(params, batch, np.asarray(dense(flat, *batch)), np.asarray(each(flat, *batch)))
