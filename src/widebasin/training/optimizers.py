"""Base optimizers by name: they turn the (SAM) gradient into an update. All are from optax."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import optax
import optax.contrib
from jaxtyping import PyTree

from widebasin.parametrization import Multipliers, structured

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
        layered: (learning-rate schedule, momentum, weight decay, multipliers) -> the same with a learning rate for
            every layer, ``None`` where no rule is known. Weight decay is not scaled: it takes the nominal learning rate
            times its coefficient off all layers. Only where Adam normalizes it with the gradient, there is no such
            rule; the coefficient is then divided by the layer's factor, as by muP's authors.
    """

    title: str
    summary: str
    build: Build
    has_momentum: bool = False
    has_epsilon: bool = False
    layered: Build | None = None


def _sgd(nesterov: bool) -> Build:
    def build(schedule: optax.Schedule, momentum: float, weight_decay: Any) -> optax.GradientTransformation:
        return optax.chain(
            optax.add_decayed_weights(weight_decay),
            optax.sgd(schedule, momentum=momentum or None, nesterov=nesterov and momentum > 0),
        )

    return build


def _layered_sgd(nesterov: bool) -> Build:
    plain = _sgd(nesterov)

    def build(
        schedule: optax.Schedule, momentum: float, weight_decay: Any, layers: Multipliers
    ) -> optax.GradientTransformation:
        return optax.chain(times(layers.sgd), plain(schedule, momentum, weight_decay))

    return build


def times(factors: PyTree) -> optax.GradientTransformation:
    """Multiplies updates by a factor for every layer."""

    def update(updates: PyTree, params: PyTree) -> PyTree:
        del params
        return jax.tree.map(lambda u, factor: u * factor, updates, structured(factors, updates))

    return optax.stateless(update)


def inverse(factors: PyTree) -> PyTree:
    """One over each factor."""
    return jax.tree.map(lambda factor: 1 / factor, factors)


def _adam(schedule: optax.Schedule, momentum: float, weight_decay: Any, epsilon: float) -> optax.GradientTransformation:
    del momentum
    return optax.chain(optax.add_decayed_weights(weight_decay), optax.adam(schedule, *DECAYS, eps=epsilon))


def _layered_adam(
    schedule: optax.Schedule, momentum: float, weight_decay: Any, layers: Multipliers, epsilon: float
) -> optax.GradientTransformation:
    del momentum
    decay = optax.chain(times(layers.adam), optax.add_decayed_weights(weight_decay), times(inverse(layers.adam)))
    scale = optax.scale_by_adam(*DECAYS, eps=epsilon)
    return optax.chain(decay, scale, times(layers.adam), optax.scale_by_learning_rate(schedule))


def _adamw(
    schedule: optax.Schedule, momentum: float, weight_decay: Any, epsilon: float
) -> optax.GradientTransformation:
    del momentum
    return optax.adamw(schedule, *DECAYS, eps=epsilon, weight_decay=weight_decay)


def _layered_adamw(
    schedule: optax.Schedule, momentum: float, weight_decay: Any, layers: Multipliers, epsilon: float
) -> optax.GradientTransformation:
    del momentum
    return _layered_and_decayed(optax.scale_by_adam(*DECAYS, eps=epsilon), schedule, weight_decay, layers)


def _layered_lion(
    schedule: optax.Schedule, momentum: float, weight_decay: Any, layers: Multipliers
) -> optax.GradientTransformation:
    del momentum
    return _layered_and_decayed(optax.scale_by_lion(), schedule, weight_decay, layers)


def _layered_and_decayed(
    scale: optax.GradientTransformation, schedule: optax.Schedule, weight_decay: Any, layers: Multipliers
) -> optax.GradientTransformation:
    decay = optax.add_decayed_weights(weight_decay)
    return optax.chain(scale, times(layers.adam), decay, optax.scale_by_learning_rate(schedule))


def _lion(schedule: optax.Schedule, momentum: float, weight_decay: Any) -> optax.GradientTransformation:
    del momentum
    return optax.lion(schedule, weight_decay=weight_decay)


def _muon(schedule: optax.Schedule, momentum: float, weight_decay: Any) -> optax.GradientTransformation:
    del momentum
    return optax.contrib.muon(schedule, weight_decay=weight_decay, adam_weight_decay=weight_decay)


OPTIMIZERS: Mapping[str, NamedOptimizer] = {
    "sgd": NamedOptimizer(
        "SGD",
        "heavy-ball momentum; weight decay is added to the gradient",
        _sgd(nesterov=False),
        has_momentum=True,
        layered=_layered_sgd(nesterov=False),
    ),
    "nesterov": NamedOptimizer(
        "Nesterov SGD",
        "Nesterov momentum; weight decay is added to the gradient",
        _sgd(nesterov=True),
        has_momentum=True,
        layered=_layered_sgd(nesterov=True),
    ),
    "adam": NamedOptimizer(
        "Adam",
        "betas .9 and .999; weight decay is added to the gradient",
        _adam,
        has_epsilon=True,
        layered=_layered_adam,
    ),
    "adamw": NamedOptimizer(
        "AdamW",
        "betas .9 and .999; weight decay separate from the gradient",
        _adamw,
        has_epsilon=True,
        layered=_layered_adamw,
    ),
    "lion": NamedOptimizer(
        "Lion", "the sign of a moving average; weight decay separate from the gradient", _lion, layered=_layered_lion
    ),
    "muon": NamedOptimizer(
        "Muon",
        "orthogonalized momentum for matrices, else AdamW with Nesterov; weight decay separate from the gradient",
        _muon,
    ),
}
"""Name on the command line -> optimizer."""
