import functools
from typing import NamedTuple

import equinox as eqx
import hypothesis.extra.numpy as hnp
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st
from together import together

from widebasin import sam

# Multiples of 1/4, of which sums and products are exact: whether a gradient is zero does not depend on rounding.
DYADIC = st.integers(-16, 16).map(lambda n: n / 4)


def half_square_norm(params):
    """0.5 ||w||^2 over all leaves: its gradient is w, so SAM's is w + rho w / ||w||."""
    return 0.5 * sum(jnp.sum(leaf.astype(float) ** 2) for leaf in jax.tree.leaves(params))


@functools.partial(jax.jit, static_argnames="normalize")
def gradient_of_quadratic(matrix, x, rho, normalize):
    def loss(x):
        return 0.5 * x @ matrix @ x

    return sam.value_and_grad(loss, rho=rho, normalize=normalize)(x)


@pytest.mark.parametrize("normalize", [True, False])
@given(root=hnp.arrays(float, (4, 4), elements=DYADIC), x=hnp.arrays(float, 4, elements=DYADIC), rho=st.floats(0, 2))
def test_quadratic_matches_the_closed_form(normalize, root, x, rho):
    matrix = root + root.T
    gradient = matrix @ x
    length = max(np.linalg.norm(gradient), 1e-12) if normalize else 1.0
    with jax.enable_x64(True):
        value, actual = gradient_of_quadratic(jnp.array(matrix), jnp.array(x), jnp.array(rho), normalize=normalize)
        assert actual.dtype == jnp.float64
    np.testing.assert_allclose(value, 0.5 * x @ matrix @ x, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(actual, matrix @ (x + rho * gradient / length), rtol=1e-12, atol=1e-12)


@given(x=hnp.arrays(float, 4, elements=DYADIC), rho=st.floats(0, 2))
def test_the_ascent_has_length_rho_and_the_direction_of_the_gradient(x, rho):
    gradient = np.array([3.0, 0.0, -1.0, 2.5])
    with jax.enable_x64(True):
        moved = np.asarray(sam.ascent_point(jnp.array(x), jnp.array(gradient), jnp.array(rho)))
    np.testing.assert_allclose(np.linalg.norm(moved - x), rho, atol=1e-14)
    np.testing.assert_allclose((moved - x) @ gradient, rho * np.linalg.norm(gradient), atol=1e-13)


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
@together("normalize", [True, False])
def test_the_first_order_in_rho_is_a_hessian_vector_product(normalize):
    """g(w + rho v) = g(w) + rho H v + O(rho^2), with v the ascent direction: halving rho quarters the error."""
    keys = jax.random.split(jax.random.key(1), 3)
    params = {"in": jax.random.normal(keys[0], (5, 3)), "out": jax.random.normal(keys[1], (5,))}
    inputs = jax.random.normal(keys[2], (7, 3))

    def loss(params):
        return jnp.mean((jnp.tanh(inputs @ params["in"].T) @ params["out"] - inputs[:, 0]) ** 2)

    gradient = jax.grad(loss)(params)
    length = optax.tree.norm(gradient) if normalize else 1.0
    direction = jax.tree.map(lambda g: g / length, gradient)
    _, hessian_direction = jax.jvp(jax.grad(loss), (params,), (direction,))

    def error(rho):
        _, actual = sam.value_and_grad(loss, rho=rho, normalize=normalize)(params)
        first_order = jax.tree.map(lambda g, hv: g + rho * hv, gradient, hessian_direction)
        return float(optax.tree.norm(jax.tree.map(jnp.subtract, actual, first_order)))

    radii = [1e-3, 5e-4, 2.5e-4]
    errors = np.array([error(rho) for rho in radii])
    np.testing.assert_allclose(np.log2(errors[:-1] / errors[1:]), 2, atol=0.05)


@pytest.mark.slow
@together("compile_", [lambda f: f, jax.jit], ids=["eager", "jit"])
@together("normalize", [True, False])
def test_radius_zero_is_the_plain_gradient_bit_for_bit(classification, compile_, normalize):
    loss, params, batch = classification.loss_with_logits, classification.params, classification.batch
    plain = compile_(jax.value_and_grad(loss, has_aux=True))
    sharpness_aware = compile_(sam.value_and_grad(loss, has_aux=True, rho=0.0, normalize=normalize))
    assert eqx.tree_equal(sharpness_aware(params, *batch), plain(params, *batch), typematch=True)


@pytest.mark.slow
def test_a_traced_radius_of_zero_is_the_plain_gradient_bit_for_bit(classification):
    arguments = (classification.params, *classification.batch)
    traced = jax.jit(lambda rho, *args: sam.value_and_grad(classification.loss, rho=rho)(*args))
    plain = jax.jit(jax.value_and_grad(classification.loss))(*arguments)
    assert eqx.tree_equal(traced(jnp.array(0.0), *arguments), plain, typematch=True)
    assert not eqx.tree_equal(traced(jnp.array(0.1), *arguments), plain, typematch=True)


@pytest.mark.slow
@together("rho", [0.01, 0.3])
def test_one_step_equals_optax_contrib_sam(classification, rho):
    params, batch, learning_rate = classification.params, classification.batch, 0.1
    adversary = optax.chain(optax.contrib.normalize(), optax.sgd(rho))
    theirs = optax.contrib.sam(optax.sgd(learning_rate), adversary, sync_period=2, opaque_mode=True)
    gradient = jax.grad(classification.loss)
    updates, _ = theirs.update(
        gradient(params, *batch), theirs.init(params), params, grad_fn=lambda w, _: gradient(w, *batch)
    )
    expected = optax.apply_updates(params, updates)

    _, ours = sam.value_and_grad(classification.loss, rho=rho)(params, *batch)
    actual = jax.tree.map(lambda p, g: p - learning_rate * g, params, ours)
    for left, right in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(left, right, atol=1e-6)


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
@together("dtype", ["float16", "bfloat16", "float32", "float64"])
@together("normalize", [True, False])
@together("rho", [0.0, 0.5])
def test_a_zero_gradient_moves_nothing(dtype, normalize, rho):
    """At the minimum w = c of 0.5 ||w - c||^2 the ascent is zero and so is the gradient, exactly."""
    center = jnp.array([1.0, -3.0, 0.5], dtype)

    def loss(w):
        return 0.5 * jnp.sum((w - center) ** 2)

    value, gradient = sam.value_and_grad(loss, rho=rho, normalize=normalize)(center)
    assert float(value) == 0.0
    assert gradient.dtype == dtype
    np.testing.assert_array_equal(np.asarray(gradient, np.float64), np.zeros(3))


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
@together("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_a_loss_that_ignores_the_parameters_has_gradient_zero(dtype):
    value, gradient = sam.value_and_grad(lambda w: jnp.array(2.5, dtype) + 0 * jnp.sum(w), rho=0.5)(jnp.ones(3, dtype))
    assert float(value) == 2.5
    np.testing.assert_array_equal(np.asarray(gradient, np.float64), np.zeros(3))


@together("dtype", [jnp.float16, jnp.bfloat16])
def test_the_norm_of_half_precision_gradients_accumulates_in_float32(dtype):
    """||(1, ..., 1)||^2 = 10^6 + 1 overflows float16 and is no bfloat16; the float32 leaf shows the length used."""
    params = {"half": jnp.zeros(1_000_000, dtype), "single": jnp.zeros(1)}
    moved = sam.ascent_point(params, jax.tree.map(jnp.ones_like, params), 1000.0)
    np.testing.assert_allclose(moved["single"], 1000 / np.sqrt(1_000_001), rtol=2e-7)
    np.testing.assert_allclose(np.asarray(moved["half"], np.float32), 1.0, rtol=2**-8)


@pytest.mark.usefixtures("float64")
def test_parameters_are_not_rounded_to_the_precision_of_the_gradient():
    moved = sam.ascent_point(jnp.array([1 / 3, 0.0]), jnp.array([0, 1], jnp.float32), 0.5)
    assert moved.dtype == jnp.float64
    np.testing.assert_array_equal(moved, [1 / 3, 0.5])


def test_small_half_precision_gradients_keep_their_direction():
    """The squares of 10^-5 are zero in float16; the ascent has length rho all the same."""
    moved = sam.ascent_point(jnp.zeros(2, jnp.float16), jnp.array([3e-5, 4e-5], jnp.float16), 1.0)
    np.testing.assert_allclose(np.asarray(moved, np.float32), [0.6, 0.8], rtol=2e-2)


def test_value_and_aux_come_from_the_clean_pass():
    w = jnp.array([3.0, 4.0])

    def loss(w):
        return (0.5 * jnp.sum(w**2), {"parameters": w})

    (value, aux), gradient = sam.value_and_grad(loss, has_aux=True, rho=0.5)(w)
    assert float(value) == 12.5
    np.testing.assert_array_equal(aux["parameters"], w)
    np.testing.assert_allclose(gradient, 1.1 * w, rtol=1e-6)


def test_the_loss_is_evaluated_twice_first_at_the_parameters_then_at_the_ascent_point():
    points = []

    def loss(w):
        jax.debug.callback(lambda w: points.append(np.array(w)), w, ordered=True)
        return 0.5 * jnp.sum(w**2)

    sam.value_and_grad(loss, rho=0.5)(jnp.array([3.0, 4.0]))
    jax.effects_barrier()
    np.testing.assert_allclose(points, [[3.0, 4.0], [3.3, 4.4]], rtol=1e-6)


def test_further_arguments_and_keywords_reach_both_passes():
    """scale w^2 / 2 + shift: the gradient at w (1 + rho scale), unnormalized, is scale w (1 + rho scale)."""

    def loss(w, scale, *, shift):
        return 0.5 * scale * w**2 + shift

    value, gradient = sam.value_and_grad(loss, rho=0.5, normalize=False)(jnp.array(2.0), 3.0, shift=10.0)
    assert float(value) == 16.0
    assert float(gradient) == 3.0 * 2.0 * (1 + 0.5 * 3.0)


@together(("argnums", "which"), [(0, "first"), (1, "second"), (-1, "second")])
def test_argnums_chooses_the_parameters(argnums, which):
    def loss(x, y):
        return 0.5 * jnp.sum(x**2) + jnp.sum(y**2)

    x, y = jnp.array([3.0, 4.0]), jnp.array([5.0, 12.0])
    value, gradient = sam.value_and_grad(loss, argnums, rho=1.0)(x, y)
    expected = {"first": x * (1 + 1 / 5), "second": 2 * y * (1 + 1 / 13)}[which]
    assert float(value) == 12.5 + 169
    np.testing.assert_allclose(gradient, expected, rtol=1e-6)


@together("argnums", [(0, 2), [0, 2]])
def test_several_argnums_are_perturbed_under_one_norm(argnums):
    def loss(x, scale, y):
        return scale * (0.5 * jnp.sum(x**2) + 0.5 * jnp.sum(y["y"] ** 2))

    x, y = jnp.array([3.0]), {"y": jnp.array([4.0])}
    value, gradients = sam.value_and_grad(loss, argnums, rho=0.5)(x, 1.0, y)
    assert float(value) == 12.5
    assert isinstance(gradients, tuple)
    np.testing.assert_allclose(gradients[0], [3.3], rtol=1e-6)
    np.testing.assert_allclose(gradients[1]["y"], [4.4], rtol=1e-6)


@pytest.mark.slow
@together("base", [jax.value_and_grad, sam.microbatched(1)], ids=["whole", "microbatched"])
@together("argnums", [(0, 2), (0, -1), (-3, -1), [2, 0]])
def test_groups_leave_the_parameters_whole_whichever_arguments_they_are(argnums, base):
    """Two groups of two examples: the mean of their SAM gradients."""
    examples = jnp.array([[1.0, 0.5], [2.0, -1.0], [0.0, 3.0], [1.0, 1.0]])

    def loss(x, examples, y):
        return jnp.mean((examples @ (x * y) - 1.0) ** 2)

    def gradients(part, **options):
        arguments = (jnp.array([3.0, 4.0]), part, jnp.array([1.0, 2.0]))
        return sam.value_and_grad(loss, argnums, rho=0.1, **options)(*arguments)[1]

    found = gradients(examples, m=2, base=base)
    assert len(found) == 2
    for gradient, first, second in zip(found, gradients(examples[:2]), gradients(examples[2:]), strict=True):
        np.testing.assert_allclose(gradient, (first + second) / 2, rtol=1e-5)


def test_a_tuple_of_one_argnum_returns_a_tuple_as_jax_does():
    _, gradients = sam.value_and_grad(half_square_norm, (0,), rho=0.5)(jnp.array([3.0, 4.0]))
    assert isinstance(gradients, tuple)
    np.testing.assert_allclose(gradients[0], [3.3, 4.4], rtol=1e-6)


class Pair(NamedTuple):
    left: object
    right: object


def trees(leaves):
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.lists(inner, max_size=3).map(tuple),
            st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
            st.builds(Pair, inner, inner),
            st.builds(Pair, inner, st.none()),
        ),
        max_leaves=5,
    )


SHAPES = st.sampled_from([(), (1,), (3,), (2, 2), (0,)])
DTYPES = st.sampled_from(["float16", "bfloat16", "float32", "float64"])


@pytest.mark.slow
@given(specification=trees(st.tuples(SHAPES, DTYPES).map(lambda leaf: jax.ShapeDtypeStruct(*leaf))))
def test_any_pytree_keeps_its_structure_and_dtypes(specification):
    """0.5 ||w||^2 at w = 1: every entry of the gradient is 1 + rho / sqrt(number of entries)."""
    size = sum(leaf.size for leaf in jax.tree.leaves(specification))
    with jax.enable_x64(True):
        params = jax.tree.map(lambda leaf: jnp.ones(leaf.shape, leaf.dtype), specification)
        value, gradient = sam.value_and_grad(half_square_norm, rho=0.5)(params)
        assert jax.tree.structure(gradient) == jax.tree.structure(params)
        for g, p in zip(jax.tree.leaves(gradient), jax.tree.leaves(params), strict=True):
            assert (g.shape, g.dtype) == (p.shape, p.dtype)
            epsilon = float(jnp.finfo(p.dtype).eps)
            np.testing.assert_allclose(np.asarray(g, np.float64), 1 + 0.5 / np.sqrt(max(size, 1)), rtol=2 * epsilon)
        np.testing.assert_allclose(float(value), 0.5 * size, rtol=1e-6)


@together("w", [2.0, np.float64(2.0), np.array(2.0)], ids=["float", "numpy scalar", "numpy array"])
def test_parameters_outside_jax_are_taken_as_jax_takes_them(w):
    def loss(w):
        return 0.5 * w**2

    value, gradient = sam.value_and_grad(loss, rho=0.5)(w)
    assert gradient.dtype == jax.value_and_grad(loss)(w)[1].dtype
    assert (float(value), float(gradient)) == (2.0, 2.5)


def test_complex_parameters_ascend():
    """0.5 |z|^2 grows along z, and JAX's gradient is the conjugate of z (1 + rho / |z|)."""
    z = jnp.array([3.0 + 4.0j])
    _, gradient = sam.value_and_grad(lambda z: 0.5 * jnp.sum(jnp.abs(z) ** 2), rho=0.5)(z)
    np.testing.assert_allclose(gradient, jnp.conj(z) * 1.1, rtol=1e-6)


@pytest.mark.slow
@together("dtype", ["float16", "bfloat16", "float32"])
def test_no_implicit_promotion(dtype):
    w = jnp.array([3.0, 4.0], dtype)
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        _, gradient = sam.value_and_grad(lambda w: 0.5 * jnp.sum(w**2), rho=0.5)(w)
    np.testing.assert_allclose(np.asarray(gradient, np.float32), [3.3, 4.4], rtol=2**-8)


def quadratic_step(matrix, params, rho):
    """The closed-form SAM gradient of 0.5 w'Aw."""
    gradient = matrix @ params
    return matrix @ (params + rho * gradient / np.linalg.norm(gradient))


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
@together(
    "optimizer",
    [
        optax.sgd(0.1),
        optax.sgd(0.1, momentum=0.9, nesterov=True),
        optax.adam(0.1),
        optax.adamw(0.1, weight_decay=0.01),
        optax.lion(0.1),
        optax.rmsprop(0.1),
        optax.adagrad(0.1),
        optax.chain(optax.clip_by_global_norm(0.5), optax.sgd(optax.cosine_decay_schedule(0.1, 10))),
    ],
    ids=["sgd", "nesterov", "adam", "adamw", "lion", "rmsprop", "adagrad", "clipped with a schedule"],
)
def test_any_optax_optimizer_applies_the_gradient(optimizer):
    """Three steps, so that moments and schedules take part, against the gradient computed by hand."""
    matrix = np.array([[2.0, 0.5, 0.0], [0.5, 1.0, -0.3], [0.0, -0.3, 3.0]])

    def loss(w):
        return 0.5 * w @ matrix @ w

    params = expected = jnp.array([1.0, -2.0, 0.5])
    state = expected_state = optimizer.init(params)
    for _ in range(3):
        _, gradient = sam.value_and_grad(loss, rho=0.2)(params)
        updates, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, updates)

        by_hand = jnp.asarray(quadratic_step(matrix, np.asarray(expected), 0.2))
        updates, expected_state = optimizer.update(by_hand, expected_state, expected)
        expected = optax.apply_updates(expected, updates)
    np.testing.assert_allclose(params, expected, rtol=1e-12)


def test_a_step_with_a_non_finite_gradient_can_be_rejected():
    """A gradient that is not finite stays so, hence ``optax.apply_if_finite`` keeps parameters and momentum."""

    def loss(w, x):
        return 0.5 * jnp.sum(w**2 * x)

    optimizer = optax.apply_if_finite(optax.sgd(0.1, momentum=0.9), max_consecutive_errors=5)
    w = jnp.array([3.0, 4.0])
    state = optimizer.init(w)
    for x in (jnp.inf, jnp.nan):
        _, gradient = sam.value_and_grad(loss, rho=0.5)(w, jnp.array([x, 1.0]))
        updates, state = optimizer.update(gradient, state, w)
        np.testing.assert_array_equal(optax.apply_updates(w, updates), w)
    _, gradient = sam.value_and_grad(loss, rho=0.5)(w, jnp.ones(2))
    updates, state = optimizer.update(gradient, state, w)
    np.testing.assert_allclose(updates, [-0.33, -0.44], rtol=1e-6)


@together("rho", [-0.1, float("nan"), float("inf")])
def test_a_radius_that_is_none_is_refused_by_name_and_value(rho):
    with pytest.raises(ValueError, match=f"rho must be a finite number >= 0, got {rho}"):
        sam.value_and_grad(half_square_norm, rho=rho)


def test_keeps_the_name_of_the_loss():
    assert sam.value_and_grad(half_square_norm).__name__ == "half_square_norm"


def test_callables_without_a_name_are_taken():
    loss = functools.partial(lambda scale, w: scale * 0.5 * jnp.sum(w**2), 2.0)
    _, gradient = sam.value_and_grad(loss, rho=0.5)(jnp.array([3.0, 4.0]))
    np.testing.assert_allclose(gradient, [6.6, 8.8], rtol=1e-6)
