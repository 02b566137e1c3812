import jax
import jax.numpy as jnp
import numpy as np
from together import together

from widebasin import sam


def half_square_norm(params):
    return 0.5 * sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params))


PARAMS = {"head": [jnp.array([[3.0, 4.0]]), jnp.array([12.0])], "scale": jnp.array(5.0)}
RHO = 0.5


def weights_only(gradients):
    return jax.tree.map(lambda g: g.ndim > 1, gradients)


def test_masked_parameters_stay_and_the_norm_is_that_of_the_others():
    moved = sam.ascent_point(PARAMS, PARAMS, RHO, mask=weights_only)
    np.testing.assert_allclose(moved["head"][0], [[3.3, 4.4]], rtol=1e-6)
    np.testing.assert_array_equal(moved["head"][1], PARAMS["head"][1])
    np.testing.assert_array_equal(moved["scale"], PARAMS["scale"])


def test_masked_parameters_still_get_their_gradient():
    _, gradient = sam.value_and_grad(half_square_norm, rho=RHO, mask=weights_only)(PARAMS)
    np.testing.assert_allclose(gradient["head"][0], [[3.3, 4.4]], rtol=1e-6)
    np.testing.assert_array_equal(gradient["head"][1], [12.0])
    assert float(gradient["scale"]) == 5.0


@together("normalize", [True, False])
def test_a_prefix_masks_whole_branches(normalize):
    """||(3, 4, 12)|| = 13."""

    def mask(gradients):
        return {"head": True, "scale": False}

    _, gradient = sam.value_and_grad(half_square_norm, rho=RHO, normalize=normalize, mask=mask)(PARAMS)
    factor = 1 + RHO / (13 if normalize else 1)
    np.testing.assert_allclose(gradient["head"][0], [[3 * factor, 4 * factor]], rtol=1e-6)
    np.testing.assert_allclose(gradient["head"][1], [12 * factor], rtol=1e-6)
    assert float(gradient["scale"]) == 5.0


def test_an_array_masks_single_entries():
    def mask(gradients):
        return jnp.array([True, False, True])

    _, gradient = sam.value_and_grad(half_square_norm, rho=RHO, mask=mask)(jnp.array([3.0, 100.0, 4.0]))
    np.testing.assert_allclose(gradient, [3.3, 100.0, 4.4], rtol=1e-6)


@together("normalize", [True, False])
@together(
    "mask",
    [lambda _: False, lambda g: jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, bool), g)],
    ids=["prefix", "zeros"],
)
def test_a_mask_that_hides_everything_gives_the_plain_gradient(mask, normalize):
    value, gradient = sam.value_and_grad(half_square_norm, rho=RHO, normalize=normalize, mask=mask)(PARAMS)
    expected_value, expected = jax.value_and_grad(half_square_norm)(PARAMS)
    assert float(value) == float(expected_value)
    jax.tree.map(np.testing.assert_array_equal, gradient, expected)


def test_a_mask_that_hides_nothing_changes_nothing():
    expected = sam.value_and_grad(half_square_norm, rho=RHO)(PARAMS)
    actual = sam.value_and_grad(half_square_norm, rho=RHO, mask=lambda _: True)(PARAMS)
    jax.tree.map(np.testing.assert_array_equal, actual, expected)


def test_the_mask_of_several_argnums_is_a_tuple():
    def mask(gradients):
        return (True, False)

    def loss(x, y):
        return half_square_norm((x, y))

    _, gradients = sam.value_and_grad(loss, (0, 1), rho=RHO, mask=mask)(jnp.array([3.0, 4.0]), jnp.array(7.0))
    np.testing.assert_allclose(gradients[0], [3.3, 4.4], rtol=1e-6)
    assert float(gradients[1]) == 7.0


def test_a_hidden_gradient_that_is_not_finite_does_not_reach_the_others():
    gradients = {"hidden": jnp.array([jnp.nan]), "shown": jnp.array([3.0, 4.0])}
    params = jax.tree.map(jnp.zeros_like, gradients)
    moved = sam.ascent_point(params, gradients, RHO, mask=lambda _: {"hidden": False, "shown": True})
    np.testing.assert_array_equal(moved["hidden"], [0.0])
    np.testing.assert_allclose(moved["shown"], [0.3, 0.4], rtol=1e-6)


def test_a_mask_over_half_precision_keeps_dtypes():
    params = {"a": jnp.array([3.0, 4.0], jnp.bfloat16), "b": jnp.array([1.0], jnp.float16)}
    moved = sam.ascent_point(params, params, RHO, mask=lambda _: {"a": True, "b": False})
    assert {name: leaf.dtype for name, leaf in moved.items()} == {"a": jnp.bfloat16, "b": jnp.float16}
    np.testing.assert_allclose(np.asarray(moved["a"], np.float32), [3.3, 4.4], rtol=2**-8)
    assert float(moved["b"][0]) == 1.0
