"""The agents' network for Atari against XLA's convolution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from widebasin.models import NatureActorCritic, count_parameters
from widebasin.models.nature import Blocks

KEY = jax.random.key(2)


@pytest.mark.parametrize(
    ("size", "stride", "height", "width"),
    [
        (4, 2, 8, 10),
        *(pytest.param(*one, marks=pytest.mark.slow) for one in ((8, 4, 20, 12), (3, 1, 5, 6), (2, 2, 4, 4))),
    ],
)
def test_a_convolution_is_that_of_xla(size, stride, height, width):
    with jax.enable_x64(True):
        layer = Blocks(3, 5, size, stride, key=KEY)
        layer = jax.tree.map(lambda leaf: jnp.asarray(leaf, float), layer)
        image = jax.random.normal(KEY, (height, width, 3))

        def theirs(kernel, image):
            found = jax.lax.conv_general_dilated(
                image[None], kernel, (stride, stride), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
            )
            return found[0] + layer.bias

        np.testing.assert_allclose(layer(image), theirs(layer.kernel, image), atol=1e-12)
        mine = jax.grad(lambda layer: (layer(image) ** 3).sum())(layer).kernel
        np.testing.assert_allclose(mine, jax.grad(lambda k: (theirs(k, image) ** 3).sum())(layer.kernel), atol=1e-9)
    rows = np.asarray(layer.kernel).reshape(-1, 5)
    np.testing.assert_allclose(rows.T @ rows, 2 * np.eye(5), atol=1e-5)


def test_sides_that_a_stride_does_not_divide_are_refused():
    with pytest.raises(ValueError, match="stride must divide the size of the kernel, 3, got 2"):
        Blocks(1, 1, 3, 2, key=KEY)
    with pytest.raises(ValueError, match="the stride, 2, must divide the sides of the image, got 5 x 4"):
        Blocks(1, 1, 2, 2, key=KEY)(jnp.zeros((5, 4, 1)))


@pytest.mark.parametrize(("width", "millions"), [(16, 0.42), (32, 1.69), (48, 3.79), (64, 6.72)])
def test_sizes_are_those_of_the_published_study(width, millions):
    """The study says 6.73 million for the largest; as defined it has 6.724."""
    agent = jax.eval_shape(lambda key: NatureActorCritic(4, width, key=key), KEY)
    assert round(count_parameters(agent) / 1e6, 2) == millions


@pytest.mark.slow
def test_logits_and_value_are_those_of_the_layers_one_by_one():
    agent = NatureActorCritic(4, 3, key=KEY)
    seen = jax.random.randint(KEY, (84, 84, 4), 0, 256).astype(jnp.uint8)
    x = np.asarray(seen, np.float32) / 255
    for layer in agent.convolutions:
        size, stride = layer.kernel.shape[0], layer.stride
        sides = range(0, x.shape[0] - size + 1, stride)
        kernel = np.asarray(layer.kernel)
        x = np.array([[np.tensordot(x[a : a + size, b : b + size], kernel, 3) for b in sides] for a in sides])
        x = np.maximum(x, 0)
    assert x.shape == (7, 7, 6)
    x = np.maximum(np.asarray(agent.dense.weight) @ x.ravel(), 0)
    logits, value = agent(seen)
    np.testing.assert_allclose(logits, np.asarray(agent.actor.weight) @ x, rtol=1e-4, atol=1e-6)
    assert float(value) == pytest.approx(float((np.asarray(agent.critic.weight) @ x)[0]), rel=1e-4)
