import jax
import jax.numpy as jnp
import numpy as np
import pytest

from widebasin.models.pooling import max_pool, window_pixels


def reduced(image, size):
    edge = (size - 1) // 2
    window, strides, padding = (size, size, 1), (2, 2, 1), [(edge, edge), (edge, edge), (0, 0)]
    return jax.lax.reduce_window(image, -jnp.inf, jax.lax.max, window, strides, padding)


@pytest.mark.parametrize("shape", [(8, 8, 3), (7, 4, 1)])
@pytest.mark.parametrize("size", [2, 3])
def test_pooling_and_its_gradient_are_those_of_reduce_window(size, shape):
    image = np.random.default_rng(0).normal(size=shape).astype(np.float32)

    @jax.jit
    def pooled(image):
        values, transposes = zip(*(jax.vjp(lambda x, f=f: f(x, size), image) for f in (max_pool, reduced)), strict=True)
        weights = jnp.sin(jnp.arange(values[0].size)).reshape(values[0].shape)
        return values, [transpose(weights)[0] for transpose in transposes]

    values, gradients = pooled(image)
    np.testing.assert_array_equal(*values)
    np.testing.assert_allclose(*gradients, rtol=1e-6)


def test_pixels_of_a_window_are_row_by_row():
    image = jnp.arange(24.0).reshape(4, 6, 1)
    pixels = np.stack(window_pixels(image, 2))[..., 0]
    np.testing.assert_array_equal(pixels[:, 0, 0], [0, 1, 6, 7])
    np.testing.assert_array_equal(pixels[:, 1, 2], [16, 17, 22, 23])


def test_half_precision_stays():
    assert max_pool(-jnp.ones((4, 4, 1), jnp.bfloat16), 3).dtype == jnp.bfloat16
