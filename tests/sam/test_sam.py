import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from widebasin import sam


def half_square_norm(w):
    return 0.5 * jnp.sum(w**2)


W = jnp.array([3.0, 4.0])


def gradient_of(method, w=W):
    return method.value_and_grad(half_square_norm)(w, method.init(w))[1]


@pytest.mark.parametrize(("normalize", "factor"), [(True, 1.1), (False, 1.5)])
def test_gradient_matches_the_closed_form(normalize, factor):
    value, gradient, state = sam.SAM(rho=0.5, normalize=normalize).value_and_grad(half_square_norm)(W, ())
    assert float(value) == 12.5
    np.testing.assert_allclose(gradient, factor * W, rtol=1e-6)
    assert state == ()


@pytest.mark.parametrize("normalize", [True, False])
def test_equals_the_drop_in_function(classification, normalize):
    def mask(gradients):
        return jax.tree.map(lambda g: g.ndim > 1, gradients)

    method = sam.SAM(rho=0.3, normalize=normalize, mask=mask)
    value, gradient, _ = method.value_and_grad(classification.loss)(classification.params, (), *classification.batch)
    expected = sam.value_and_grad(classification.loss, rho=0.3, normalize=normalize, mask=mask)(
        classification.params, *classification.batch
    )
    jax.tree.map(np.testing.assert_array_equal, (value, gradient), expected)


def test_the_radius_is_the_only_leaf():
    method = sam.SAM(rho=0.2, normalize=False)
    assert jax.tree.leaves(method) == [0.2]
    assert jax.tree.map(lambda rho: 2 * rho, method) == sam.SAM(rho=0.4, normalize=False)


def test_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        sam.SAM().rho = 0.1


def test_carries_no_state():
    assert jax.tree.leaves(sam.SAM().init({"w": W})) == []


@pytest.mark.parametrize("rho", [-0.1, float("nan"), float("inf")])
def test_a_radius_that_is_none_is_refused_by_name_and_value(rho):
    with pytest.raises(ValueError, match=f"rho must be a finite number >= 0, got {rho}"):
        sam.SAM(rho=rho)


def test_one_compiled_program_serves_every_radius():
    traces = []

    @jax.jit
    def step(method, w):
        traces.append(method.normalize)
        return method.value_and_grad(half_square_norm)(w, ())[1]

    for rho in (0.0, 0.05, 0.5, 2.0):
        np.testing.assert_allclose(step(sam.SAM(rho=rho), W), W * (1 + rho / 5), rtol=1e-6)
    assert traces == [True]
    np.testing.assert_allclose(step(sam.SAM(rho=0.5, normalize=False), W), 1.5 * W, rtol=1e-6)
    assert traces == [True, False]


def test_vmap_over_radii_equals_a_loop(classification):
    radii = [0.0, 0.01, 0.1, 1.0]

    def gradient(method):
        return method.value_and_grad(classification.loss)(classification.params, (), *classification.batch)[1]

    together = jax.vmap(gradient)(sam.SAM(rho=jnp.array(radii)))
    for i, rho in enumerate(radii):
        alone = gradient(sam.SAM(rho=rho))
        for left, right in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
            np.testing.assert_allclose(left[i], right, atol=1e-6)


def test_the_derivative_in_the_radius_is_the_curvature_along_the_ascent():
    """For 0.5 ||w||^2 the gradient w + rho w / ||w|| has the derivative w / ||w||."""
    derivative = jax.jacfwd(lambda rho: gradient_of(sam.SAM(rho=rho)))(0.5)
    np.testing.assert_allclose(derivative, W / 5, rtol=1e-6)


def test_a_radius_may_follow_a_schedule_in_a_compiled_loop():
    """Each step on 0.5 ||w||^2 multiplies w by 1 - learning_rate (1 + rho_t / ||w||)."""
    schedule = optax.linear_schedule(0.0, 1.0, transition_steps=4)

    def step(w, t):
        return w - 0.1 * gradient_of(sam.SAM(rho=schedule(t)), w), None

    w, _ = jax.lax.scan(step, W, jnp.arange(4))
    expected = np.array(W, float)
    for rho in (0.0, 0.25, 0.5, 0.75):
        expected *= 1 - 0.1 * (1 + rho / np.linalg.norm(expected))
    np.testing.assert_allclose(w, expected, rtol=1e-6)
