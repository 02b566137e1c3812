import itertools
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sam.family import (
    EVERYWHERE,
    EXAMPLES,
    MATRIX,
    START,
    descent,
    descent_by_hand,
    descent_on_quadratic,
    gradient,
    length,
    loss,
    network,
    problem,
    quadratic,
    tensors,
    vector,
)
from together import together

from widebasin import sam

pytestmark = pytest.mark.usefixtures("float64")

BATCH = EXAMPLES[0]


def example_losses(w, batch):
    return np.array([0.5 * (w - x) @ MATRIX @ (w - x) for x in batch])


def esam_by_hand(rho, beta, gamma, kept=(True, True), shown=EVERYWHERE):
    """With the tensors that are perturbed given."""

    def rule(t, w, batch):
        g = np.where(shown, gradient(w, batch), 0.0)
        point = w + rho / beta * np.repeat(kept, [2, 3]) * g / length(g)
        rise = example_losses(point, batch) - example_losses(w, batch)
        feel = np.argsort(-rise)[: math.ceil(gamma * len(batch))]
        return gradient(point, batch[feel])

    return rule


@together(("rho", "gamma"), [(0.5, 0.5), (2.0, 0.3), (0.5, 1.0), (0.5, 0.01)])
def test_gradient_is_that_of_the_examples_that_feel_the_ascent_most(rho, gamma):
    expected = descent_by_hand(esam_by_hand(rho, 1.0, gamma))
    np.testing.assert_allclose(descent_on_quadratic(sam.ESAM(rho, 1.0, gamma)), expected, rtol=1e-11)
    if gamma < 1:
        assert not np.allclose(expected[0], gradient(START, BATCH), rtol=1e-2)


@together("gamma", [0.5, 1.0])
def test_every_tensor_is_perturbed_with_probability_beta_on_its_own(gamma):
    """Over 2,000 keys: each gradient is that of one subset of tensors, and their frequencies are the product's."""
    beta, draws = 0.7, 2000
    method = sam.ESAM(0.5, beta, gamma)
    keys = jax.random.split(jax.random.key(0), draws)
    function = jax.jit(
        jax.vmap(lambda key: method.value_and_grad(quadratic)(tensors(START), (), jnp.asarray(BATCH), key=key)[1])
    )
    found = function(keys)
    found = np.concatenate([found["a"], found["b"]], axis=1)
    for kept in itertools.product([False, True], repeat=2):
        expected = esam_by_hand(0.5, beta, gamma, kept)(0, START, BATCH)
        frequency = np.mean(np.all(np.isclose(found, expected, rtol=1e-11), axis=1))
        probability = np.prod([beta if keep else 1 - beta for keep in kept])
        assert abs(frequency - probability) < 4 * np.sqrt(probability * (1 - probability) / draws)


def test_the_mask_restricts_the_ascent_and_its_norm():
    expected = descent_by_hand(esam_by_hand(0.5, 1.0, 0.5, shown=np.arange(5) >= 2))
    method = sam.ESAM(0.5, 1.0, 0.5, mask=lambda gradients: {"a": False, "b": True})
    np.testing.assert_allclose(descent_on_quadratic(method), expected, rtol=1e-11)


@together(("gamma", "examples", "taken"), [(0.3, 8, 3), (0.07, 100, 7), (0.55, 100, 55), (0.001, 8, 1), (1e-8, 8, 1)])
def test_the_share_is_rounded_up_and_not_by_floating_point(gamma, examples, taken):
    """With one parameter and the loss ``x w``, whose ascent is up: the largest ``x`` feel it most."""
    x = jnp.asarray(np.random.default_rng(0).permutation(np.arange(1.0, examples + 1)))
    function = jax.jit(sam.ESAM(0.5, 1.0, gamma).value_and_grad(lambda w, x: jnp.mean(x * w)))
    _, found, _ = function(jnp.asarray(1.0), (), x)
    np.testing.assert_allclose(found, np.mean(np.arange(examples - taken + 1, examples + 1)))


def test_losses_of_the_examples_given_equal_those_found_one_by_one():
    start = problem()

    def given(params, inputs, targets):
        return (network(params, inputs) - targets) ** 2

    def found(**options):
        value_and_grad = jax.jit(sam.ESAM(0.3, 1.0).value_and_grad(loss, **options))
        return [value_and_grad(start.params, (), *batch)[:2] for batch in start.batches]

    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), found(example_losses=given), found())


def test_losses_of_the_examples_given_are_those_that_select():
    """Their negatives select the other half."""

    def negative(params, examples):
        offsets = jnp.concatenate([params["a"], params["b"]]) - examples
        return -0.5 * jnp.sum((offsets @ MATRIX) * offsets, axis=-1)

    def found(method, **options):
        function = jax.jit(method.value_and_grad(quadratic, **options))
        return vector(function(tensors(START), (), jnp.asarray(BATCH))[1])

    halves = found(sam.ESAM(0.5, 1.0)), found(sam.ESAM(0.5, 1.0), example_losses=negative)
    np.testing.assert_allclose(np.mean(halves, axis=0), found(sam.SAM(0.5)), rtol=1e-12)
    assert not np.allclose(*halves)


def test_nothing_left_out_is_sam_bit_for_bit():
    start = problem()
    expected = descent(sam.SAM(0.3), start.params, (), start.batches)
    assert eqx.tree_equal(descent(sam.ESAM(0.3, 1.0, 1.0), start.params, (), start.batches), expected)
    assert not eqx.tree_equal(descent(sam.ESAM(0.3, 0.9, 1.0), start.params, (), start.batches), expected)


def test_radius_zero_with_all_examples_is_the_plain_gradient_bit_for_bit():
    start = problem()
    expected = descent(sam.SGD(), start.params, (), start.batches)
    assert eqx.tree_equal(descent(sam.ESAM(0.0, 0.6, 1.0), start.params, (), start.batches), expected)


def test_radius_zero_with_a_share_takes_the_first_examples_for_none_feels_more():
    expected = descent_by_hand(lambda t, w, batch: gradient(w, batch[:4]))
    np.testing.assert_allclose(descent_on_quadratic(sam.ESAM(0.0, 1.0, 0.5)), expected, rtol=1e-12)


def test_examples_may_be_numpy_arrays_that_a_compiled_function_closes_over():
    start = problem()
    method, batch = sam.ESAM(0.3, 1.0), start.batches[0]
    constants = [np.asarray(leaf) for leaf in batch]
    _, found, _ = jax.jit(lambda params: method.value_and_grad(loss)(params, (), *constants))(start.params)
    _, expected, _ = jax.jit(method.value_and_grad(loss))(start.params, (), *batch)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), found, expected)


def test_the_whole_needs_no_key_and_a_share_of_tensors_does():
    arguments = tensors(START), (), jnp.asarray(BATCH)
    assert jax.eval_shape(sam.ESAM(0.5, 1.0).value_and_grad(quadratic), *arguments)
    with pytest.raises(ValueError, match="ESAM draws random numbers: pass key="):
        jax.eval_shape(sam.ESAM(0.5, 0.9).value_and_grad(quadratic), *arguments)


@together("argument", ["beta", "gamma"])
@together("share", [0.0, -0.1, 1.5, float("nan")])
def test_shares_are_refused_by_name_and_value(argument, share):
    with pytest.raises(
        ValueError, match=rf"{argument} must be a fraction in \(0, 1\]; 1 leaves nothing out, got {share}"
    ):
        sam.ESAM(0.5, **{argument: share})


@together("method", [sam.ESAM(0.0, beta=1.0), sam.ESAM(0.3, beta=1e-9)])
def test_where_nothing_moves_the_first_examples_are_chosen_compiled_or_not(method):
    """All rises are 0 then, and equal ones go by position; rounding must not rank them."""
    draws = np.random.default_rng(0)
    params = {
        "a": jnp.asarray(draws.normal(size=(3, 5)), jnp.float32),
        "b": jnp.asarray(draws.normal(size=5), jnp.float32),
    }
    x = jnp.asarray(draws.normal(size=(16, 3)), jnp.float32)
    y = jnp.sin(x[:, 0])

    def fitted(p, x, y):
        return jnp.mean((jnp.tanh(x @ p["a"]) @ p["b"] - y) ** 2)

    function = method.value_and_grad(fitted)
    expected = jax.grad(fitted)(params, x[:8], y[:8])
    for found in (function, jax.jit(function)):
        gradients = found(params, (), x, y, key=jax.random.key(0))[1]
        jax.tree.map(lambda g, e: np.testing.assert_allclose(g, e, rtol=1e-4, atol=1e-6), gradients, expected)
