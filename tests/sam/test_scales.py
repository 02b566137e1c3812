"""Factors of the ascent, layer by layer: closed forms, and SAM in other coordinates."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sam.family import (
    EXAMPLES,
    FAMILY,
    KEY,
    PERTURBING,
    START,
    descent_by_hand,
    descent_on_quadratic,
    each_compiled,
    gradient,
    length,
    loss,
    problem,
    quadratic,
    tensors,
    vector,
)

from widebasin import sam

pytestmark = pytest.mark.usefixtures("float64")

# Of every parameter of the quadratic; those of a tensor are equal, as layers are scaled.
NUMERATOR = np.array([4.0, 4.0, 0.5, 0.5, 0.5])
NORM = np.array([3.0, 3.0, 0.25, 0.25, 0.25])


def scales_of(numerator, norm):
    return lambda gradients: sam.Scales({"a": numerator[0], "b": numerator[2]}, {"a": norm[0], "b": norm[2]})


def scaled(method, numerator=NUMERATOR, norm=NORM):
    return dataclasses.replace(method, scales=scales_of(numerator, norm))


def test_numerator_and_norm_are_scaled_each_by_its_own_factors():
    def rule(t, w, batch):
        g = gradient(w, batch)
        return gradient(w + 0.3 * NUMERATOR * g / length(NORM * g), batch)

    np.testing.assert_allclose(descent_on_quadratic(scaled(sam.SAM(0.3))), descent_by_hand(rule), rtol=1e-11)


def test_without_a_norm_the_numerator_alone_scales():
    def rule(t, w, batch):
        return gradient(w + 0.1 * NUMERATOR * gradient(w, batch), batch)

    method = scaled(sam.SAM(0.1, normalize=False))
    np.testing.assert_allclose(descent_on_quadratic(method), descent_by_hand(rule), rtol=1e-11)


def test_adaptive_ascents_are_scaled_on_top_of_their_own_scale():
    def rule(t, w, batch):
        own = np.abs(w) + 0.1
        g = own * gradient(w, batch)
        return gradient(w + 0.3 * NUMERATOR * own * g / length(NORM * g), batch)

    np.testing.assert_allclose(descent_on_quadratic(scaled(sam.ASAM(0.3, 0.1))), descent_by_hand(rule), rtol=1e-11)


def test_eta_is_in_units_of_the_size_of_a_layer():
    def rule(t, w, batch):
        own = np.abs(w) + 0.1 * np.array([5.0, 5.0, 2.0, 2.0, 2.0])
        g = own * gradient(w, batch)
        return gradient(w + 0.3 * own * g / length(g), batch)

    method = sam.ASAM(0.3, 0.1, scales=lambda g: sam.Scales(size={"a": 5.0, "b": 2.0}))
    np.testing.assert_allclose(descent_on_quadratic(method), descent_by_hand(rule), rtol=1e-11)


def test_sparse_ascents_have_the_norm_of_the_whole_scaled_gradient():
    # Every step perturbs what was chosen at the first one: the half with the largest squares.
    def chosen(w, batch):
        each_gradient = np.array([gradient(w, example[None]) for example in batch])
        scores = (each_gradient**2).mean(0)
        return scores >= np.sort(scores)[-2]

    first = chosen(START, EXAMPLES[0])

    def rule(t, w, batch):
        g = gradient(w, batch)
        return gradient(w + 0.3 * first * NUMERATOR * g / length(NORM * g), batch)

    method = scaled(sam.SSAM(0.3, 0.5))
    np.testing.assert_allclose(descent_on_quadratic(method), descent_by_hand(rule), rtol=1e-11)


# Whose gradients are the combination of gradients at the ascent point and at the parameters; projections, and sizes of
# random directions, depend on the coordinates.
COVARIANT = {
    name: FAMILY[name]
    for name in (
        "SAM",
        "unnormalized SAM",
        "multi-step SAM",
        "SAM every k",
        "ESAM",
        "friendly SAM",
        "WSAM",
        "random SSAM",
        "linearized SAM",
        "normalized linearized SAM",
    )
}


@each_compiled(COVARIANT)
def test_a_numerator_that_is_the_square_of_the_norm_is_the_method_in_other_coordinates(method):
    """``w = T u`` with ``T`` the factors of the norm: the gradient for ``u`` is ``T`` times that for ``w``."""
    factors = {"in": 0.5, "bias": 2.0, "out": 4.0}
    params, batches = problem()
    own = jax.tree.map(lambda p, t: p / t, params, factors)

    def in_others(own, *batch):
        return loss(jax.tree.map(jnp.multiply, own, factors), *batch)

    scaled = dataclasses.replace(
        method, scales=lambda _: sam.Scales({name: factor**2 for name, factor in factors.items()}, factors)
    )
    states = scaled.init(params), method.init(own)
    for t, batch in enumerate(batches[:3]):
        key = jax.random.fold_in(jax.random.key(KEY), t)
        _, found, after = scaled.value_and_grad(loss)(params, states[0], *batch, key=key)
        _, wanted, after_others = method.value_and_grad(in_others)(own, states[1], *batch, key=key)
        states = after, after_others
        jax.tree.map(
            lambda f, w, t: np.testing.assert_allclose(t * f, w, rtol=1e-9, atol=1e-12), found, wanted, factors
        )


@each_compiled(PERTURBING)
def test_factors_of_one_change_nothing(method):
    """To the last bit: ``1 x`` is ``x``."""
    params, batches = problem()
    key = jax.random.key(KEY)
    plain, scaled = (
        one.value_and_grad(loss)(params, one.init(params), *batches[0], key=key)
        for one in (method, dataclasses.replace(method, scales=lambda _: sam.Scales()))
    )
    jax.tree.map(np.testing.assert_array_equal, plain, scaled)


def test_adaptive_sam_without_eta_is_the_same_in_all_coordinates():
    """So it has no use for scales: the size of the weights scales its ascent."""
    factors = {"a": 2.0, "b": 0.25}
    method = sam.ASAM(0.3, 0.0)
    batch = EXAMPLES[0]
    params = tensors(START)
    found = method.value_and_grad(quadratic)(params, (), batch)[1]
    own = jax.tree.map(lambda p, t: p / t, params, factors)
    wanted = method.value_and_grad(lambda own, x: quadratic(jax.tree.map(jnp.multiply, own, factors), x))(
        own, (), batch
    )[1]
    np.testing.assert_allclose(vector(jax.tree.map(jnp.multiply, found, factors)), vector(wanted), rtol=1e-11)


def test_the_mask_is_applied_before_the_norm():
    masked = scaled(sam.SAM(0.3, mask=lambda g: {"a": True, "b": False}))

    def rule(t, w, batch):
        g = gradient(w, batch) * (np.arange(5) < 2)
        return gradient(w + 0.3 * NUMERATOR * g / length(NORM * g), batch)

    np.testing.assert_allclose(descent_on_quadratic(masked), descent_by_hand(rule), rtol=1e-11)


def test_half_precision_is_scaled_in_float32_and_keeps_its_type():
    params = {"w": jnp.array([3.0, 4.0], jnp.bfloat16)}
    found = sam.ascent_point(params, params, 1.0, scales=lambda _: sam.Scales({"w": 10.0}, {"w": 1e-3}))
    assert found["w"].dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(found["w"], float), np.array([3.0, 4.0]) * (1 + 10 / 5e-3), rtol=1e-2)


def test_scales_that_are_no_function_are_refused():
    with pytest.raises(TypeError, match="scales"):
        sam.SAM(0.1, scales=sam.Scales({"w": 1.0}))


def test_what_scales_return_is_checked():
    with pytest.raises(TypeError, match="scales must return"):
        sam.ascent_point(tensors(START), tensors(START), 0.1, scales=lambda _: None)


def test_value_and_grad_takes_scales():
    batch = EXAMPLES[0]
    _, found = sam.value_and_grad(quadratic, rho=0.3, scales=scales_of(NUMERATOR, NORM))(tensors(START), batch)
    g = gradient(START, batch)
    wanted = gradient(START + 0.3 * NUMERATOR * g / length(NORM * g), batch)
    np.testing.assert_allclose(vector(found), wanted, rtol=1e-11)
