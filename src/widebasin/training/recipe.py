"""How a network is trained: epochs, batch size, learning-rate schedule and optimizer."""

import math
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from widebasin.parametrization import Multipliers
from widebasin.training.network import PRECISIONS
from widebasin.training.optimizers import OPTIMIZERS, inverse, times

SCHEDULES = ("step", "cosine", "linear", "inverse", "rsqrt", "constant")


@dataclass(frozen=True)
class Recipe:
    """A base optimizer with its schedule and number of epochs.

    Attributes:
        epochs: passes over the training set.
        batch_size: examples per step; examples that do not fill a batch are not used in the epoch.
        learning_rate: learning rate at the start, or at the end of the warmup.
        schedule: ``step`` (times ``decay`` at each of ``milestones``), ``cosine`` (to 0), ``linear`` (to 0),
            ``inverse`` (``1 / (1 + epoch / 3)``, epoch by epoch), ``rsqrt`` (``sqrt(w / max(step, w))``, steps counted
            from 1, where w is the warmup, at least one step) or ``constant``.
        milestones: fractions of the whole training at which ``step`` decays.
        decay: factor of the schedule ``step``.
        optimizer: name in ``OPTIMIZERS``.
        momentum: momentum of ``sgd`` and ``nesterov``; other optimizers have their own settings.
        weight_decay: coefficient times the unperturbed parameters, for all parameters; ``OPTIMIZERS`` says how it is
            applied.
        epsilon: added to the root of the mean square in Adam and AdamW.
        clip: maximum norm of the (SAM) gradient, to which it is clipped; ``None`` does not clip.
        warmup_steps: steps over which the learning rate rises linearly from 0, times the schedule; at most a tenth of
            all steps.
        precision: ``float32``; ``bfloat16``, in which outputs and gradients are computed while parameters, batch
            statistics and losses stay in float32; or ``float64``, for which training enables JAX's 64-bit types: call
            the trained network within ``jax.enable_x64(True)``.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    schedule: str = "step"
    milestones: tuple[float, ...] = (0.5, 0.75)
    decay: float = 0.1
    optimizer: str = "sgd"
    momentum: float = 0.9
    weight_decay: float = 0.0
    epsilon: float = 1e-8
    clip: float | None = None
    warmup_steps: int = 0
    precision: str = "float32"

    def __post_init__(self) -> None:
        """Raises ``ValueError`` for a value that trains nothing, or nothing that makes sense."""
        finite = math.isfinite
        for name, wanted, holds in (
            ("epochs", "at least 1", self.epochs >= 1),
            ("batch_size", "at least 1", self.batch_size >= 1),
            ("learning_rate", "a finite number >= 0", finite(self.learning_rate) and self.learning_rate >= 0),
            ("schedule", f"one of {', '.join(SCHEDULES)}", self.schedule in SCHEDULES),
            ("milestones", "a tuple of fractions of training, as in (0.5, 0.75)", _fractions(self.milestones)),
            ("decay", "a finite number >= 0", 0 <= self.decay < math.inf),
            ("optimizer", f"one of {', '.join(OPTIMIZERS)}", self.optimizer in OPTIMIZERS),
            ("momentum", "in [0, 1)", 0 <= self.momentum < 1),
            ("weight_decay", "a finite number >= 0", finite(self.weight_decay) and self.weight_decay >= 0),
            ("epsilon", "a finite number >= 0", finite(self.epsilon) and self.epsilon >= 0),
            ("clip", "a finite number > 0, or None for none", self.clip is None or 0 < self.clip < math.inf),
            ("warmup_steps", "at least 0", self.warmup_steps >= 0),
            ("precision", f"one of {', '.join(PRECISIONS)}", self.precision in PRECISIONS),
        ):
            if not holds:
                raise ValueError(f"{name} of a recipe must be {wanted}, got {getattr(self, name)!r}")

    def warmup(self, steps_per_epoch: int) -> int:
        """Number of warmup steps: at most a tenth of all steps."""
        return min(self.warmup_steps, self.epochs * steps_per_epoch // 10)

    def relative_learning_rate(self, steps_per_epoch: int) -> optax.Schedule:
        """Step -> learning rate as a multiple of the nominal one."""
        schedule = self._schedule(steps_per_epoch)
        warmup = self.warmup(steps_per_epoch)
        if not warmup:
            return schedule
        return lambda step: schedule(step) * jnp.minimum(1.0, (step + 1) / warmup)

    def _schedule(self, steps_per_epoch: int) -> optax.Schedule:
        steps = self.epochs * steps_per_epoch
        if self.schedule == "step":
            factors: dict[int, float] = {}
            for step in (int(milestone * steps) for milestone in self.milestones):  # several may come in one step
                factors[step] = factors.get(step, 1.0) * self.decay
            return optax.piecewise_constant_schedule(1.0, factors)
        if self.schedule == "cosine":
            return optax.cosine_decay_schedule(1.0, max(steps, 1))
        if self.schedule == "linear":
            return optax.linear_schedule(1.0, 0.0, max(steps, 1))
        if self.schedule == "inverse":
            return lambda step: 1 / (1 + jnp.floor_divide(step, max(steps_per_epoch, 1)) / 3)
        if self.schedule == "rsqrt":
            begins = max(self.warmup(steps_per_epoch), 1)
            return lambda step: jnp.sqrt(begins / jnp.maximum(step + 1, begins))
        return optax.constant_schedule(1.0)

    def optimizer_at(
        self,
        steps_per_epoch: int,
        learning_rate: float | Float[Array, ""] | Float[np.ndarray, ""],
        weight_decay: float | Float[Array, ""] | Float[np.ndarray, ""],
        layers: Multipliers | None = None,
    ) -> optax.GradientTransformation:
        """The optax optimizer; learning rate and weight decay may be traced, one per network.

        With ``layers``, every layer has its own learning rate, and gradients are clipped by their norm with the weights
        ``layers.norm``, which does not grow with the width.
        """
        relative = self.relative_learning_rate(steps_per_epoch)
        named = OPTIMIZERS[self.optimizer]
        own = {"epsilon": self.epsilon} if named.has_epsilon else {}

        def schedule(step: Any) -> Any:
            return learning_rate * relative(step)

        if layers is None:
            base = named.build(schedule, self.momentum, weight_decay, **own)
            return base if self.clip is None else optax.chain(optax.clip_by_global_norm(self.clip), base)
        if named.layered is None:
            raise ValueError(f"{self.optimizer} has no rule for learning rates of single layers; leave out layers")
        base = named.layered(schedule, self.momentum, weight_decay, layers, **own)
        if self.clip is None:
            return base
        clipped = optax.clip_by_global_norm(self.clip)
        return optax.chain(times(layers.norm), clipped, times(inverse(layers.norm)), base)


def _fractions(values: Any) -> bool:
    return isinstance(values, tuple) and all(0 < value < 1 for value in values)
