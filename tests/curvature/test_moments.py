import jax
import jax.numpy as jnp
import numpy as np
import pytest
from curvature.problems import example_loss, smooth_example_loss
from hypothesis import given, settings
from hypothesis import strategies as st

from widebasin import curvature, theory


def dense_moment(classifier, order):
    powers = np.mean([np.linalg.matrix_power(h, order) for h in classifier.hessians], axis=0)
    return powers - np.linalg.matrix_power(classifier.hessian, order)


@pytest.mark.slow
@pytest.mark.parametrize(("order", "chunk_size"), [(2, None), (3, 7), (4, 7)])
def test_the_operator_of_a_moment_equals_the_dense_one(classifier, order, chunk_size):
    operator = curvature.moment_operator(
        example_loss, classifier.params, classifier.batch, order, chunk_size=chunk_size
    )
    expected = dense_moment(classifier, order)
    np.testing.assert_allclose(operator.dense(), expected, atol=1e-12 * max(1, np.abs(expected).max()))


@pytest.mark.slow
def test_sharpness_nonuniformity_and_stability_equal_the_dense_ones(network):
    arguments = smooth_example_loss, network.params, network.batch
    found = curvature.hessian_moments(*arguments, tolerance=1e-10)
    assert found.converged
    np.testing.assert_allclose(found.sharpness, np.linalg.eigvalsh(network.hessian)[-1], rtol=1e-8)
    assert list(found.nonuniformity) == [2, 3, 4]
    for order, value in found.nonuniformity.items():
        largest = np.linalg.eigvalsh(dense_moment(network, order))[-1]
        np.testing.assert_allclose(value, largest ** (1 / order), rtol=1e-8)
    stable = curvature.stability(*arguments, learning_rate=0.2, rho=0.05, tolerance=1e-10)
    steps = np.eye(300) - 0.2 * network.hessians @ (np.eye(300) + 0.05 * network.hessians)
    np.testing.assert_allclose(stable.value, np.linalg.eigvalsh(np.mean(steps @ steps, axis=0))[-1], rtol=1e-8)
    # From Krylov spaces, not from the dense matrices.
    assert max(pairs.products for pairs in (*found.eigenpairs.values(), stable.eigenpairs)) < 300


@pytest.mark.slow
def test_equal_examples_have_no_nonuniformity(classifier):
    same = jax.tree.map(lambda leaf: jnp.repeat(leaf[:1], 5, axis=0), classifier.batch)
    found = curvature.hessian_moments(example_loss, classifier.params, same)
    assert all(value < 1e-3 * found.sharpness for value in found.nonuniformity.values())
    assert found.converged


@pytest.mark.slow
@pytest.mark.parametrize(("learning_rate", "rho"), [(0.3, 0.1), (0.3, 0.0), (0.05, 0.4)])
def test_the_second_moment_equals_the_dense_one_and_the_sum_of_its_terms(classifier, learning_rate, rho):
    operator = curvature.second_moment_operator(
        example_loss, classifier.params, classifier.batch, learning_rate=learning_rate, rho=rho, chunk_size=10
    )
    identity, h = np.eye(len(classifier.hessian)), classifier.hessian
    steps = identity - learning_rate * classifier.hessians @ (identity + rho * classifier.hessians)
    expected = np.mean(steps @ steps, axis=0)
    np.testing.assert_allclose(operator.dense(), expected, atol=1e-12)
    first = identity - learning_rate * h - learning_rate * rho * h @ h
    terms = first @ first + learning_rate * (learning_rate - 2 * rho) * dense_moment(classifier, 2)
    terms += 2 * learning_rate**2 * rho * dense_moment(classifier, 3)
    terms += learning_rate**2 * rho**2 * dense_moment(classifier, 4)
    np.testing.assert_allclose(expected, terms, atol=1e-12)
    found = curvature.stability(
        example_loss, classifier.params, classifier.batch, learning_rate=learning_rate, rho=rho, tolerance=1e-9
    )
    np.testing.assert_allclose(found.value, np.linalg.eigvalsh(expected)[-1], atol=1e-8)
    assert found.stable == (np.linalg.eigvalsh(expected)[-1] <= 1 + 1e-9)
    assert found.converged


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 7])
def test_the_second_moment_of_batches_is_the_mean_over_all_batches(size, classifier):
    """Drawn with replacement, the mean of B Hessians has 1/B of the non-uniformity: against all pairs for B = 2."""
    options = {"learning_rate": 0.3, "chunk_size": 10}
    arguments = (example_loss, classifier.params, classifier.batch)
    identity, h = np.eye(len(classifier.hessian)), classifier.hessian
    step = identity - 0.3 * h
    found = curvature.second_moment_operator(*arguments, examples_per_step=size, **options)
    expected = step @ step + 0.09 / size * dense_moment(classifier, 2)
    np.testing.assert_allclose(found.dense(), expected, atol=1e-12)
    pairs = [identity - 0.15 * (one + other) for one in classifier.hessians[:4] for other in classifier.hessians[:4]]
    few = jax.tree.map(lambda leaf: leaf[:4], classifier.batch)
    of_two = curvature.second_moment_operator(*arguments[:2], few, learning_rate=0.3, examples_per_step=2)
    np.testing.assert_allclose(of_two.dense(), np.mean([one @ one for one in pairs], axis=0), atol=1e-12)


@pytest.mark.parametrize(("size", "rho", "message"), [(0, 0.0, "at least 1"), (2, 0.1, "must be 1")])
def test_batches_that_have_no_second_moment_are_refused(size, rho, message, classifier):
    with pytest.raises(ValueError, match=message):
        curvature.second_moment_operator(
            example_loss, classifier.params, classifier.batch, learning_rate=0.1, rho=rho, examples_per_step=size
        )


def quadratic(w, matrix):
    """An example whose Hessian is the example itself."""
    return 0.5 * w @ matrix @ w


def simulated(hessians, learning_rate, rho, steps):
    """Exact second moments: ``E ||w_t||^2`` from ``E w_t w_t^T``, which a step maps linearly, starting from ``I``."""
    identity = np.eye(hessians.shape[-1])
    steps_of = identity - learning_rate * hessians @ (identity + rho * hessians)
    moment = identity
    traces = [np.trace(moment)]
    for _ in range(steps):
        moment = np.mean(steps_of @ moment @ np.swapaxes(steps_of, 1, 2), axis=0)
        traces.append(np.trace(moment))
    return np.array(traces)


@pytest.mark.slow
@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), learning_rate=st.floats(0.02, 1.0), share=st.floats(0.0, 0.6))
def test_where_condition_six_holds_simulated_second_moments_do_not_grow(seed, learning_rate, share):
    roots = np.random.default_rng(seed).normal(size=(4, 3, 2))
    hessians = roots @ np.swapaxes(roots, 1, 2)
    rho = share * learning_rate
    found = curvature.stability(
        quadratic, jnp.zeros(3), jnp.asarray(hessians), learning_rate=learning_rate, rho=rho, tolerance=1e-9
    )
    traces = simulated(hessians, learning_rate, rho, 30)
    if found.stable:
        assert (traces[1:] <= traces[:-1] * (1 + 1e-7)).all()
    else:
        # The direction of the largest eigenvalue grows at once.
        direction = np.asarray(found.eigenpairs.eigenvectors[0])
        identity = np.eye(3)
        steps = identity - learning_rate * hessians @ (identity + rho * hessians)
        assert np.mean(np.sum((steps @ direction) ** 2, axis=-1)) > 1


@pytest.mark.slow
@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), learning_rate=st.floats(0.02, 1.0))
def test_where_the_sharpness_breaks_its_bound_simulated_second_moments_explode(seed, learning_rate):
    roots = np.random.default_rng(seed).normal(size=(4, 3, 2))
    hessians = roots @ np.swapaxes(roots, 1, 2)
    sharpness = float(np.linalg.eigvalsh(hessians.mean(0))[-1])
    if not theory.stability(sharpness=sharpness, learning_rate=learning_rate).holds:
        traces = simulated(hessians, learning_rate, 0.0, 50)
        assert traces[-1] > traces[0]


@pytest.mark.parametrize("options", [{"learning_rate": 0.0}, {"learning_rate": 0.1, "rho": -1.0}])
def test_step_sizes_that_cannot_be_are_refused(classifier, options):
    with pytest.raises(ValueError, match="learning_rate must be > 0 and rho >= 0"):
        curvature.stability(example_loss, classifier.params, classifier.batch, **options)


def test_examples_that_are_alike_are_uniform_where_negative_curvature_dominates():
    """Eigenvalues from 0 to -10 and one of 1e-3: what is left of ``H^k - H^k`` is rounding of 10^k."""
    random = np.random.default_rng(0)
    basis = np.linalg.qr(random.normal(size=(12, 12)))[0]
    matrix = jnp.asarray(basis * np.append(np.linspace(-10, 0, 11), 1e-3) @ basis.T, jnp.float32)
    found = curvature.hessian_moments(quadratic, jnp.ones(12, jnp.float32), jnp.stack([matrix] * 3))
    assert found.nonuniformity == {2: 0, 3: 0, 4: 0}
    assert found.converged
    np.testing.assert_allclose(found.sharpness, 1e-3, atol=1e-5)


def test_an_order_below_two_is_refused(classifier):
    with pytest.raises(ValueError, match="order"):
        curvature.moment_operator(example_loss, classifier.params, classifier.batch, 1)
