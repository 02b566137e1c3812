import jax
import jax.numpy as jnp
import numpy as np
import pytest

from widebasin.models.pooling import max_pool, window_pixels


def reduced(image, size):
    edge = (size - 1) // 2
    window, strides, padding = (size, size, 1), (2, 2, 1), [(edge, edge), (edge, edge), (0, 0)]
    return jax.lax.reduce_window(image, -jnp.inf, jax.lax.max, window, strides, padding)


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("shape", [(8, 8, 3), (7, 10, 2), (3, 2, 1)])
def test_pooling_and_its_gradient_are_those_of_reduce_window(size, shape):
    image = jax.random.normal(jax.random.key(0), shape)
    expected = reduced(image, size)
    np.testing.assert_array_equal(max_pool(image, size), expected)
    weights = jax.random.normal(jax.random.key(1), expected.shape)
    gradients = (jax.grad(lambda x, pool=pool: (weights * pool(x, size)).sum())(image) for pool in (max_pool, reduced))
    np.testing.assert_allclose(*gradients, rtol=1e-6)


def test_pixels_of_a_window_are_row_by_row():
    image = jnp.arange(24.0).reshape(4, 6, 1)
    pixels = np.stack(window_pixels(image, 2))[..., 0]
    np.testing.assert_array_equal(pixels[:, 0, 0], [0, 1, 6, 7])
    np.testing.assert_array_equal(pixels[:, 1, 2], [16, 17, 22, 23])


def test_half_precision_stays():
    assert max_pool(-jnp.ones((4, 4, 1), jnp.bfloat16), 3).dtype == jnp.bfloat16
