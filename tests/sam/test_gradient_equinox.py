from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from together import together

from widebasin import sam


class Network(eqx.Module):
    """A model with leaves of every kind: arrays, a function, an integer array, a Python number, None."""

    layers: list[eqx.nn.Linear]
    activation: Callable
    permutation: jax.Array
    temperature: float
    nothing: None

    def __init__(self, key):
        first, second = jax.random.split(key)
        self.layers = [eqx.nn.Linear(4, 8, key=first), eqx.nn.Linear(8, 2, use_bias=False, key=second)]
        self.activation = jax.nn.gelu
        self.permutation = jnp.array([2, 0, 3, 1])
        self.temperature = 2.0
        self.nothing = None

    def __call__(self, x):
        return self.layers[1](self.activation(self.layers[0](x[self.permutation]))) / self.temperature


def loss(model, inputs):
    outputs = jax.vmap(model)(inputs)
    return jnp.mean(outputs**2 + outputs), outputs


def weights_only(gradients):
    return jax.tree.map(lambda g: g.ndim > 1, gradients)


@pytest.fixture(scope="module")
def inputs():
    return jax.random.normal(jax.random.key(0), (16, 4))


@pytest.fixture(scope="module")
def model():
    return Network(jax.random.key(1))


@pytest.mark.slow
@together("mask", [None, weights_only], ids=["all", "weights"])
def test_a_model_with_leaves_that_are_no_arrays_equals_partition_and_combine(model, inputs, mask):
    (value, outputs), gradient = sam.value_and_grad(
        loss, has_aux=True, rho=0.3, mask=mask, base=eqx.filter_value_and_grad
    )(model, inputs)

    arrays, rest = eqx.partition(model, eqx.is_inexact_array)
    (expected_value, expected_outputs), expected = sam.value_and_grad(
        lambda arrays: loss(eqx.combine(arrays, rest), inputs), has_aux=True, rho=0.3, mask=mask
    )(arrays)
    assert eqx.tree_equal((value, outputs, gradient), (expected_value, expected_outputs, expected))
    plain = eqx.filter_grad(loss, has_aux=True)(model, inputs)[0]
    assert not eqx.tree_equal(gradient, plain)


@pytest.mark.slow
@together("method", [sam.SAM(rho=0.3), sam.SGD()])
def test_methods_take_equinox_models(model, inputs, method):
    (value, _), gradient, state = method.value_and_grad(loss, has_aux=True, base=eqx.filter_value_and_grad)(
        model, method.init(model), inputs
    )
    radius = getattr(method, "rho", 0.0)
    (expected_value, _), expected = sam.value_and_grad(loss, has_aux=True, rho=radius, base=eqx.filter_value_and_grad)(
        model, inputs
    )
    assert state == ()
    assert float(value) == float(expected_value)
    assert eqx.tree_equal(gradient, expected)


@pytest.mark.slow
def test_the_ascent_leaves_what_is_not_differentiated(model, inputs):
    gradient = eqx.filter_grad(loss, has_aux=True)(model, inputs)[0]
    moved = sam.ascent_point(model, gradient, 0.3)
    assert moved.activation is model.activation
    assert moved.temperature == 2.0
    np.testing.assert_array_equal(moved.permutation, model.permutation)
    difference = jax.tree.map(
        lambda a, b: a - b, eqx.filter(moved, eqx.is_inexact_array), eqx.filter(model, eqx.is_inexact_array)
    )
    length = np.sqrt(sum(float(jnp.sum(leaf**2)) for leaf in jax.tree.leaves(difference)))
    np.testing.assert_allclose(length, 0.3, rtol=1e-5)


@pytest.mark.slow
def test_compiles_under_filter_jit(model, inputs):
    function = sam.value_and_grad(loss, has_aux=True, rho=0.3, base=eqx.filter_value_and_grad)
    (_, _), eager = function(model, inputs)
    (_, _), compiled = eqx.filter_jit(function)(model, inputs)
    for left, right in zip(jax.tree.leaves(eager), jax.tree.leaves(compiled), strict=True):
        np.testing.assert_allclose(left, right, atol=1e-6)
