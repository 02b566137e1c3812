"""Vision transformers."""

from collections.abc import Mapping
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from widebasin.models.convolution import Image
from widebasin.models.encoder import EncoderBlock


class ViT(eqx.Module):
    """A vision transformer: patches as tokens, learned positions, an encoder, and logits from the class token.

    Normalization comes first in each layer (pre-norm), MLPs have ``2 dimension`` hidden units, and GELU is its tanh
    approximation. Linear layers are initialized as in ``equinox.nn.Linear``, the class token and the positions from
    ``N(0, 0.02^2)``.

    Source: Dosovitskiy et al. 2021 (arXiv 2010.11929). With ``dimension = 64`` it has 208,970 parameters, like the one
    for CIFAR-10 in arXiv 2311.17539; the number of heads there is unknown, and 8 is our guess.

    Attributes:
        embedding: linear layer from the pixels of a patch to a token.
        class_token: the first token.
        positions: added to the tokens.
        blocks: the encoder.
        norm: final layer normalization of the class token.
        last: linear layer from the class token to logits.
        patch: side of a patch in pixels.
        image_shape: shape of the input images.

    Example:
        >>> import jax
        >>> from widebasin.models import ViT, count_parameters
        >>> count_parameters(ViT(64, key=jax.random.key(0)))
        208970
    """

    INPUT_AXES: ClassVar[Mapping[str, int]] = {"positions": 0}

    embedding: eqx.nn.Linear
    class_token: Float[Array, " dimension"]
    positions: Float[Array, "tokens dimension"]
    blocks: list[EncoderBlock]
    norm: eqx.nn.LayerNorm
    last: eqx.nn.Linear
    patch: int = eqx.field(static=True)
    image_shape: tuple[int, int, int] = eqx.field(static=True)

    def __init__(
        self,
        dimension: int,
        classes: int = 10,
        image_size: int = 32,
        channels: int = 3,
        patch: int = 4,
        depth: int = 6,
        heads: int = 8,
        *,
        key: Key[Array, ""],
    ) -> None:
        """Initializes the network.

        Args:
            dimension: number of features of a token, the width; a multiple of ``heads``.
            classes: number of logits.
            image_size: side of the image in pixels; a multiple of ``patch``.
            channels: number of channels of the image.
            patch: side of a patch in pixels.
            depth: number of encoder blocks.
            heads: number of attention heads per block.
            key: key for the initial parameters.
        """
        if min(dimension, classes, image_size, channels, patch, depth, heads) < 1:
            raise ValueError(
                "dimension, classes, image_size, channels, patch, depth and heads must be at least 1, got "
                f"{dimension}, {classes}, {image_size}, {channels}, {patch}, {depth} and {heads}"
            )
        if dimension % heads:
            raise ValueError(f"dimension must be a multiple of heads, got {dimension} and {heads}")
        if image_size % patch:
            raise ValueError(f"image_size must be a multiple of patch, got {image_size} and {patch}")
        keys = jax.random.split(key, 4 + depth)
        self.embedding = eqx.nn.Linear(patch**2 * channels, dimension, key=keys[0])
        self.class_token = 0.02 * jax.random.normal(keys[1], (dimension,))
        self.positions = 0.02 * jax.random.normal(keys[2], (1 + (image_size // patch) ** 2, dimension))
        self.last = eqx.nn.Linear(dimension, classes, key=keys[3])
        self.blocks = [EncoderBlock(dimension, heads, key=key) for key in keys[4:]]
        self.norm = eqx.nn.LayerNorm(dimension)
        self.patch = patch
        self.image_shape = (image_size, image_size, channels)

    def __call__(self, image: Image) -> Float[Array, " classes"]:
        """The logits of one image."""
        if image.shape != self.image_shape:
            raise ValueError(f"the image must have the shape {self.image_shape}, got {image.shape}")
        tokens = jax.vmap(self.embedding)(_patches(image, self.patch))
        tokens = jnp.concatenate([self.class_token[None], tokens]) + self.positions
        for block in self.blocks:
            tokens = block(tokens)
        return self.last(self.norm(tokens[0]))


def _patches(image: Image, patch: int) -> Float[Array, "patches pixels"]:
    """The patches of an image, row by row; each is a vector of the channels of its pixels, row by row."""
    height, width, channels = image.shape
    squares = image.reshape(height // patch, patch, width // patch, patch, channels).swapaxes(1, 2)
    return squares.reshape(-1, patch * patch * channels)
