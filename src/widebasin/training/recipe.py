"""How a network is trained: epochs, batch size, learning-rate schedule and optimizer."""

from dataclasses import dataclass

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float


@dataclass(frozen=True)
class NamedOptimizer:
    """An optimizer by name.

    Attributes:
        title: as it is written in text.
        summary: what it does.
        has_momentum: whether the recipe's momentum is its own.
    """

    title: str
    summary: str
    has_momentum: bool = False


OPTIMIZERS = {"sgd": NamedOptimizer("SGD", "the gradient, with momentum; weight decay is added to it", True)}
SCHEDULES = ("step", "cosine", "inverse", "constant")


@dataclass(frozen=True)
class Recipe:
    """Stochastic gradient descent with momentum.

    Attributes:
        epochs: passes over the training set.
        batch_size: examples per step; the rest of an epoch that fills no batch sits out.
        learning_rate: at the start.
        schedule: ``step`` (times ``decay`` at each of ``milestones``), ``cosine`` (to 0), ``inverse``
            (``1 / (1 + epoch / 3)``, epoch by epoch) or ``constant``.
        milestones: shares of the whole training at which ``step`` decays.
        decay: factor of ``step``.
        momentum: of heavy-ball momentum, not Nesterov's.
        weight_decay: coefficient times the unperturbed parameters, added to the (SAM) gradient, for all parameters.
        warmup_steps: over which the learning rate rises linearly from 0, times the schedule; a tenth of all steps at
            most.
        precision: ``float32``; ``bfloat16``, in which outputs and gradients are computed while parameters, batch
            statistics and losses stay in float32; or ``float64``, for which JAX's 64-bit types must be enabled.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    schedule: str = "step"
    milestones: tuple[float, ...] = (0.5, 0.75)
    decay: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 0.0
    warmup_steps: int = 0
    precision: str = "float32"

    def relative_learning_rate(self, steps_per_epoch: int) -> optax.Schedule:
        """Step -> learning rate as a multiple of the nominal one."""
        schedule = self._schedule(steps_per_epoch)
        warmup = min(self.warmup_steps, self.epochs * steps_per_epoch // 10)
        if not warmup:
            return schedule
        return lambda step: schedule(step) * jnp.minimum(1.0, (step + 1) / warmup)

    def _schedule(self, steps_per_epoch: int) -> optax.Schedule:
        steps = self.epochs * steps_per_epoch
        if self.schedule == "step":
            return optax.piecewise_constant_schedule(1.0, {int(m * steps): self.decay for m in self.milestones})
        if self.schedule == "cosine":
            return optax.cosine_decay_schedule(1.0, max(steps, 1))
        if self.schedule == "inverse":
            return lambda step: 1 / (1 + jnp.floor_divide(step, max(steps_per_epoch, 1)) / 3)
        if self.schedule == "constant":
            return optax.constant_schedule(1.0)
        raise ValueError(f"schedule must be one of {', '.join(SCHEDULES)}, got {self.schedule!r}")

    def optimizer(
        self,
        steps_per_epoch: int,
        learning_rate: float | Float[Array, ""],
        weight_decay: float | Float[Array, ""],
    ) -> optax.GradientTransformation:
        """The optax optimizer; learning rate and weight decay may be traced, one per replicate."""
        relative = self.relative_learning_rate(steps_per_epoch)
        return optax.chain(
            optax.add_decayed_weights(weight_decay),
            optax.sgd(lambda step: learning_rate * relative(step), momentum=self.momentum or None),
        )
