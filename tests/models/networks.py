"""Networks of this package at random weights, in what the tests compare with other libraries."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from widebasin.models import BATCH_AXIS, BatchNormalization


def anywhere(build, seed=0):
    """What ``build(key)`` returns, with floating-point arrays at random: kernels small, vectors about 1.

    Drawn by NumPy, as drawing from the key takes longer to compile than most tests.
    """
    rng = np.random.default_rng(seed)

    def draw(leaf):
        if not isinstance(leaf, jax.ShapeDtypeStruct):
            return leaf
        fan_in = leaf.shape[-1] if len(leaf.shape) == 2 else np.prod(leaf.shape[:-1], dtype=int)
        noise = rng.normal(size=leaf.shape) / np.sqrt(fan_in)
        return jnp.asarray(noise if len(leaf.shape) > 1 else 1.5 + 0.2 * noise, leaf.dtype)

    return jax.tree.map(draw, eqx.filter_eval_shape(build, jax.random.key(0)))


def normalizations(model):
    return _of_type(model, BatchNormalization)


def running_statistics(model, state):
    """``[(mean, variance), ...]`` of every normalization, in the order of ``normalizations``."""
    return [tuple(np.asarray(value) for value in state.get(norm.running)) for norm in normalizations(model)]


def over_batch(model, images, state):
    return jax.vmap(model, in_axes=(0, None), out_axes=(0, None), axis_name=BATCH_AXIS)(images, state)


def cross_entropy(logits, labels):
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1).mean()


def _of_type(model, kind):
    def is_kind(node):
        return isinstance(node, kind)

    return [node for node in jax.tree.leaves(model, is_leaf=is_kind) if is_kind(node)]


def close(actual, expected, rtol=1e-10):
    """Equal to a tolerance relative to the largest entry."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=0, atol=rtol * max(np.abs(expected).max(), 1e-3))
