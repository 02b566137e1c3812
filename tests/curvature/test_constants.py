import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from curvature.problems import smooth_example_loss, smooth_loss
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.flatten_util import ravel_pytree

from widebasin import curvature, theory


def squared_error(w, example):
    x, y = example
    return (w @ x - y) ** 2


def least_squares(seed, examples=5, features=8, rank=8):
    """Interpolating: some ``w`` fits every example, as more features than examples always do."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(examples, rank)) @ rng.normal(size=(rank, features))
    return inputs, inputs @ rng.normal(size=features)


def dense_constants(inputs):
    """From the Hessians ``2 x x^T``: of every example, of the mean, and its smallest eigenvalue that is not 0."""
    each = 2 * inputs[:, :, None] * inputs[:, None]
    values = np.linalg.eigvalsh(each.mean(0))
    return {
        "smoothness_each": max(np.linalg.norm(h, 2) for h in each),
        "smoothness": values[-1],
        "pl": values[values > 1e-10 * values[-1]][0],
    }


@settings(max_examples=30)
@given(seed=st.integers(0, 10_000), examples=st.integers(1, 12), features=st.integers(1, 8), rank=st.integers(1, 3))
def test_least_squares_has_the_constants_of_its_hessians(seed, examples, features, rank):
    """And the inequalities that they stand for hold everywhere, PL with equality somewhere."""
    inputs, targets = least_squares(seed, examples, features, rank)
    found = curvature.least_squares_constants(inputs)
    for name, value in dense_constants(inputs).items():
        np.testing.assert_allclose(found.values[name], value, rtol=1e-6, err_msg=name)
    assert {found.smoothness_each.kind, found.smoothness.kind, found.pl.kind} == {"exact"}
    rng = np.random.default_rng(seed)
    minimizer = np.linalg.lstsq(inputs, targets, rcond=None)[0]
    values, vectors = np.linalg.eigh(inputs.T @ inputs / examples)
    flattest = vectors[:, values > 1e-10 * values[-1]][:, 0]
    for point, equal in ((minimizer + rng.normal(size=features), False), (minimizer + flattest, True)):
        residuals = inputs @ point - targets
        loss, gradient = np.mean(residuals**2), 2 * inputs.T @ residuals / examples
        ratio = gradient @ gradient / (2 * loss)
        assert found.pl.value * (1 - 1e-6) <= ratio <= found.smoothness.value * (1 + 1e-6)
        if equal:
            np.testing.assert_allclose(ratio, found.pl.value, rtol=1e-6)


def test_the_quadratic_model_of_least_squares_is_least_squares():
    inputs, targets = least_squares(0)
    batch = (jnp.asarray(inputs), jnp.asarray(targets))
    found = curvature.constants_at_minimum(squared_error, jnp.asarray(np.linalg.lstsq(inputs, targets)[0]), batch)
    for name, value in curvature.least_squares_constants(inputs).values.items():
        np.testing.assert_allclose(found.values[name], value, rtol=1e-9, err_msg=name)
    assert found.converged
    assert found.pl.kind == "of the quadratic model at this point"


def test_several_outputs_have_the_same_constants():
    inputs, _ = least_squares(1, features=3)
    rng = np.random.default_rng(1)
    weights = rng.normal(size=(2, 3))
    found = curvature.constants_at_minimum(
        lambda w, example: jnp.sum((w @ example[0] - example[1]) ** 2),
        jnp.asarray(weights),
        (jnp.asarray(inputs), jnp.asarray(inputs @ weights.T)),
    )
    for name, value in curvature.least_squares_constants(inputs).values.items():
        np.testing.assert_allclose(found.values[name], value, rtol=1e-9, err_msg=name)


@pytest.fixture(scope="module")
def descent():
    """A trajectory of gradient descent on least squares, at the step size that the theorem asks for."""
    inputs, targets = least_squares(2)
    bound = theory.convergence(**curvature.least_squares_constants(inputs).values, batch_size=10**9)
    w, trajectory = np.zeros(8), []
    for _ in range(40):
        trajectory.append(w)
        w = w - bound.learning_rate * 2 * inputs.T @ (inputs @ w - targets) / len(inputs)
    return inputs, targets, trajectory


@pytest.mark.slow
def test_a_trajectory_bounds_the_constants_from_the_sides_it_says(descent):
    inputs, targets, trajectory = descent
    batch = (jnp.asarray(inputs), jnp.asarray(targets))
    found = curvature.constants(squared_error, [jnp.asarray(w) for w in trajectory[::8]], batch, tolerance=1e-9)
    exact = dense_constants(inputs)
    assert found.converged
    np.testing.assert_allclose(found.smoothness_each.value, exact["smoothness_each"], rtol=1e-9)
    np.testing.assert_allclose(found.smoothness.value, exact["smoothness"], rtol=1e-9)
    losses = [np.mean((inputs @ w - targets) ** 2) for w in trajectory]
    gradients = [2 * inputs.T @ (inputs @ w - targets) / len(inputs) for w in trajectory]
    ratios = [g @ g / (2 * f) for g, f in zip(gradients, losses, strict=True)]
    np.testing.assert_allclose(found.pl.value, min(ratios[::8]), rtol=1e-9)
    assert exact["pl"] <= found.pl.value <= found.smoothness.value
    assert found.pl.kind == "smallest seen: an upper bound"
    assert found.smoothness_each.kind == found.smoothness.kind == "largest seen: a lower bound"
    # The exact constants promise a rate, and descent keeps it.
    bound = theory.convergence(**curvature.least_squares_constants(inputs).values, batch_size=10**9)
    assert bound.guaranteed
    assert all(after <= bound.factor * before * (1 + 1e-9) for before, after in itertools.pairwise(losses))
    assert theory.convergence(**found.values, batch_size=10**9).factor <= bound.factor * (1 + 1e-9)


@pytest.mark.slow
def test_the_constants_of_a_network_are_those_of_its_dense_hessians(network):
    found = curvature.constants(smooth_example_loss, [network.params], network.batch, tolerance=1e-8, chunk_size=4)
    assert found.converged
    largest = max(np.linalg.norm(h, 2) for h in network.hessians)
    np.testing.assert_allclose(found.smoothness_each.value, largest, rtol=1e-8)
    value, gradient = jax.value_and_grad(smooth_loss)(network.params, network.batch)
    ratio = float(jnp.sum(ravel_pytree(gradient)[0] ** 2) / (2 * value))
    np.testing.assert_allclose(found.pl.value, ratio, rtol=1e-10)
    np.testing.assert_allclose(found.smoothness.value, max(np.linalg.norm(network.hessian, 2), ratio), rtol=1e-8)
    theory.convergence(**found.values)


@pytest.mark.slow
def test_hessians_of_full_rank_and_of_either_sign():
    """The space of 20 is too small; the largest norm is that of a negative eigenvalue."""
    spectra = np.stack([np.linspace(-1, 1, 30), np.linspace(-3, 2, 30), np.linspace(0, 1, 30)])
    options = {"trajectory": [jnp.ones(30)], "batch": jnp.asarray(spectra), "lowest": -1000.0}

    def loss(w, spectrum):
        return 0.5 * jnp.sum(spectrum * w**2)

    found = curvature.constants(loss, **options, tolerance=1e-6)
    np.testing.assert_allclose(found.smoothness_each.value, 3, rtol=1e-6)
    assert found.converged
    few = curvature.constants(loss, **options, tolerance=1e-9, most_products=30)
    assert not few.converged
    assert few.smoothness_each.value <= 3 * (1 + 1e-12)


def test_a_gradient_too_large_for_the_hessian_seen_shows_that_the_smoothness_is_more():
    """``log cosh w`` at 3 is nearly straight, but a function with its value and slope is no smoother than 0.2."""

    def loss(w, example):
        return example * jnp.sum(jnp.log(jnp.cosh(w)))

    found = curvature.constants(loss, [jnp.array([3.0])], jnp.ones(2))
    ratio = np.tanh(3) ** 2 / (2 * np.log(np.cosh(3)))
    assert 1 / np.cosh(3) ** 2 < 0.01 < 0.2 < ratio < 1  # 1 is the truth
    np.testing.assert_allclose(list(found.values.values()), ratio, rtol=1e-12)
    theory.convergence(**found.values)


def test_points_at_the_lowest_loss_say_nothing():
    inputs, targets = np.eye(2), np.array([1.0, 0.0])
    batch = (jnp.asarray(inputs), jnp.asarray(targets))
    minimum, other = jnp.array([1.0, 0.0]), jnp.zeros(2)
    alone, both = (curvature.constants(squared_error, points, batch) for points in ([other], [other, minimum]))
    assert alone.values == both.values
    with pytest.raises(ValueError, match="the loss is 0 at every point of trajectory"):
        curvature.constants(squared_error, [minimum], batch)


def test_the_infimum_of_the_loss_may_be_another():
    """``|w|^2 + 3``: with its infimum, ``||2 w||^2 / (2 |w|^2) = 2`` everywhere."""
    batch, points = jnp.ones(3), [jnp.array([1.0, 2.0]), jnp.array([0.1, 0.0])]

    def loss(w, example):
        return example * jnp.sum(w**2) + 3

    found = curvature.constants(loss, points, batch, lowest=3.0)
    np.testing.assert_allclose(list(found.values.values()), 2, rtol=1e-9)
    with pytest.raises(ValueError, match=r"lowest must be at most the loss at every point, got 4, above 3\.01"):
        curvature.constants(loss, points[1:], batch, lowest=4.0)


def test_a_difference_that_is_rounding_says_nothing():
    """``w^2 + 3`` at .0004 is 3 + 1.6e-7, rounded to 3 + 2.4e-7, which would make of 2 a bound of 1.3."""

    def loss(w, example):
        return example * jnp.sum(w**2) + 3

    points, batch = [jnp.full(1, at, jnp.float32) for at in (1, 4e-4)], jnp.ones(3, jnp.float32)
    found = curvature.constants(loss, points, batch, lowest=3.0)
    np.testing.assert_allclose(list(found.values.values()), 2, rtol=1e-5)
    with pytest.raises(ValueError, match="the loss is 3 at every point of trajectory, up to rounding"):
        curvature.constants(loss, points[1:], batch, lowest=3.0)


def test_a_minimum_in_double_precision_counts_in_the_precision_of_the_loss():
    """NumPy's numbers, where JAX computes in float32: eigenvalues that are 0 are its rounding errors."""
    inputs, targets = least_squares(0)
    minimum = np.linalg.lstsq(inputs, targets)[0]
    with jax.enable_x64(False):
        found = curvature.constants_at_minimum(
            squared_error, minimum, (jnp.asarray(inputs, jnp.float32), jnp.asarray(targets, jnp.float32))
        )
    for name, value in dense_constants(inputs).items():
        np.testing.assert_allclose(found.values[name], value, rtol=1e-4, err_msg=name)


def test_a_trajectory_without_points_is_refused():
    with pytest.raises(ValueError, match="trajectory must have at least one point"):
        curvature.constants(squared_error, [], (jnp.ones((2, 3)), jnp.ones(2)))


@pytest.mark.parametrize(
    ("spectrum", "options", "message"),
    [
        ([1.0, -0.5], {}, r"eigenvalues of its Hessian run from -0\.5 to 1"),
        ([0.0, 0.0], {}, "must be a minimum with some curvature"),
        ([1.0, 0.0], {"threshold": 0.0}, r"threshold must lie in \(0, 1\), got 0\.0"),
        (np.ones(10_001), {}, "params may have at most 10,000 entries, got 10001"),
    ],
)
def test_what_is_no_minimum_or_too_large_is_refused(spectrum, options, message):
    with pytest.raises(ValueError, match=message):
        curvature.constants_at_minimum(
            lambda w, spectrum: 0.5 * jnp.sum(spectrum * w**2),
            jnp.zeros(len(spectrum)),
            jnp.asarray(spectrum)[None],
            **options,
        )


def test_the_threshold_decides_what_is_positive():
    def loss(w, spectrum):
        return 0.5 * jnp.sum(spectrum * w**2)

    point, batch = jnp.zeros(3), jnp.array([[1.0, 1e-3, 1e-12]])
    assert curvature.constants_at_minimum(loss, point, batch).pl.value == pytest.approx(1e-3)
    assert curvature.constants_at_minimum(loss, point, batch, threshold=1e-2).pl.value == pytest.approx(1)


@pytest.mark.parametrize("inputs", [np.zeros((2, 3)), np.zeros((0, 3)), np.full((2, 2), np.nan)])
def test_inputs_without_constants_are_refused(inputs):
    with pytest.raises(ValueError, match="inputs"):
        curvature.least_squares_constants(inputs)
