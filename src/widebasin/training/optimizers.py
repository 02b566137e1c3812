"""Base optimizers by name: they turn the (SAM) gradient into an update. All are from optax."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import optax
import optax.contrib

# (schedule, momentum, weight decay) -> the optimizer.
Build = Callable[..., optax.GradientTransformation]
# Of adam and adamw, as in optax.
DECAYS = (0.9, 0.999)


@dataclass(frozen=True)
class NamedOptimizer:
    """A base optimizer.

    Attributes:
        title: its name in text and figures.
        summary: what it does, and how weight decay is applied.
        build: (learning-rate schedule, momentum, weight decay) -> the optax optimizer; momentum is used only if
            ``has_momentum``. It takes ``epsilon=`` if ``has_epsilon``.
        has_momentum: whether it uses the recipe's momentum.
        has_epsilon: whether it uses the recipe's epsilon.
    """

    title: str
    summary: str
    build: Build
    has_momentum: bool = False
    has_epsilon: bool = False


def _sgd(nesterov: bool) -> Build:
    def build(schedule: optax.Schedule, momentum: float, weight_decay: Any) -> optax.GradientTransformation:
        return optax.chain(
            optax.add_decayed_weights(weight_decay),
            optax.sgd(schedule, momentum=momentum or None, nesterov=nesterov and momentum > 0),
        )

    return build


def _adam(schedule: optax.Schedule, momentum: float, weight_decay: Any, epsilon: float) -> optax.GradientTransformation:
    del momentum
    return optax.chain(optax.add_decayed_weights(weight_decay), optax.adam(schedule, *DECAYS, eps=epsilon))


def _adamw(
    schedule: optax.Schedule, momentum: float, weight_decay: Any, epsilon: float
) -> optax.GradientTransformation:
    del momentum
    return optax.adamw(schedule, *DECAYS, eps=epsilon, weight_decay=weight_decay)


def _lion(schedule: optax.Schedule, momentum: float, weight_decay: Any) -> optax.GradientTransformation:
    del momentum
    return optax.lion(schedule, weight_decay=weight_decay)


def _muon(schedule: optax.Schedule, momentum: float, weight_decay: Any) -> optax.GradientTransformation:
    del momentum
    return optax.contrib.muon(schedule, weight_decay=weight_decay, adam_weight_decay=weight_decay)


OPTIMIZERS: Mapping[str, NamedOptimizer] = {
    "sgd": NamedOptimizer(
        "SGD", "heavy-ball momentum; weight decay is added to the gradient", _sgd(nesterov=False), has_momentum=True
    ),
    "nesterov": NamedOptimizer(
        "Nesterov SGD",
        "Nesterov momentum; weight decay is added to the gradient",
        _sgd(nesterov=True),
        has_momentum=True,
    ),
    "adam": NamedOptimizer("Adam", "betas .9 and .999; weight decay is added to the gradient", _adam, has_epsilon=True),
    "adamw": NamedOptimizer(
        "AdamW", "betas .9 and .999; weight decay separate from the gradient", _adamw, has_epsilon=True
    ),
    "lion": NamedOptimizer("Lion", "the sign of a moving average; weight decay separate from the gradient", _lion),
    "muon": NamedOptimizer(
        "Muon",
        "orthogonalized momentum for matrices, else AdamW with Nesterov; weight decay separate from the gradient",
        _muon,
    ),
}
"""Name on the command line -> optimizer."""
