"""Convolution of one image, channels last."""

import math
from collections.abc import Mapping
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from widebasin.models.applied import is_convolution_of_another_library

# Sides and channels change from layer to layer: any three numbers.
Image = Float[Array, "_height _width _channels"]


class Convolution(eqx.Module):
    """Convolution of an image, channels last: ``y[i, j] = sum_ab x[s i + a - p, s j + b - p] @ kernel[a, b] + bias``.

    The image is zero-padded by ``p = size // 2`` on every side, so stride ``s = 1`` keeps its size. This is not
    ``equinox.nn.Conv2d``, because channels come last here, which is faster with batch normalization on a CPU: the
    gradient of a residual network takes four fifths of the time.

    Attributes:
        kernel: weights.
        bias: bias of every output channel, or None.
        stride: pixels from one output to the next.
    """

    INPUT_AXES: ClassVar[Mapping[str, int]] = {"kernel": 2}

    kernel: Float[Array, "size size inputs outputs"]
    bias: Float[Array, " outputs"] | None
    stride: int = eqx.field(static=True)

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: int,
        stride: int = 1,
        *,
        bias: bool = False,
        key: Key[Array, ""],
    ) -> None:
        """Draws the kernel from ``N(0, 2 / fan_in)`` (He et al. 2015); the bias starts at 0.

        Args:
            inputs: number of input channels.
            outputs: number of output channels.
            size: side of the kernel in pixels; odd.
            stride: pixels from one output to the next.
            bias: whether to add a bias.
            key: key for the kernel.
        """
        if min(inputs, outputs, stride) < 1:
            raise ValueError(f"inputs, outputs and stride must be at least 1, got {inputs}, {outputs} and {stride}")
        if size < 1 or size % 2 == 0:
            raise ValueError(f"size must be odd and at least 1, got {size}")
        fan_in = size * size * inputs
        # Drawn as a vector: XLA compiles that in a third of the time.
        draws = jax.random.normal(key, (fan_in * outputs,))
        self.kernel = (math.sqrt(2 / fan_in) * draws).reshape(size, size, inputs, outputs)
        self.bias = jnp.zeros(outputs) if bias else None
        self.stride = stride

    def __call__(self, image: Image) -> Image:
        """The convolved image; each side becomes ``ceil(side / stride)`` pixels."""
        size, _, inputs, outputs = self.kernel.shape
        if image.shape[-1] != inputs:
            raise ValueError(f"the image must have {inputs} channels in its last axis, got shape {image.shape}")
        if size == 1 or min(image.shape[:2]) <= self.stride * (size - 1):
            # On a CPU XLA multiplies matrices faster than it convolves with a single pixel (two to four times), or to
            # images smaller than the kernel (2 x 2: six times with 32 channels, 77 times with 512).
            convolved = self._patches(image) @ self.kernel.reshape(-1, outputs)
        else:
            convolved = jax.lax.conv_general_dilated(
                image[None],
                self.kernel,
                window_strides=(self.stride, self.stride),
                padding=[(size // 2, size // 2)] * 2,
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
            )[0]
        return convolved if self.bias is None else convolved + self.bias

    def _patches(self, image: Image) -> Image:
        """The pixels under the kernel at each of its positions, channel by channel."""
        size = self.kernel.shape[0]
        margin = size // 2
        height, width = (side - 1 for side in image.shape[:2])
        padded = jnp.pad(image, ((margin, margin), (margin, margin), (0, 0)))
        shifts = [
            padded[row : row + height + 1 : self.stride, column : column + width + 1 : self.stride]
            for row in range(size)
            for column in range(size)
        ]
        return jnp.concatenate(shifts, axis=-1)


def is_convolutional(model: PyTree) -> bool:
    """Whether a model has convolutions, which ``vmap`` over kernels turns into grouped convolutions."""
    return any(map(_is_convolution, jax.tree.leaves(model, is_leaf=_is_convolution)))


def _is_convolution(node: object) -> bool:
    return isinstance(node, Convolution | eqx.nn.Conv) or is_convolution_of_another_library(node)
