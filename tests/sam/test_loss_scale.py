import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sam.family import ONE_OF_EACH, each_compiled, network, problem
from together import together

from widebasin import sam

# LookSAM takes its second gradient in the first step, and reuses its direction in the second.
METHODS = {"SAM": sam.SAM, "LookSAM": functools.partial(sam.LookSAM, k=2), "F-SAM": sam.FriendlySAM}


def assert_equal(left, right):
    assert jax.tree.structure(left) == jax.tree.structure(right)
    for x, y in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        np.testing.assert_array_equal(x, y)


def half(tree):
    return jax.tree.map(lambda leaf: leaf.astype(jnp.float16), tree)


def half_loss(params, inputs, targets):
    """The network in float16, its loss in float32."""
    errors = network(half(params), half(inputs)) - half(targets)
    return jnp.mean(errors.astype(jnp.float32) ** 2)


def single_loss(params, inputs, targets):
    return jnp.mean((network(params, inputs) - targets) ** 2)


@each_compiled(ONE_OF_EACH)
def test_scaled_float16_follows_float32_up_to_rounding(method):
    """Three steps; the first gradients differ by a few roundings of float16, 2^-11 each."""
    params, batches = problem()
    loss_scale = sam.DynamicLossScale.starting_at(2.0**10)

    def descent(loss, base):
        value_and_grad = jax.jit(method.value_and_grad(loss, base=base))
        w, state, found = params, method.init(params), []
        for t, batch in enumerate(batches[:3]):
            value, gradients, state = value_and_grad(w, state, *batch, key=jax.random.key(t))
            assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(gradients))
            found.append((value, gradients))
            w = jax.tree.map(lambda p, g: p - 0.05 * g, w, gradients)
        return found

    expected = descent(single_loss, jax.value_and_grad)
    for (value, gradients), (exact, exact_gradients) in zip(
        descent(half_loss, loss_scale.scaled()), expected, strict=True
    ):
        np.testing.assert_allclose(value, exact, rtol=1e-2)
        error = optax.tree.norm(jax.tree.map(jnp.subtract, gradients, exact_gradients))
        assert float(error) < 3e-2 * float(optax.tree.norm(exact_gradients))


def test_gradients_that_vanish_in_float16_are_kept_by_the_scale():
    """The loss is 2^-26 w^2 / 2; below 2^-24 there is no float16."""

    def loss(w):
        return (0.5 * (w.astype(jnp.float16) ** 2) * jnp.float16(2.0**-10)).astype(jnp.float32) * 2.0**-16

    w = jnp.array(0.5)
    _, without = sam.value_and_grad(loss, rho=0.25)(w)
    value, scaled = sam.value_and_grad(loss, rho=0.25, base=sam.DynamicLossScale.starting_at(2.0**16).scaled())(w)
    assert float(without) == 0.0
    assert float(scaled) == 0.75 * 2.0**-26
    assert float(value) == 0.125 * 2.0**-26


def square(w):
    """0.5 ||w||^2 in float16: the scaled gradient is scale w, and the largest float16 is 65504."""
    return 0.5 * jnp.sum(w.astype(jnp.float16) ** 2).astype(jnp.float32)


def training_step(method, optimizer, loss, mask=None):
    """The step that the documentation recommends: compiled whole, skipped where a gradient is not finite."""

    @jax.jit
    def step(carry, *args):
        params, optimizer_state, method_state, loss_scale = carry
        value_and_grad = method.value_and_grad(loss, base=loss_scale.scaled())
        value, gradients, method_state = value_and_grad(params, method_state, *args)
        finite, loss_scale = loss_scale.adjusted(gradients)
        updates, new_state = optimizer.update(gradients, optimizer_state, params)
        params, optimizer_state = sam.keep_if(
            finite, (optax.apply_updates(params, updates), new_state), (params, optimizer_state)
        )
        return (params, optimizer_state, method_state, loss_scale), value

    return step


def start(method, optimizer, params, scale):
    return params, optimizer.init(params), method.init(params), sam.DynamicLossScale.starting_at(scale)


@each_compiled(METHODS)
def test_an_overflow_in_the_second_pass_alone_halves_the_scale_and_keeps_everything(method):
    """w = (.6, .8): 2^15 w is a float16, and at the ascent point 3 w it is not; at half the scale neither is 3 w."""
    method, optimizer, w = method(2.0), optax.adam(0.1), jnp.array([0.6, 0.8])
    clean = jax.grad(lambda w: square(w) * 2.0**15)(w)
    assert np.isfinite(clean).all()
    before = start(method, optimizer, w, 2.0**15)
    step = training_step(method, optimizer, square)
    once, value = step(before)
    assert_equal(once[:3], before[:3])
    assert (float(once[3].scale), int(once[3].finite_steps)) == (2.0**14, 0)
    np.testing.assert_allclose(value, 0.5, rtol=1e-3)

    twice, _ = step(once)
    assert_equal(twice[:3], step(start(method, optimizer, w, 2.0**14))[0][:3])
    assert not np.array_equal(twice[0], w)
    assert (float(twice[3].scale), int(twice[3].finite_steps)) == (2.0**14, 1)


@pytest.mark.slow
@each_compiled(METHODS)
def test_an_overflow_in_the_first_pass_alone_halves_the_scale_and_keeps_everything(method):
    """The loss a b with a = -1, b = 3: db falls from 3 to 1 along the ascent of b, so only the clean da overflows."""

    def loss(params):
        return (params["a"].astype(jnp.float16) * params["b"].astype(jnp.float16)).astype(jnp.float32)

    params = {"a": jnp.array(-1.0), "b": jnp.array(3.0)}
    method, optimizer = method(2.0, mask=sam.by_path("b")), optax.sgd(0.1, momentum=0.9)
    scaled = sam.DynamicLossScale.starting_at(2.0**15).scaled()(loss)
    assert np.isinf(scaled(params)[1]["a"])
    _, at_ascent = scaled({"a": params["a"], "b": jnp.array(1.0)})
    assert np.isfinite(at_ascent["a"])
    assert np.isfinite(at_ascent["b"])

    before = start(method, optimizer, params, 2.0**15)
    step = training_step(method, optimizer, loss)
    once, _ = step(before)
    assert_equal(once[:3], before[:3])
    assert float(once[3].scale) == 2.0**14
    twice, _ = step(once)
    assert not np.array_equal(twice[0]["b"], params["b"])


@pytest.mark.slow
@each_compiled(METHODS)
def test_a_state_that_is_not_empty_is_kept_in_the_midst_of_training(method):
    """The second of three steps overflows: its example is too large; the others go on as if it were left out."""

    def loss(w, x):
        return 0.5 * jnp.sum((x.astype(jnp.float16) * w.astype(jnp.float16)) ** 2).astype(jnp.float32)

    method, optimizer = method(0.1), optax.adam(0.1)
    step = training_step(method, optimizer, loss)
    carry = start(method, optimizer, jnp.array([0.6, 0.8]), 2.0**8)
    first, _ = step(carry, jnp.ones(2))
    bad, _ = step(first, jnp.array([300.0, 1.0]))
    assert_equal(bad[:3], first[:3])
    assert float(bad[3].scale) == 2.0**7
    third, _ = step(bad, jnp.ones(2))
    halved = (*first[:3], bad[3])
    assert_equal(third, step(halved, jnp.ones(2))[0])


def test_the_scale_grows_after_an_interval_of_finite_steps_inside_scan():
    """Steps that overflow are marked by the gradient given; the scale before every step, by hand."""
    finite = [True, True, True, True, False, True, True, False, False, True, True, True, True]
    gradients = jnp.where(jnp.array(finite), 1.0, jnp.inf)

    def step(loss_scale, gradient):
        told, after = loss_scale.adjusted({"w": gradient})
        return after, (told, loss_scale.scale)

    last, (told, scales) = jax.lax.scan(step, sam.DynamicLossScale.starting_at(8.0, growth_interval=3), gradients)
    np.testing.assert_array_equal(told, finite)
    np.testing.assert_array_equal(scales, [8, 8, 8, 16, 16, 8, 8, 8, 4, 2, 2, 2, 4])
    assert (float(last.scale), int(last.finite_steps)) == (4.0, 1)


def test_the_scale_stays_within_its_bounds():
    top = sam.DynamicLossScale.starting_at(2.0**23, growth_interval=1)
    for _ in range(3):
        finite, top = top.adjusted(jnp.ones(2))
        assert bool(finite)
    assert float(top.scale) == 2.0**24
    bottom = sam.DynamicLossScale.starting_at(2.0)
    for _ in range(3):
        finite, bottom = bottom.adjusted(jnp.array([1.0, jnp.nan]))
        assert not bool(finite)
    assert float(bottom.scale) == 1.0


def test_training_in_one_scan_is_exact_where_float16_rounds_nothing():
    """Every parameter and gradient is a multiple of 2^-8 below 4; only the value of the loss is rounded."""

    def loss(w, x):
        return 0.5 * jnp.sum((w.astype(jnp.float16) - x.astype(jnp.float16)) ** 2).astype(jnp.float32)

    method, optimizer = sam.SAM(0.5, normalize=False), optax.sgd(0.25)
    examples = jnp.array([[1.0, 0.5], [0.0, 0.25], [2.0, 1.0]])
    w = jnp.array([2.0, -1.0])
    step = training_step(method, optimizer, loss)
    (found, _, _, loss_scale), values = jax.lax.scan(step, start(method, optimizer, w, 2.0**10), examples)
    expected, w = [], np.asarray(w)
    for x in np.asarray(examples):
        expected.append(0.5 * np.sum((w - x) ** 2))
        w = w - 0.25 * 1.5 * (w - x)
    np.testing.assert_array_equal(found, w)
    np.testing.assert_allclose(values, expected, rtol=2**-10)
    assert int(loss_scale.finite_steps) == 3


@pytest.mark.slow
def test_a_model_that_is_more_than_arrays_and_auxiliary_data_pass():
    model = eqx.nn.MLP(2, 1, 4, 1, activation=jnp.tanh, key=jax.random.key(0))
    inputs = jax.random.normal(jax.random.key(1), (8, 2))

    def loss(model, inputs):
        outputs = jax.vmap(model)(inputs)
        return jnp.mean(outputs**2), {"outputs": outputs}

    scaled = sam.DynamicLossScale.starting_at(2.0**7).scaled(eqx.filter_value_and_grad)
    (value, aux), gradients = sam.value_and_grad(loss, has_aux=True, rho=0.1, base=scaled)(model, inputs)
    (expected_value, expected_aux), expected = sam.value_and_grad(
        loss, has_aux=True, rho=0.1, base=eqx.filter_value_and_grad
    )(model, inputs)
    assert float(value) == float(expected_value)
    assert_equal(aux, expected_aux)
    assert jax.tree.structure(gradients) == jax.tree.structure(expected)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-8), gradients, expected)


def test_several_arguments_are_differentiated_as_jax_does():
    def loss(x, scale, y):
        return scale * jnp.sum(x * y)

    x, y = jnp.array([1.0, 2.0]), jnp.array([3.0, 4.0])
    scaled = sam.DynamicLossScale.starting_at(4.0).scaled()
    value, gradients = scaled(loss, argnums=(0, 2))(x, 2.0, y)
    assert_equal((value, gradients), jax.value_and_grad(loss, (0, 2))(x, 2.0, y))


def test_it_is_a_pytree_that_compiles_once():
    traces = []

    @jax.jit
    def step(loss_scale, gradient):
        traces.append(1)
        return loss_scale.adjusted(gradient)[1]

    loss_scale = sam.DynamicLossScale.starting_at(2.0**15)
    for gradient in (1.0, jnp.inf, 1.0):
        loss_scale = step(loss_scale, jnp.array(gradient))
    assert traces == [1]
    assert float(loss_scale.scale) == 2.0**14


@together(
    ("arguments", "message"),
    [
        ((0.5,), "scale must be a finite number of at least 1, got 0.5"),
        ((float("inf"),), "scale must be a finite number of at least 1, got inf"),
        ((2.0, 0), "growth_interval must be a whole number of at least 1, got 0"),
    ],
)
def test_what_is_no_scale_is_refused_by_name_and_value(arguments, message):
    with pytest.raises(ValueError, match=message):
        sam.DynamicLossScale.starting_at(*arguments)


@together("bad", [jnp.nan, jnp.inf, -jnp.inf])
def test_all_finite_and_keep_if_see_a_single_entry(bad):
    good = {"a": jnp.ones(3, jnp.float16), "b": (jnp.zeros(2),)}
    broken = {"a": good["a"].at[1].set(bad), "b": good["b"]}
    assert bool(sam.all_finite(good))
    assert not bool(sam.all_finite(broken))
    assert_equal(sam.keep_if(sam.all_finite(broken), broken, good), good)
    assert_equal(sam.keep_if(sam.all_finite(good), good, broken), good)


@pytest.mark.slow
@together("dtype", [jnp.float16, jnp.bfloat16, jnp.float32])
def test_nothing_is_promoted_unasked(dtype):
    """Under strict promotion; the value and the gradients come in float32."""
    scale = sam.DynamicLossScale.starting_at(8.0)
    with jax.numpy_dtype_promotion("strict"):
        value_and_grad = sam.SAM(rho=0.5).value_and_grad(lambda w: jnp.sum(w**2), base=scale.scaled())
        value, gradient, _ = value_and_grad(jnp.asarray([3.0, 4.0], dtype), ())
    assert value.dtype == gradient.dtype == jnp.float32
    np.testing.assert_allclose((value, *gradient), (25.0, 2 * 3.3, 2 * 4.4), rtol=float(4 * jnp.finfo(dtype).eps))
