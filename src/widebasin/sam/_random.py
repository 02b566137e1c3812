"""Ablation of the ascent: a random direction instead."""

from dataclasses import dataclass
from typing import ClassVar

import jax
from jaxtyping import Array, Key, PyTree

from widebasin.sam._ascent import ascent_point, wide_dtype
from widebasin.sam._batch import Batch
from widebasin.sam._method import Evaluation, Passes, Perturbing, Step, needed_key, register_method


@register_method
@dataclass(frozen=True)
class RandomPerturbation(Perturbing):
    """The gradient at a random point at distance ``rho``: ``g_B(w + rho z / ||z||)`` with ``z ~ N(0, I)``.

    It shows what SAM's direction adds to averaging over a neighbourhood. Needs a key.

    Attributes:
        rho: distance >= 0.
        mask: which parameters are perturbed; all by default.
        m: examples that share a direction; the whole batch by default.

    Source: the ablation in Andriushchenko & Flammarion 2022.
    """

    takes_ascent_loss: ClassVar[bool] = True

    @property
    def passes_per_step(self) -> Passes:
        """One gradient, and a forward pass for the value at the parameters themselves."""
        return Passes(2.0, 1.0)

    def evaluate(self, batch: Batch, state: PyTree, key: Key[Array, ""] | None, step: Step | None) -> Evaluation:
        """See ``Method.evaluate``."""
        del step
        key = needed_key(key, self)
        # Which leaves are parameters is known to the function that differentiates alone.
        like = jax.eval_shape(lambda: batch.gradient(batch.params))
        leaves, structure = jax.tree.flatten(like)
        keys = jax.random.split(key, max(1, len(leaves)))
        direction = structure.unflatten(
            jax.random.normal(k, leaf.shape, wide_dtype(leaf.dtype)) for k, leaf in zip(keys, leaves, strict=False)
        )
        point = ascent_point(batch.params, direction, self.rho, mask=self.mask, scales=self.scales)
        return batch.value(), batch.gradient(point), state
