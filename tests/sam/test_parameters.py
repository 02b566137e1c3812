"""Every method on parameters of every kind: none, empty, hidden, in half precision, among things that are constants."""

import dataclasses
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sam.family import DRAWING, FAMILY, KEY, ONE_OF_EACH, each_compiled, loss, network, problem, step
from together import together

from widebasin import sam


@each_compiled(FAMILY)
@pytest.mark.usefixtures("float64")
def test_at_a_minimum_the_gradient_is_zero_and_not_nan(method):
    """Where every example fits, nothing rises: but a random perturbation finds a gradient."""
    start = problem()
    inputs, _ = start.batches[0]
    targets = jax.jit(network)(start.params, inputs)
    state = method.init(start.params)
    for t in range(4):
        key = jax.random.fold_in(jax.random.key(KEY), t)
        _, gradients, state = step(method, start.params, state, inputs, targets, key)
        for leaf in jax.tree.leaves(gradients):
            if isinstance(method, sam.RandomPerturbation):
                assert np.all(np.isfinite(leaf))
                assert np.any(np.abs(leaf) > 1e-6)
            else:
                np.testing.assert_allclose(leaf, 0, atol=1e-12)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(state))


@each_compiled(ONE_OF_EACH)
@pytest.mark.usefixtures("float64")
def test_a_loss_that_is_constant_has_gradient_zero(method):
    w, x = jnp.array([3.0, 4.0]), jnp.ones(4)
    state = method.init(w)
    function = jax.jit(method.value_and_grad(lambda w, x: jnp.mean(x) + 0 * jnp.sum(w)))
    for t in range(2):
        value, gradient, state = function(w, state, x, key=jax.random.key(t))
        assert float(value) == 1.0
        np.testing.assert_array_equal(gradient, np.zeros(2))


@each_compiled(ONE_OF_EACH)
def test_a_gradient_whose_norm_overflows_is_nan_and_no_step_without_an_ascent(method):
    w, x = jnp.ones(3), jnp.full(4, 1e20)
    function = jax.jit(method.value_and_grad(lambda w, x: jnp.mean(x) * jnp.sum(w)))
    _, gradient, _ = function(w, method.init(w), x, key=jax.random.key(0))
    assert np.all(np.isnan(gradient))


@each_compiled(FAMILY)
def test_no_method_has_a_nan_on_its_way(method):
    """Operation by operation, and compiled: whoever looks for NaNs is not stopped by ours."""
    start = problem()
    state, key = method.init(start.params), jax.random.key(KEY)
    alone = method.value_and_grad(loss)
    with jax.debug_nans(True):
        for one_step in (alone, jax.jit(alone)):
            value, gradients, _ = one_step(start.params, state, *start.batches[0], key=key)
            assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves((value, gradients)))


# A share of the examples is all that ESAM descends on, whatever is hidden.
WHOLE_BATCH = ONE_OF_EACH | {"ESAM": dataclasses.replace(ONE_OF_EACH["ESAM"], gamma=1.0)}


def nothing(gradients):
    return jax.tree.map(lambda _: False, gradients)


@each_compiled({name: method for name, method in WHOLE_BATCH.items() if name != "SGD"})
@pytest.mark.usefixtures("float64")
def test_a_mask_that_hides_everything_leaves_the_plain_gradient(method):
    start = problem()
    hidden = dataclasses.replace(method, mask=nothing)
    state = hidden.init(start.params)
    for t, batch in enumerate(start.batches[:2]):
        _, found, state = step(hidden, start.params, state, *batch, jax.random.key(t))
        _, expected, _ = step(sam.SGD(), start.params, (), *batch, jax.random.key(t))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), found, expected)


@each_compiled(ONE_OF_EACH)
def test_no_parameters_at_all(method):
    state = method.init({})
    function = jax.jit(method.value_and_grad(lambda params, x: jnp.mean(x)))
    for t in range(3):
        value, gradients, state = function({}, state, jnp.arange(4.0), key=jax.random.key(t))
        assert float(value) == 1.5
        assert gradients == {}


@each_compiled({name: method for name, method in ONE_OF_EACH.items() if name not in DRAWING})
@pytest.mark.usefixtures("float64")
def test_a_tensor_without_entries_changes_nothing(method):
    start = problem()
    more = {"a": jnp.zeros((0, 3)), **start.params, "z": jnp.zeros(0)}
    state, without = method.init(more), method.init(start.params)
    for batch in start.batches[:2]:
        key = jax.random.key(KEY)
        value, gradients, state = step(method, more, state, *batch, key)
        assert gradients.pop("a").shape == (0, 3)
        assert gradients.pop("z").shape == (0,)
        expected_value, expected, without = step(method, start.params, without, *batch, key)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), (value, gradients), (expected_value, expected)
        )


@each_compiled(DRAWING)
def test_a_tensor_without_entries_draws_nothing(method):
    params = {"a": jnp.zeros((0, 3)), "w": jnp.ones(3), "z": jnp.zeros(0)}
    function = jax.jit(method.value_and_grad(lambda p, x: 0.5 * jnp.sum(p["w"] ** 2) * jnp.mean(x)))
    _, gradients, _ = function(params, method.init(params), jnp.ones(4), key=jax.random.key(0))
    assert {name: g.shape for name, g in gradients.items()} == {"a": (0, 3), "w": (3,), "z": (0,)}
    assert np.all(np.isfinite(gradients["w"]))


@each_compiled(FAMILY)
@together("dtype", [jnp.float16, jnp.bfloat16])
def test_half_precision_is_kept_and_states_are_wider(method, dtype):
    """Under strict promotion, so that nothing widens or broadcasts unasked. A linearized center is a copy."""
    start = problem()
    params, batch = jax.tree.map(lambda leaf: leaf.astype(dtype), (start.params, start.batches[0]))

    def one_step(params, state, *batch):
        return method.value_and_grad(loss)(params, state, *batch, key=jax.random.key(0))

    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        state = method.init(params)
        value, gradients, after = jax.eval_shape(one_step, params, state, *batch)
    assert value.dtype == dtype
    assert all(g.dtype == dtype for g in jax.tree.leaves(gradients))
    shapes = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), state)
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), after) == shapes
    wanted = dtype if isinstance(method, sam.LinearizedSAM) else jnp.float32
    floating = [leaf.dtype for leaf in jax.tree.leaves(state) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    assert all(found == wanted for found in floating)


@each_compiled({name: FAMILY[name] for name in ("ASAM", "LookSAM", "friendly SAM", "linearized SAM")})
def test_bfloat16_follows_single_precision(method):
    """Two steps; within 10% of the gradient's largest entry, of 8 bits of precision."""
    start = problem()
    params, batches = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), (start.params, start.batches[:2]))
    states = method.init(params), method.init(jax.tree.map(lambda leaf: leaf.astype(jnp.float32), params))
    for batch in batches:
        outputs = []
        for state, dtype in zip(states, (jnp.bfloat16, jnp.float32), strict=True):
            arguments = jax.tree.map(lambda leaf, dtype=dtype: leaf.astype(dtype), (params, batch))
            outputs.append(step(method, arguments[0], state, *arguments[1], jax.random.key(KEY)))
        states = [state for _, _, state in outputs]
        half, single = (
            np.concatenate([np.ravel(np.asarray(g, np.float32)) for g in output[1].values()]) for output in outputs
        )
        assert np.max(np.abs(half - single)) < 0.1 * np.max(np.abs(single))


class Network(eqx.Module):
    """Arrays that are differentiated, among leaves that are not."""

    weights: dict[str, jax.Array]
    dropout: eqx.nn.Dropout  # its rate is a Python number
    activation: Callable
    permutation: jax.Array
    nothing: None = None


def network_loss(model, inputs, targets):
    """The same loss, as long as all but the weights stay as they are."""
    hidden = inputs[:, model.permutation] @ model.weights["in"].T + model.weights["bias"][None]
    return jnp.mean((model.activation(hidden) @ model.weights["out"] - targets) ** 2) * (2 * model.dropout.p)


@each_compiled(ONE_OF_EACH)
@pytest.mark.usefixtures("float64")
def test_what_equinox_does_not_differentiate_is_neither_perturbed_nor_kept_in_a_state(method):
    start = problem()
    model = Network(start.params, eqx.nn.Dropout(0.5), jnp.tanh, jnp.array([0, 1]))
    function = eqx.filter_jit(method.value_and_grad(network_loss, base=eqx.filter_value_and_grad))
    state, expected_state = method.init(model), method.init(start.params)
    for t, batch in enumerate(start.batches[:2]):
        key = jax.random.fold_in(jax.random.key(KEY), t)
        value, gradients, state = function(model, state, *batch, key=key)
        expected_value, expected, expected_state = step(method, start.params, expected_state, *batch, key)
        assert jax.tree.structure(gradients) == jax.tree.structure(eqx.filter(model, eqx.is_inexact_array))
        for left, right in zip(
            jax.tree.leaves((value, gradients.weights, state)),
            jax.tree.leaves((expected_value, expected, expected_state)),
            strict=True,
        ):
            np.testing.assert_allclose(left, right, rtol=1e-11, atol=1e-14)
