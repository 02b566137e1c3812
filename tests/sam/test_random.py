import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sam.family import EXAMPLES, MATRIX, START, descent, gradient, problem, quadratic, tensors, vector

from widebasin import sam

pytestmark = pytest.mark.usefixtures("float64")

BATCH = EXAMPLES[0]


def perturbations(method, keys):
    """The gradient on a quadratic tells where it was taken: ``A (w + e - mean x)``."""

    def found(key):
        value, gradients, _ = method.value_and_grad(quadratic)(tensors(START), (), jnp.asarray(BATCH), key=key)
        return value, jnp.concatenate([gradients["a"], gradients["b"]])

    values, gradients = jax.jit(jax.vmap(found))(keys)
    np.testing.assert_allclose(values, 0.5 * np.mean([(START - x) @ MATRIX @ (START - x) for x in BATCH]))
    return np.linalg.solve(MATRIX, (np.asarray(gradients) - gradient(START, BATCH)).T).T


def test_directions_have_length_rho_and_no_preference():
    """A uniform direction in 5 dimensions has mean 0 and covariance ``I / 5``; 4 standard errors over 4,000 keys."""
    draws = 4000
    e = perturbations(sam.RandomPerturbation(0.5), jax.random.split(jax.random.key(0), draws)) / 0.5
    np.testing.assert_allclose(np.linalg.norm(e, axis=1), 1, rtol=1e-12)
    assert np.all(np.abs(e.mean(0)) < 4 * np.sqrt(1 / 5 / draws))
    # Var(e_i^2) = 3/35 - 1/25, Var(e_i e_j) = 1/35
    tolerance = 4 * np.sqrt(np.where(np.eye(5), 3 / 35 - 1 / 25, 1 / 35) / draws)
    assert np.all(np.abs(e.T @ e / draws - np.eye(5) / 5) < tolerance)


def test_masked_parameters_stay_and_the_others_move_by_rho():
    method = sam.RandomPerturbation(0.5, mask=lambda gradients: {"a": False, "b": True})
    e = perturbations(method, jax.random.split(jax.random.key(0), 20))
    np.testing.assert_allclose(e[:, :2], 0, atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(e, axis=1), 0.5, rtol=1e-12)


def test_the_same_key_gives_the_same_direction_and_another_key_another():
    start = problem()
    method, batch = sam.RandomPerturbation(0.3), start.batches[0]
    _, _, outputs = descent(method, start.params, (), [batch, batch])
    _, _, again = descent(method, start.params, (), [batch])
    assert eqx.tree_equal(outputs[0], again[0])
    assert not np.allclose(outputs[0][1]["out"], outputs[1][1]["out"])


def test_radius_zero_is_the_plain_gradient():
    """Another program than SGD's, whose value and gradient share a pass: up to rounding."""
    start = problem()
    expected = descent(sam.SGD(), start.params, (), start.batches)[2]
    found = descent(sam.RandomPerturbation(0.0), start.params, (), start.batches)[2]
    for (_, gradients), (_, plain) in zip(found, expected, strict=True):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-14), gradients, plain)


def test_a_python_number_is_perturbed_where_jax_differentiates_it():
    """On ``w^2 / 2`` the gradient is the point; one dimension has two directions."""
    _, found, _ = sam.RandomPerturbation(0.5).value_and_grad(lambda w: 0.5 * w**2)(2.0, (), key=jax.random.key(0))
    assert float(found) in (1.5, 2.5)


def test_a_key_is_needed():
    with pytest.raises(ValueError, match="RandomPerturbation draws random numbers: pass key=, a new one for every"):
        sam.RandomPerturbation(0.5).value_and_grad(quadratic)(tensors(START), (), jnp.asarray(BATCH))


def test_entries_of_many_tensors_are_drawn_apart():
    """Equal tensors do not get equal directions."""
    w = {"a": jnp.zeros(3), "b": jnp.zeros(3)}
    _, found, _ = sam.RandomPerturbation(0.5).value_and_grad(
        lambda w: 0.5 * (jnp.sum(w["a"] ** 2) + jnp.sum(w["b"] ** 2))
    )(w, (), key=jax.random.key(0))
    assert not np.any(np.isclose(found["a"], found["b"]))
    np.testing.assert_allclose(np.linalg.norm(vector(found)), 0.5, rtol=1e-12)
