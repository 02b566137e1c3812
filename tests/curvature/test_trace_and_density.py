import jax
import jax.numpy as jnp
import numpy as np
import pytest
from curvature.problems import mean_loss

from widebasin import curvature


@pytest.mark.slow
def test_the_trace_is_within_its_standard_error_most_of_the_time(classifier):
    """Of 60 estimates about 95% lie within two standard errors; 80% would be a deviation of 5 sigma."""
    truth = np.trace(classifier.hessian)
    found = [
        curvature.trace(mean_loss, classifier.params, classifier.batch, key=jax.random.key(seed), probes=40)
        for seed in range(60)
    ]
    errors = np.array([(one.estimate - truth) / one.standard_error for one in found])
    assert np.mean(np.abs(errors) < 2) > 0.8
    assert abs(errors.mean()) < 5 / np.sqrt(60)


def test_the_trace_of_a_diagonal_matrix_needs_one_probe_to_be_exact():
    found = curvature.trace(
        lambda w, batch: jnp.sum(batch.mean(0) * w**2), jnp.ones(5), jnp.ones((3, 5)), key=jax.random.key(0)
    )
    assert found.estimate == 10.0
    assert found.standard_error == 0.0


@pytest.mark.slow
def test_the_density_has_the_moments_of_the_spectrum(classifier):
    size = len(classifier.hessian)
    found = curvature.spectral_density(
        mean_loss, classifier.params, classifier.batch, key=jax.random.key(0), probes=200, dimension=20
    )
    np.testing.assert_allclose(found.weights.sum(1), 1, rtol=1e-10)
    for power in (1, 2, 3):
        expected = np.trace(np.linalg.matrix_power(classifier.hessian, power)) / size
        mean, error = found.mean_of(lambda x, power=power: x**power)
        assert abs(mean - expected) < 5 * error


def test_a_space_of_the_whole_dimension_has_the_eigenvalues_as_nodes():
    spectrum = jnp.array([1.0, 2.0, 4.0, 8.0])
    found = curvature.spectral_density(
        lambda w, batch: 0.5 * jnp.sum(batch.mean(0) * w**2),
        jnp.ones(4),
        jnp.broadcast_to(spectrum, (2, 4)),
        key=jax.random.key(0),
        dimension=4,
    )
    np.testing.assert_allclose(found.nodes, np.broadcast_to(spectrum, found.nodes.shape), rtol=1e-9)
    grid = np.linspace(-5, 15, 4001)
    np.testing.assert_allclose(np.trapezoid(found.density(grid, 0.3), grid), 1.0, rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "argument"),
    [({"probes": 1}, "probes"), ({"dimension": 0}, "dimension"), ({"dimension": 99}, "dimension")],
)
def test_what_cannot_be_is_refused(classifier, options, argument):
    with pytest.raises(ValueError, match=argument):
        curvature.spectral_density(mean_loss, classifier.params, classifier.batch, key=jax.random.key(0), **options)
