"""LeNet-300-100 in float32: too large for a dense matrix, with the outliers and the bulk of a network in training."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse.linalg
from curvature.problems import mean_loss
from jax.flatten_util import ravel_pytree

from widebasin import curvature
from widebasin.models import MLP

EXAMPLES, STEPS, LEARNING_RATE = 256, 20, 0.1


class Network(NamedTuple):
    params: MLP
    batch: tuple[jax.Array, jax.Array]

    def product(self, vector, dtype=jnp.float32):
        """With the Hessian, by differentiating pytrees: nothing of what is tested."""
        params, batch = jax.tree.map(
            lambda leaf: leaf.astype(dtype) if leaf.dtype == jnp.float32 else leaf, (self.params, self.batch)
        )
        _, unravel = ravel_pytree(params)
        return np.asarray(ravel_pytree(product(params, unravel(jnp.asarray(vector, dtype)), batch))[0])


@jax.jit
def product(params, direction, batch):
    return jax.jvp(lambda p: jax.grad(mean_loss)(p, batch), (params,), (direction,))[1]


@pytest.fixture(scope="module")
def network():
    keys = jax.random.split(jax.random.key(0), 3)
    inputs = jax.random.normal(keys[0], (EXAMPLES, 784), jnp.float32)
    labels = jnp.argmax(inputs @ jax.random.normal(keys[1], (784, 10), jnp.float32), axis=1)
    initial = MLP.ladder(784, 10, 100, key=keys[2])

    def step(_, params):
        gradients = jax.grad(mean_loss)(params, (inputs, labels))
        return jax.tree.map(lambda p, g: p - LEARNING_RATE * g, params, gradients)

    train = jax.jit(lambda params: jax.lax.fori_loop(0, STEPS, step, params))
    return Network(train(jax.tree.map(lambda leaf: leaf.astype(jnp.float32), initial)), (inputs, labels))


def arpack(network, size, k):
    operator = scipy.sparse.linalg.LinearOperator(
        (size, size), matvec=lambda vector: network.product(vector.ravel()), dtype=np.float32
    )
    start = np.random.default_rng(0).standard_normal(size, np.float32)
    values = scipy.sparse.linalg.eigsh(operator, k, which="LA", tol=1e-5, v0=start, return_eigenvectors=False)
    return np.sort(values)


@pytest.mark.slow
def test_eigenvalues_equal_those_of_arpack_and_residuals_are_honest(network):
    k = 5
    found = curvature.top_eigenvalues(mean_loss, network.params, network.batch, k)
    assert found.converged
    vectors = np.asarray(found.eigenvectors)
    assert vectors.dtype == np.float32
    assert vectors.shape == (k, 266_610)
    np.testing.assert_allclose(vectors @ vectors.T, np.eye(k), atol=1e-4)

    expected = arpack(network, 266_610, k)
    np.testing.assert_allclose(found.eigenvalues, expected[::-1], rtol=1e-3)

    for value, vector, residual in zip(found.eigenvalues, vectors, found.residuals, strict=True):
        vector = vector.astype(np.float64)
        exact = np.linalg.norm(network.product(vector, jnp.float64) - value * vector)
        # Up to the rounding of a product in float32 with a matrix whose norm is about 6.
        assert residual == pytest.approx(exact, rel=0.01, abs=3e-5)
