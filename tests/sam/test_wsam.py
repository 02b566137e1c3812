import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sam.family import descent, descent_by_hand, descent_on_quadratic, gradient, problem, sam_by_hand
from together import together

from widebasin import sam

pytestmark = pytest.mark.usefixtures("float64")


@together(("rho", "gamma"), [(0.5, 0.9), (2.0, 0.2), (0.1, 0.99)])
def test_gradient_matches_the_closed_form(rho, gamma):
    perturbed = sam_by_hand(rho)

    def rule(t, w, batch):
        g = gradient(w, batch)
        return g + gamma / (1 - gamma) * (perturbed(t, w, batch) - g)

    np.testing.assert_allclose(descent_on_quadratic(sam.WSAM(rho, gamma)), descent_by_hand(rule), rtol=1e-11)


def test_is_the_gradient_of_the_loss_plus_the_weighted_sharpness():
    """With the ascent held fixed, ``L(w) + gamma / (1 - gamma) (L(w + e) - L(w))`` differentiated by JAX."""
    start = problem()
    batch, gamma = start.batches[0], 0.8

    def loss(params, inputs, targets):
        return jnp.mean((jnp.tanh(inputs @ params["in"].T + params["bias"]) @ params["out"] - targets) ** 2)

    point = sam.ascent_point(start.params, jax.jit(jax.grad(loss))(start.params, *batch), 0.3)
    ascent = jax.tree.map(jnp.subtract, point, start.params)

    def weighted(params):
        sharpness = loss(jax.tree.map(jnp.add, params, ascent), *batch) - loss(params, *batch)
        return loss(params, *batch) + gamma / (1 - gamma) * sharpness

    _, actual, _ = jax.jit(sam.WSAM(0.3, gamma).value_and_grad(loss))(start.params, (), *batch)
    expected = jax.jit(jax.grad(weighted))(start.params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11), actual, expected)


@together(("gamma", "equal"), [(0.0, sam.SGD()), (0.5, sam.SAM(0.3))], ids=["0 is SGD", "half is SAM"])
def test_gamma_interpolates_bit_for_bit(gamma, equal):
    start = problem()
    expected = descent(equal, start.params, (), start.batches)
    assert eqx.tree_equal(descent(sam.WSAM(0.3, gamma), start.params, (), start.batches), expected)
    assert not eqx.tree_equal(descent(sam.WSAM(0.3, 0.4), start.params, (), start.batches), expected)


def test_radius_zero_is_the_plain_gradient_whatever_gamma():
    np.testing.assert_allclose(
        descent_on_quadratic(sam.WSAM(0.0, 0.9)), descent_by_hand(lambda t, w, batch: gradient(w, batch)), rtol=1e-12
    )


@together("gamma", [-0.1, 1.0, 1.5, float("nan")])
def test_gamma_is_refused_by_name_and_value(gamma):
    with pytest.raises(ValueError, match=rf"gamma must be in \[0, 1\); 0 is SGD, 0.5 is SAM, got {gamma}"):
        sam.WSAM(0.5, gamma)
