"""Batch normalization of one example of a batch, channels last."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

BATCH_AXIS = "batch"
"""Name of the axis over the examples of a batch: ``jax.vmap(model, ..., axis_name=BATCH_AXIS)``."""

MOMENTUM = 0.9
EPSILON = 1e-5


class BatchNormalization(eqx.Module):
    """Normalization of every channel by its mean and variance: ``scale (x - mean) / sqrt(variance + 1e-5) + bias``.

    Training uses the mean and the (biased) variance over the batch and all pixels, and updates the running statistics,
    ``r <- 0.9 r + 0.1 batch``; inference uses the running statistics, which start at 0 and 1. As in Flax, which arXiv
    2311.17539 used, the running variance averages biased variances; in PyTorch it averages unbiased ones, which are ``n
    / (n - 1)`` times as large, where ``n`` is batch x height x width.

    The variance is the mean of squared deviations, not a difference of two means, which would lose all digits if a mean
    is large. Statistics are at least float32, whatever the dtype of the image. Training takes place within
    ``jax.vmap(..., axis_name=BATCH_AXIS)``; a batch sharded over devices is normalized as a whole. This is not
    ``equinox.nn.BatchNorm``, which has channels first and a different running average.

    Source: Ioffe and Szegedy 2015 (arXiv 1502.03167).

    Attributes:
        scale: factor of every channel, initially 1, or 0 with ``zero_scale``.
        bias: added to every channel, initially 0.
        running: the running mean and variance in the ``equinox.nn.State``.
        inference: whether to normalize by the running statistics; see ``equinox.nn.inference_mode``.

    Example:
        >>> import equinox as eqx, jax, jax.numpy as jnp
        >>> from widebasin.models import BATCH_AXIS, BatchNormalization
        >>> norm, state = eqx.nn.make_with_state(BatchNormalization)(3)
        >>> over_batch = jax.vmap(norm, in_axes=(0, None), out_axes=(0, None), axis_name=BATCH_AXIS)
        >>> images, state = over_batch(jnp.ones((8, 4, 4, 3)), state)
        >>> image, state = eqx.nn.inference_mode(norm)(images[0], state)
    """

    scale: Float[Array, " channels"]
    bias: Float[Array, " channels"]
    running: eqx.nn.StateIndex
    inference: bool

    def __init__(self, channels: int, *, zero_scale: bool = False, inference: bool = False) -> None:
        """Normalization of images with the given number of channels."""
        if channels < 1:
            raise ValueError(f"channels must be at least 1, got {channels}")
        self.scale = jnp.zeros(channels) if zero_scale else jnp.ones(channels)
        self.bias = jnp.zeros(channels)
        self.running = eqx.nn.StateIndex((jnp.zeros(channels), jnp.ones(channels)))
        self.inference = inference

    def __call__(
        self, image: Float[Array, "*pixels channels"], state: eqx.nn.State
    ) -> tuple[Float[Array, "*pixels channels"], eqx.nn.State]:
        """One normalized image of a batch, in its own dtype, and the state after the batch.

        Raises:
            ValueError: in training outside of ``jax.vmap(..., axis_name=BATCH_AXIS)``.
        """
        values = image.astype(jnp.promote_types(image.dtype, jnp.float32))
        running = state.get(self.running)
        if self.inference:
            mean, variance = running
        else:
            mean = _batch_mean(values)
            variance = _batch_mean((values - mean) ** 2)
            moved = (_moved(old, new) for old, new in zip(running, (mean, variance), strict=True))
            state = state.set(self.running, tuple(moved))
        factor = self.scale * jax.lax.rsqrt(variance + EPSILON)
        return ((values - mean) * factor + self.bias).astype(image.dtype), state


def _batch_mean(values: Float[Array, "*pixels channels"]) -> Float[Array, " channels"]:
    """The mean of every channel over pixels and examples."""
    mean = values.mean(tuple(range(values.ndim - 1)))
    try:
        return jax.lax.pmean(mean, BATCH_AXIS)
    except NameError as error:
        raise ValueError(
            f"batch normalization in training needs the batch: call jax.vmap(model, in_axes=(0, None), "
            f"out_axes=(0, None), axis_name={BATCH_AXIS!r}), or equinox.nn.inference_mode(model) on one example"
        ) from error


def _moved(old: Float[Array, " channels"], new: Float[Array, " channels"]) -> Float[Array, " channels"]:
    """A running statistic after a batch, in its own dtype."""
    return (MOMENTUM * old + (1 - MOMENTUM) * new).astype(old.dtype)
