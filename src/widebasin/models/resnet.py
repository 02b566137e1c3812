"""Residual networks."""

from collections.abc import Callable, Sequence

import equinox as eqx
import jax
from jaxtyping import Array, Float, Key

from widebasin.models.convolution import Convolution, Image
from widebasin.models.normalization import BatchNormalization
from widebasin.models.pooling import max_pool


class NormalizedConvolution(eqx.Module):
    """A convolution without bias, then batch normalization."""

    convolution: Convolution
    normalization: BatchNormalization

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: int,
        stride: int = 1,
        *,
        zero_scale: bool = False,
        key: Key[Array, ""],
    ) -> None:
        """See ``Convolution`` and ``BatchNormalization``."""
        self.convolution = Convolution(inputs, outputs, size, stride, key=key)
        self.normalization = BatchNormalization(outputs, zero_scale=zero_scale)

    def __call__(self, image: Image, state: eqx.nn.State) -> tuple[Image, eqx.nn.State]:
        """The normalized convolution of an image of the batch, and the state after the batch."""
        return self.normalization(self.convolution(image), state)


class ResidualBlock(eqx.Module):
    """A few convolutions and a shortcut: ``relu(branch(x) + shortcut(x))``, with ReLU between the convolutions.

    The shortcut is the identity, or a 1 x 1 convolution if size or channels change.

    Attributes:
        branch: the convolutions.
        projection: the shortcut, None for the identity.
        outputs: number of output channels.
    """

    branch: list[NormalizedConvolution]
    projection: NormalizedConvolution | None
    outputs: int = eqx.field(static=True)

    def __init__(
        self, inputs: int, branch: list[NormalizedConvolution], outputs: int, stride: int, *, key: Key[Array, ""]
    ) -> None:
        """A block around a branch; ``key`` initializes the shortcut."""
        self.branch = branch
        plain = inputs == outputs and stride == 1
        self.projection = None if plain else NormalizedConvolution(inputs, outputs, 1, stride, key=key)
        self.outputs = outputs

    @classmethod
    def basic(cls, inputs: int, width: int, stride: int, *, key: Key[Array, ""]) -> "ResidualBlock":
        """Two 3 x 3 convolutions with ``width`` output channels."""
        keys = jax.random.split(key, 3)
        branch = [
            NormalizedConvolution(inputs, width, 3, stride, key=keys[0]),
            NormalizedConvolution(width, width, 3, key=keys[1]),
        ]
        return cls(inputs, branch, width, stride, key=keys[2])

    @classmethod
    def bottleneck(cls, inputs: int, width: int, stride: int, *, key: Key[Array, ""]) -> "ResidualBlock":
        """1 x 1, 3 x 3 and 1 x 1 convolutions with ``4 width`` output channels; the branch starts at zero.

        The stride is in the 3 x 3 convolution ("v1.5"), and the last scale starts at 0 (Goyal et al. 2017, arXiv
        1706.02677).
        """
        keys = jax.random.split(key, 4)
        branch = [
            NormalizedConvolution(inputs, width, 1, key=keys[0]),
            NormalizedConvolution(width, width, 3, stride, key=keys[1]),
            NormalizedConvolution(width, 4 * width, 1, zero_scale=True, key=keys[2]),
        ]
        return cls(inputs, branch, 4 * width, stride, key=keys[3])

    def __call__(self, image: Image, state: eqx.nn.State) -> tuple[Image, eqx.nn.State]:
        """The block's output for one image of the batch, and the state after the batch."""
        shortcut = image
        if self.projection is not None:
            shortcut, state = self.projection(image, state)
        for layer in self.branch[:-1]:
            image, state = layer(image, state)
            image = jax.nn.relu(image)
        image, state = self.branch[-1](image, state)
        return jax.nn.relu(image + shortcut), state


class ResNet(eqx.Module):
    """A residual network with batch normalization: a stem, stages of blocks, the mean over pixels, a linear layer.

    Stage ``k`` has ``width 2^k`` filters and, except for the first, halves the sides of the image. Kernels are drawn
    from ``N(0, 2 / fan_in)`` (He et al. 2015); the last layer is initialized as in ``equinox.nn.Linear``.

    Source: He et al. 2016 (arXiv 1512.03385).

    Attributes:
        stem: the first convolution.
        pool: whether 3 x 3 max-pooling with stride 2 follows the stem.
        blocks: the blocks of all stages.
        last: linear layer from the last block's channels to logits.

    Example:
        >>> import equinox as eqx, jax
        >>> from widebasin.models import ResNet, count_parameters
        >>> model, state = eqx.nn.make_with_state(ResNet.cifar)(width=4, key=jax.random.key(0))
        >>> count_parameters(model)
        44622
    """

    stem: NormalizedConvolution
    pool: bool = eqx.field(static=True)
    blocks: list[ResidualBlock]
    last: eqx.nn.Linear

    def __init__(
        self,
        stem: NormalizedConvolution,
        block: Callable[..., ResidualBlock],
        stages: Sequence[int],
        classes: int,
        *,
        pool: bool,
        key: Key[Array, ""],
    ) -> None:
        """A network after a stem, which has as many channels as the first stage has filters.

        Args:
            stem: the first convolution.
            block: ``ResidualBlock.basic`` or ``ResidualBlock.bottleneck``.
            stages: number of blocks per stage.
            classes: number of logits.
            pool: whether 3 x 3 max-pooling with stride 2 follows the stem.
            key: key for blocks and last layer.
        """
        if not stages or min(stages) < 1 or classes < 1:
            raise ValueError(f"stages and classes must be at least 1, got {tuple(stages)} and {classes}")
        self.stem = stem
        self.pool = pool
        self.blocks = []
        inputs = width = stem.convolution.kernel.shape[-1]
        keys = iter(jax.random.split(key, sum(stages) + 1))
        for stage, blocks in enumerate(stages):
            for position in range(blocks):
                stride = 2 if stage > 0 and position == 0 else 1
                self.blocks.append(block(inputs, width * 2**stage, stride, key=next(keys)))
                inputs = self.blocks[-1].outputs
        self.last = eqx.nn.Linear(inputs, classes, key=next(keys))

    @classmethod
    def cifar(
        cls,
        width: int,
        classes: int = 10,
        channels: int = 3,
        stages: Sequence[int] = (2, 2, 2, 2),
        *,
        key: Key[Array, ""],
    ) -> "ResNet":
        """ResNet-18 for small images: basic blocks after a 3 x 3 stem; ``width = 64`` is the standard network."""
        stem_key, key = jax.random.split(key)
        stem = NormalizedConvolution(channels, width, 3, key=stem_key)
        return cls(stem, ResidualBlock.basic, stages, classes, pool=False, key=key)

    @classmethod
    def imagenet(cls, width: int, classes: int = 1000, *, key: Key[Array, ""]) -> "ResNet":
        """ResNet-50: bottlenecks after a 7 x 7 stem with stride and pooling; ``width = 64`` is the standard network."""
        stem_key, key = jax.random.split(key)
        stem = NormalizedConvolution(3, width, 7, 2, key=stem_key)
        return cls(stem, ResidualBlock.bottleneck, (3, 4, 6, 3), classes, pool=True, key=key)

    def __call__(self, image: Image, state: eqx.nn.State) -> tuple[Float[Array, " classes"], eqx.nn.State]:
        """The logits of one image of a batch, and the state after the batch; see ``BatchNormalization``."""
        image, state = self.stem(image, state)
        image = jax.nn.relu(image)
        if self.pool:
            image = max_pool(image, 3)
        for block in self.blocks:
            image, state = block(image, state)
        return self.last(image.mean((0, 1))), state
