import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse.linalg
from curvature.problems import smooth_loss

from widebasin import curvature


def diagonal(values):
    """The Hessian of ``sum_j values_j w_j^2 / 2``: any spectrum one wants."""
    spectrum = jnp.asarray(values)
    return curvature.hessian(weighted_squares, jnp.zeros(len(values)), jnp.broadcast_to(spectrum, (2, len(values))))


def weighted_squares(w, batch):
    return 0.5 * jnp.sum(batch.mean(0) * w**2)


@pytest.mark.parametrize("k", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_the_ends_of_the_spectrum_equal_those_of_the_dense_matrix(network, k):
    expected = np.linalg.eigvalsh(network.hessian)
    options = {"k": k, "tolerance": 1e-9}
    top = curvature.top_eigenvalues(smooth_loss, network.params, network.batch, **options)
    bottom = curvature.bottom_eigenvalues(smooth_loss, network.params, network.batch, **options)
    np.testing.assert_allclose(top.eigenvalues, expected[::-1][:k], atol=1e-8)
    np.testing.assert_allclose(bottom.eigenvalues, expected[:k], atol=1e-8)
    for pairs in (top, bottom):
        assert pairs.converged
        assert pairs.products < 300  # from Krylov spaces, not from the dense matrix
        vectors = np.asarray(pairs.eigenvectors)
        np.testing.assert_allclose(vectors @ vectors.T, np.eye(k), atol=1e-8)
        residuals = np.linalg.norm(vectors @ network.hessian - pairs.eigenvalues[:, None] * vectors, axis=1)
        np.testing.assert_allclose(pairs.residuals, residuals, atol=1e-12)
        assert (pairs.residuals < 1e-8).all()


@pytest.mark.slow
def test_the_largest_in_modulus_is_the_spectral_norm():
    found = curvature.eigenpairs(diagonal(np.linspace(-3, 2, 300)), 2, "modulus", tolerance=1e-8)
    np.testing.assert_allclose(found.eigenvalues, np.linspace(-3, 2, 300)[:2], atol=1e-8)


@pytest.mark.slow
def test_lanczos_equals_arpack_where_the_space_is_much_smaller_than_the_dimension():
    """2,000 dimensions, a bulk and ten outliers, which a space of 20 does not resolve."""
    values = np.concatenate([np.linspace(-1, 1, 1990), np.linspace(2, 4, 10)])
    operator = diagonal(values)
    found = curvature.eigenpairs(operator, 5, tolerance=1e-8)

    def product(vector):
        return np.asarray(operator @ jnp.asarray(vector.ravel(), jnp.float64))

    arpack = scipy.sparse.linalg.eigsh(
        scipy.sparse.linalg.LinearOperator((2000, 2000), matvec=product, dtype=np.float64),
        k=5,
        which="LA",
        return_eigenvectors=False,
    )
    assert found.converged
    np.testing.assert_allclose(found.eigenvalues, np.sort(arpack)[::-1], atol=1e-8)
    np.testing.assert_allclose(found.eigenvalues, values[::-1][:5], atol=1e-8)


@pytest.mark.slow
def test_a_space_too_small_for_a_clustered_spectrum_is_reported_as_not_converged():
    values = 1 - np.geomspace(1e-6, 1, 3000)
    found = curvature.eigenpairs(diagonal(values), 1, tolerance=1e-8, most_products=100)
    assert not found.converged
    assert found.products <= 100
    # The residual is honest: an eigenvalue lies within it.
    assert np.abs(values - found.eigenvalues[0]).min() <= found.residuals[0]


@pytest.mark.slow
def test_one_space_alone_is_never_called_converged():
    """A residual can be small at the second eigenvalue while the first was missed: only growth can tell."""
    operator = diagonal(np.concatenate([np.linspace(0, 0.01, 498), [2.0, 3.0]]))
    found = curvature.eigenpairs(operator, 1, most_products=25)
    assert found.residuals[0] < 1e-3 * 3
    assert not found.converged
    assert curvature.eigenpairs(operator, 1).converged


@pytest.mark.slow
def test_an_exhausted_space_is_no_trap():
    """Four different eigenvalues in 500 dimensions: a space of four is invariant, and rounding error follows."""
    values = np.zeros(500)
    values[:3] = 3.0, 2.0, -2.0
    for end, expected in (("top", [3.0, 2.0]), ("bottom", [-2.0, 0.0])):
        found = curvature.eigenpairs(diagonal(values), 2, end)
        np.testing.assert_allclose(found.eigenvalues, expected, atol=1e-12)
        assert found.converged
        assert (found.residuals < 1e-10).all()


@pytest.mark.slow
def test_what_is_not_found_is_not_called_converged():
    """Of a matrix with three different eigenvalues, five need not be found."""
    values = np.zeros(3000)
    values[:2] = 3.0, -2.0
    found = curvature.eigenpairs(diagonal(values), 5, most_products=100)
    assert len(found.eigenvalues) == len(found.residuals) == len(found.eigenvectors) <= 5
    np.testing.assert_allclose(np.min(np.abs(found.eigenvalues[:, None] - [3.0, 0.0, -2.0]), axis=1), 0, atol=1e-9)
    assert len(found.eigenvalues) == 5 or not found.converged


def test_a_small_matrix_is_solved_exactly():
    found = curvature.eigenpairs(diagonal([3.0, 3.0, -5.0]), 2)
    np.testing.assert_allclose(found.eigenvalues, [3.0, 3.0], atol=1e-14)
    assert found.converged
    np.testing.assert_allclose(curvature.eigenpairs(diagonal([3.0, 3.0, -5.0]), 1, "bottom").eigenvalues, [-5.0])


@pytest.mark.slow
def test_a_matrix_of_zeros_has_eigenvalues_zero():
    found = curvature.eigenpairs(diagonal(np.zeros(300)), 2)
    np.testing.assert_array_equal(found.eigenvalues, [0.0, 0.0])
    assert np.isfinite(found.residuals).all()


@pytest.mark.parametrize("most_products", [2, 5, 21])
def test_the_first_space_keeps_to_the_products_allowed(most_products):
    found = curvature.eigenpairs(diagonal(np.linspace(0, 1, 400)), 1, most_products=most_products)
    assert found.products == most_products
    assert not found.converged


@pytest.mark.parametrize("end", ["top", "bottom"])
def test_the_largest_modulus_is_that_of_either_end(end):
    found = curvature.eigenpairs(diagonal(np.linspace(-3, 1, 60)), 1, end)
    np.testing.assert_allclose(found.modulus, 3, rtol=1e-3)


def test_the_key_decides_where_it_starts():
    operator = diagonal(np.linspace(0, 1, 400))
    found = [
        curvature.eigenpairs(operator, 1, key=jax.random.key(k), most_products=30).eigenvalues[0] for k in (0, 0, 1)
    ]
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize(
    ("options", "argument"),
    [
        ({"k": 0}, "k must be"),
        ({"k": 4}, "k must be a whole number between 1 and the 3 parameters, got 4"),
        ({"end": "middle"}, "end"),
        ({"tolerance": 0.0}, "tolerance"),
        ({"most_products": 0}, "most_products"),
    ],
)
def test_what_cannot_be_is_refused_by_name(options, argument):
    with pytest.raises(ValueError, match=argument):
        curvature.eigenpairs(diagonal([1.0, 2.0, 3.0]), **options)
