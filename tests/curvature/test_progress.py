import jax.numpy as jnp
import numpy as np
import pytest

from widebasin import curvature


def squares(w, batch):
    return 0.5 * jnp.sum(batch.mean(0) * w**2)


@pytest.fixture
def operator():
    """Of 30 dimensions: a space of 20 comes first, then the whole."""
    return curvature.hessian(squares, jnp.zeros(30), jnp.broadcast_to(jnp.linspace(0, 1, 30), (2, 30)))


@pytest.mark.slow
def test_every_product_is_reported_once_and_in_order(operator):
    reported = []
    found = curvature.eigenpairs(operator, 2, progress=reported.append)
    assert found.products == 20 + 2 + 30 + 2
    assert reported == list(range(1, found.products + 1))


def test_reports_change_no_number(operator):
    plain, reported = (curvature.eigenpairs(operator, 2, progress=progress) for progress in (None, lambda products: 0))
    np.testing.assert_allclose(plain.eigenvalues, reported.eigenvalues, rtol=1e-13)


def test_another_function_does_not_compile_again():
    traces = []

    def loss(w, batch):
        traces.append(1)
        return squares(w, batch)

    def once():
        before, reported = len(traces), []
        curvature.top_eigenvalues(loss, jnp.ones(3), jnp.ones((2, 3)), progress=lambda n: reported.append(n))
        assert reported
        return len(traces) - before

    assert once() > 1
    assert once() == 1  # the check that the loss is a scalar


def test_an_error_stops_the_run_and_does_not_outlive_it(operator):
    def stop(products):
        if products == 3:
            raise RuntimeError("enough")

    with pytest.raises(Exception, match="enough"):
        curvature.eigenpairs(operator, 2, progress=stop)
    reported = []
    found = curvature.eigenpairs(operator, 2, progress=reported.append)
    assert reported[-1] == found.products


@pytest.mark.slow
def test_moments_are_counted_over_all_orders():
    def loss(w, matrix):
        return 0.5 * w @ matrix @ w

    matrices, reported = jnp.stack([jnp.eye(3), jnp.diag(jnp.arange(3.0))]), []
    found = curvature.hessian_moments(loss, jnp.zeros(3), matrices, orders=(2, 3), progress=reported.append)
    assert reported == list(range(1, sum(pairs.products for pairs in found.eigenpairs.values()) + 1))
    reported.clear()
    stable = curvature.stability(loss, jnp.zeros(3), matrices, learning_rate=0.1, progress=reported.append)
    assert reported == list(range(1, stable.eigenpairs.products + 1))
