"""Efficient sharpness-aware minimization."""

import math
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from widebasin.sam._asam import adaptive_direction
from widebasin.sam._ascent import at_least_smallest, masked, moved, norm, scaled
from widebasin.sam._batch import Batch
from widebasin.sam._method import Evaluation, Passes, Perturbing, Step, check_number, needed_key, register_method


@register_method
@dataclass(frozen=True)
class ESAM(Perturbing):
    """Efficient SAM: perturbs a random subset of tensors, and descends on the examples whose loss rises most.

    The ascent is ``(rho / beta) b g / ||g||`` with ``b = 1`` for each tensor with probability ``beta``, else 0. The
    gradient at the ascent point is taken over the ``ceil(gamma n)`` of ``n`` examples whose loss rises most from ``w``
    to there. ``beta = gamma = 1`` is SAM. Needs a key unless ``beta`` is 1 and known when the program is compiled; in a
    method that is an argument of ``jax.jit`` it is not.

    Savings: the second gradient costs a fraction ``gamma``, after a forward pass of all examples that chooses them. The
    first gradient is computed in full, because the tensors are not known when the program is compiled. Give
    ``value_and_grad`` the ``example_losses`` whose mean is the loss: compiled together, their pass at ``w`` is shared
    with the first gradient. Without them, every example is treated as its own batch, and needs another pass at ``w``.

    Attributes:
        rho: radius >= 0.
        beta: probability that a tensor is perturbed, in (0, 1].
        gamma: fraction of examples for the second gradient, in (0, 1].
        adaptive: ``True`` uses ASAM's ascent with ``eta = 0``, an option of the authors' code.
        mask: which parameters are perturbed; all by default.
        m: examples per ascent; the whole batch by default.

    Source: Du et al. 2022, algorithm 1. Their code uses the norm of the chosen tensors only, and only examples whose
    rise is strictly above that of the last example chosen here.
    """

    beta: float | Float[Array, "..."] = 0.6
    gamma: float = field(default=0.5, metadata={"static": True})
    adaptive: bool = field(default=False, kw_only=True, metadata={"static": True})

    def __post_init__(self) -> None:
        super().__post_init__()
        for argument, value in (("beta", self.beta), ("gamma", self.gamma)):
            check_number(argument, value, lambda share: 0 < share <= 1, "a fraction in (0, 1]; 1 leaves nothing out")

    @property
    def passes_per_step(self) -> Passes:
        """A gradient, a forward pass that selects examples, and a gradient of these, given ``example_losses``."""
        return Passes(2.0, 2.0) if self.gamma == 1 else Passes(2 + self.gamma, 1 + self.gamma)

    def evaluate(self, batch: Batch, state: PyTree, key: Key[Array, ""] | None, step: Step | None) -> Evaluation:
        """See ``Method.evaluate``."""
        del step
        value, clean = batch.clean()
        gradients = masked(clean, self.mask)
        if self.adaptive:
            direction, length = adaptive_direction(batch.params, gradients, scales=self.scales)
        else:
            direction, length = scaled(gradients, gradients, self.scales)
        direction = self._chosen(direction, key)
        scale = self.rho / (at_least_smallest(length) * self.beta)
        point = moved(batch.params, direction, scale)
        # Rounded first: 0.07 * 100 is more than 7.
        chosen = None if self.gamma == 1 else max(1, math.ceil(round(self.gamma * batch.size, 6)))
        if chosen is None or chosen == batch.size:
            return value, batch.guarded(batch.gradient(point), clean), state
        losses = batch.example_losses()
        # Where nothing moves nothing rises, also where a compiled program rounds both losses differently.
        moves = scale * norm(direction) > 0
        rise = jnp.where(moves, losses(point) - losses(batch.params), 0.0)
        _, indices = jax.lax.top_k(rise, chosen)
        return value, batch.guarded(batch.at(indices).gradient(point), clean), state

    def _chosen(self, gradients: PyTree, key: Key[Array, ""] | None) -> PyTree:
        if isinstance(self.beta, (int, float)) and self.beta == 1:
            return gradients
        leaves, structure = jax.tree.flatten(gradients)
        kept = jax.random.bernoulli(needed_key(key, self), self.beta, (len(leaves),))
        return structure.unflatten(jnp.where(kept[i], g, jnp.zeros_like(g)) for i, g in enumerate(leaves))
