"""A small convolutional network, for speed measurements only."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

SIDE = 28


class ConvNet(eqx.Module):
    """Two 3 x 3 convolutions, each with ReLU and 2 x 2 max-pooling, then a linear layer.

    Attributes:
        first: convolution from 1 channel.
        second: convolution from the first one's filters.
        last: linear layer to the logits.
    """

    first: eqx.nn.Conv2d
    second: eqx.nn.Conv2d
    last: eqx.nn.Linear

    def __init__(self, filters: tuple[int, int], classes: int, *, key: Key[Array, ""]) -> None:
        """Initializes as ``equinox`` does.

        Args:
            filters: numbers of filters of the two convolutions.
            classes: number of logits.
            key: key for the initial parameters.
        """
        keys = jax.random.split(key, 3)
        self.first = eqx.nn.Conv2d(1, filters[0], 3, padding=1, key=keys[0])
        self.second = eqx.nn.Conv2d(filters[0], filters[1], 3, padding=1, key=keys[1])
        self.last = eqx.nn.Linear(filters[1] * (SIDE // 4) ** 2, classes, key=keys[2])

    def __call__(self, pixels: Float[Array, " pixels"]) -> Float[Array, " classes"]:
        """The logits of one image, given as a vector of 28 x 28 pixels."""
        image = pixels.reshape(1, SIDE, SIDE)
        for convolution in (self.first, self.second):
            image = _pooled(jax.nn.relu(convolution(image)))
        return self.last(image.ravel())


def _pooled(image: Float[Array, "channels height width"]) -> Float[Array, "channels half_height half_width"]:
    channels, height, width = image.shape
    return jnp.max(image.reshape(channels, height // 2, 2, width // 2, 2), axis=(2, 4))
