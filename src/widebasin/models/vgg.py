"""VGG networks."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from widebasin.models.convolution import Convolution, Image
from widebasin.models.pooling import max_pool, window_pixels

# Filters of the convolutions of every stage, over those of the first one.
STAGES = ((1,), (2,), (4, 4), (8, 8), (8, 8))


class VGG11(eqx.Module):
    """VGG-11 without batch normalization: 3 x 3 convolutions with ReLU, 2 x 2 max-pooling, a linear layer.

    Stages of 1, 1, 2, 2 and 2 convolutions with ``width`` x 1, 2, 4, 8 and 8 filters each end with pooling; the number
    of stages is what reduces the image to a single pixel: five for 32 x 32, three for 8 x 8. Kernels are drawn from
    ``N(0, 2 / fan_in)`` (He et al. 2015), biases start at 0, and the last layer is initialized as in
    ``equinox.nn.Linear``.

    Source: Simonyan and Zisserman 2015 (arXiv 1409.1556), as used for lazy training by Chizat et al. 2019 (arXiv
    1812.07956); a single linear layer instead of three, and the initialization, are our interpretation.

    Attributes:
        stages: convolutions between poolings.
        last: linear layer from the last pixels to logits.
        image_shape: shape of the input images.
    """

    stages: list[list[Convolution]]
    last: eqx.nn.Linear
    image_shape: tuple[int, int, int] = eqx.field(static=True)

    def __init__(
        self, classes: int = 10, width: int = 64, channels: int = 3, image_size: int = 32, *, key: Key[Array, ""]
    ) -> None:
        """Initializes the network.

        Args:
            classes: number of logits.
            width: filters of the first convolution.
            channels: number of channels of the image.
            image_size: side of the image in pixels, at least 2.
            key: key for the initial parameters.
        """
        if min(classes, width, channels) < 1 or image_size < 2:
            raise ValueError(
                "classes, width and channels must be at least 1 and image_size at least 2, got "
                f"{classes}, {width}, {channels} and {image_size}"
            )
        last_key, *keys = jax.random.split(key, 1 + sum(map(len, STAGES)))
        self.image_shape = (image_size, image_size, channels)
        self.stages = []
        side = image_size
        for multiples in STAGES:
            if side == 1:
                break
            stage = []
            for multiple in multiples:
                filters = multiple * width
                stage.append(Convolution(channels, filters, 3, bias=True, key=keys.pop()))
                channels = filters
            self.stages.append(stage)
            side //= 2
        self.last = eqx.nn.Linear(side**2 * channels, classes, key=last_key)

    def __call__(self, image: Image) -> Float[Array, " classes"]:
        """The logits of one image."""
        return self._forward(image)[0]

    def activation_patterns(
        self, image: Image
    ) -> list[Bool[Array, "height width filters"] | Int[Array, "height width filters"]]:
        """The activation patterns for one image, layer by layer.

        Returns:
            After every convolution, whether each ReLU is active; after every pooling, which of its 2 x 2 pixels is the
            largest, from 0 to 3 row by row (the first, for ties).
        """
        return self._forward(image)[1]

    def _forward(self, image: Image) -> tuple[Float[Array, " classes"], list[Array]]:
        if image.shape != self.image_shape:
            raise ValueError(f"the image must have the shape {self.image_shape}, got {image.shape}")
        patterns: list[Array] = []
        for stage in self.stages:
            for convolution in stage:
                image = convolution(image)
                patterns.append(image > 0)
                image = jax.nn.relu(image)
            patterns.append(jnp.argmax(jnp.stack(window_pixels(image, 2)), axis=0))
            image = max_pool(image, 2)
        return self.last(image.ravel()), patterns
