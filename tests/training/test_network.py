"""A model as a function of its parameters, its state and a batch."""

import random

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from together import together
from training.tasks import DIGITS, Normalized

from widebasin import curvature
from widebasin.models import BATCH_AXIS, MLP, Applied
from widebasin.training import Network, computing_in

INPUTS = jnp.asarray(DIGITS.dataset.inputs[:20])


@pytest.fixture(scope="module")
def normalized():
    """Network, parameters and the state after a batch, and the same as Equinox has it."""
    network = Network(Normalized)
    params, state = network.initialize(jax.random.key(1))
    model, own_state = eqx.nn.make_with_state(Normalized)(jax.random.key(1))
    return network, params, state, model, own_state


def over_batch(model, state, inputs):
    return jax.vmap(model, axis_name=BATCH_AXIS, in_axes=(0, None), out_axes=(0, None))(inputs, state)


def test_a_model_without_a_state_is_itself_over_a_batch():
    network = Network(lambda key: MLP((64, 12, 10), key=key))
    params, state = network.initialize(jax.random.key(2))
    model = MLP((64, 12, 10), key=jax.random.key(2))
    assert not network.stateful
    assert state == []
    for training in (True, False):
        outputs, after = network.outputs(params, state, INPUTS, training=training)
        np.testing.assert_array_equal(outputs, jax.vmap(model)(INPUTS))
        assert after == []
    assert eqx.tree_equal(network.inference_model(params, state), model)


class Dropping(eqx.Module):
    linear: eqx.nn.Linear
    dropout: eqx.nn.Dropout

    def __init__(self, key):
        self.linear, self.dropout = eqx.nn.Linear(64, 10, key=key), eqx.nn.Dropout(0.5)

    def __call__(self, inputs, *, key):
        return self.linear(self.dropout(inputs, key=key))


def test_a_model_that_must_be_given_a_key_is_given_none_where_it_drops_nothing():
    network = Network(Dropping)
    params, state = network.initialize(jax.random.key(2))
    model = Dropping(jax.random.key(2))
    whole = jax.vmap(model.linear)(INPUTS)
    keys = jax.random.split(jax.random.key(3), len(INPUTS))
    dropped, _ = network.outputs(params, state, INPUTS, training=True, keys=keys)
    np.testing.assert_allclose(dropped, jax.vmap(lambda x, key: model(x, key=key))(INPUTS, keys), rtol=1e-6)
    judged, _ = network.outputs(params, state, INPUTS, training=False)
    np.testing.assert_allclose(judged, whole, rtol=1e-6)
    np.testing.assert_allclose(jax.vmap(network.inference_model(params, state))(INPUTS), whole, rtol=1e-6)


def test_in_training_statistics_are_those_of_the_batch_and_move(normalized):
    network, params, state, model, own_state = normalized
    outputs, after = network.outputs(params, state, INPUTS, training=True)
    expected, moved = over_batch(model, own_state, INPUTS)
    np.testing.assert_array_equal(outputs, expected)
    for ours, theirs in zip(after, moved.get(model.normalization.running), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    hidden = np.asarray(INPUTS) @ np.asarray(params.first.weight).T + np.asarray(params.first.bias)
    np.testing.assert_allclose(after[0], 0.1 * hidden.mean(0), atol=1e-6)
    np.testing.assert_allclose(after[1], 0.9 + 0.1 * hidden.var(0), atol=1e-6)


def test_in_inference_statistics_are_the_running_ones_and_stay(normalized):
    network, params, state, model, own_state = normalized
    _, after = network.outputs(params, state, INPUTS, training=True)
    _, moved = over_batch(model, own_state, INPUTS)
    outputs, still = network.outputs(params, after, INPUTS, training=False)
    expected, _ = over_batch(eqx.nn.inference_mode(model), moved, INPUTS)
    np.testing.assert_array_equal(outputs, expected)
    assert still is after
    # An example's outputs do not depend on its company.
    alone, _ = network.outputs(params, after, INPUTS[3:4], training=False)
    np.testing.assert_allclose(alone[0], outputs[3], rtol=1e-5, atol=1e-6)


def test_the_inference_model_computes_the_same_from_its_parameters_alone(normalized):
    network, params, state, _, _ = normalized
    _, after = network.outputs(params, state, INPUTS, training=True)
    loaded = network.inference_model(params, after)
    outputs, _ = network.outputs(params, after, INPUTS, training=False)
    np.testing.assert_allclose(jax.vmap(loaded)(INPUTS), outputs, rtol=1e-5, atol=1e-6)
    floating = jax.tree.leaves(eqx.filter(loaded, eqx.is_inexact_array))
    for ours, theirs in zip(floating, jax.tree.leaves(params), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.slow
def test_curvature_of_the_inference_model_is_that_of_its_parameters(normalized):
    """A Hessian-vector product against that of the same loss as a function of the parameters."""
    network, params, state, _, _ = normalized
    _, after = network.outputs(params, state, INPUTS, training=True)
    loaded = network.inference_model(params, after)
    labels = jnp.asarray(DIGITS.dataset.targets[:20])

    def loss(model, batch):
        inputs, labels = batch
        return optax.softmax_cross_entropy_with_integer_labels(jax.vmap(model)(inputs), labels).mean()

    operator = curvature.hessian(loss, loaded, (INPUTS, labels))
    assert operator.size == network.num_params == 64 * 12 + 12 + 12 + 12 + 12 * 10 + 10
    flat, restore = jax.flatten_util.ravel_pytree(params)

    def of_parameters(flat):
        logits, _ = network.outputs(restore(flat), after, INPUTS, training=False)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    direction = jax.random.normal(jax.random.key(5), flat.shape)
    product = jax.jvp(jax.grad(of_parameters), (flat,), (direction,))[1]
    np.testing.assert_allclose(operator @ direction, product, rtol=1e-3, atol=1e-5)


def test_half_precision_computes_with_rounded_parameters_and_returns_single(normalized):
    """Statistics are taken of rounded activations, in single precision, and kept so."""
    _, params, state, model, own_state = normalized
    network = Network(Normalized, "bfloat16")
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16) if eqx.is_inexact_array(leaf) else leaf, model)
    expected, moved = over_batch(half, own_state, jnp.asarray(INPUTS, jnp.bfloat16))
    outputs, after = network.outputs(params, state, INPUTS, training=True)
    assert expected.dtype == jnp.bfloat16
    assert outputs.dtype == jnp.float32
    np.testing.assert_array_equal(outputs, expected.astype(jnp.float32))
    for ours, theirs in zip(after, moved.get(model.normalization.running), strict=True):
        assert ours.dtype == jnp.float32
        np.testing.assert_array_equal(ours, theirs)
    single, _ = Network(Normalized).outputs(params, state, INPUTS, training=True)
    assert 0 < np.abs(outputs - single).max() < 0.1


def test_a_precision_lasts_as_long_as_its_context():
    for precision, dtype in (("float64", jnp.float64), ("float32", jnp.float32), ("bfloat16", jnp.float32)):
        for outside in (True, False):
            with jax.enable_x64(outside), computing_in(precision):
                network = Network(Normalized, precision)
                params, _ = network.initialize(jax.random.key(0))
                assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype(dtype)}
            # The shapes are known wherever the network is first asked for.
            with jax.enable_x64(outside):
                network = Network(Normalized, precision)
            assert jax.tree.map(lambda leaf: leaf.dtype, network.shapes) == jax.tree.map(
                lambda leaf: leaf.dtype, params
            )
            assert {leaf.dtype for leaf in network.state_shapes} == {jnp.dtype(dtype)}
    assert jnp.zeros(1).dtype == jnp.float32


def test_statistics_in_double_precision_survive_as_bits():
    with computing_in("float64"):
        network = Network(Normalized, "float64")
        params, state = network.initialize(jax.random.key(1))
        inputs = jnp.asarray(INPUTS, jnp.float64)
        _, after = network.outputs(params, state, inputs, training=True)
        loaded = network.inference_model(params, after)
        outputs, _ = network.outputs(params, after, inputs, training=False)
        np.testing.assert_allclose(jax.vmap(loaded)(inputs), outputs, rtol=1e-12, atol=1e-14)
        assert {leaf.dtype for leaf in after} == {jnp.dtype(jnp.float64)}
    with pytest.raises(ValueError, match=r"call it within jax\.enable_x64"):
        loaded(inputs[0])


def test_arrays_that_would_neither_be_trained_nor_kept_are_refused():
    class Shuffled(eqx.Module):
        weight: jax.Array
        order: jax.Array

        def __init__(self, key):
            self.weight = jax.random.normal(key, (10, 64))
            self.order = jnp.arange(64)[::-1]

        def __call__(self, x):
            return self.weight @ x[self.order]

    with pytest.raises(ValueError, match=r"the model's order is an array of int32"):
        Network(Shuffled)


@together(
    "factor",
    [
        lambda: np.random.standard_normal((4, 2)),  # noqa: NPY002
        lambda: np.random.default_rng().standard_normal((4, 2)),
        np.random.standard_normal,
        random.random,
        lambda: jax.random.normal(jax.random.key(random.getrandbits(30)), (4, 2)),
    ],
)
def test_models_that_are_drawn_from_elsewhere_than_their_key_are_refused(factor):
    def drawn(key):
        weights = jax.random.normal(key, (4, 2)) * factor()
        return Applied({"a": weights.astype(jnp.float32)}, lambda params, inputs: inputs @ params["a"])

    with pytest.raises(ValueError, match="build gave another model when it was called again with the same key"):
        Network(drawn)


def test_a_model_may_begin_at_given_numbers():
    given = np.random.default_rng(0).standard_normal((4, 2)).astype(np.float32)
    network = Network(lambda key: Applied({"a": given}, lambda params, inputs: inputs @ params["a"]))
    np.testing.assert_array_equal(network.initialize(jax.random.key(3))[0].params["a"], given)


def test_parameters_are_float32_and_there_are_some():
    def halved(key):
        return Applied({"a": jax.random.normal(key, (4, 2), jnp.bfloat16)}, lambda params, inputs: inputs @ params["a"])

    with pytest.raises(ValueError, match=r"'a'\] is an array of bfloat16: .* give the recipe precision='bfloat16'"):
        Network(halved)
    with pytest.raises(ValueError, match="the model has no parameters"):
        Network(lambda key: Applied({}, lambda params, inputs: inputs))
