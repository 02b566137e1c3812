"""What is minimized and what is counted."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

PerExample = Callable[..., Float[Array, ""]]


@dataclass(frozen=True, eq=False)
class Objective:
    """The loss of one example and further metrics of one example, both functions of (outputs, target).

    Attributes:
        loss: minimized, averaged over the batch.
        metrics: name -> metric, averaged; the name is the column's: ``accuracy`` gives ``test_accuracy``.
        best: the metric by which epochs and radii are chosen, ``loss`` or a name in ``metrics``.
        best_is_highest: whether more of ``best`` is better.
    """

    loss: PerExample
    metrics: Mapping[str, PerExample]
    best: str
    best_is_highest: bool

    @property
    def names(self) -> tuple[str, ...]:
        """``loss`` and the names of the metrics."""
        return ("loss", *self.metrics)


def cross_entropy(logits: Float[Array, " classes"], label: Int[Array, ""]) -> Float[Array, ""]:
    """``log sum exp(logits) - logits[label]``, in nats."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, label)


def accuracy(logits: Float[Array, " classes"], label: Int[Array, ""]) -> Float[Array, ""]:
    """1 where the largest logit is the label's, else 0."""
    return (jnp.argmax(logits) == label).astype(float)


def squared_error(outputs: Float[Array, " outputs"], target: Float[Array, " outputs"]) -> Float[Array, ""]:
    """``||outputs - target||^2``, summed over the outputs."""
    return jnp.sum((outputs - target) ** 2)


def one_hot_squared_error(outputs: Float[Array, " classes"], label: Int[Array, ""]) -> Float[Array, ""]:
    """``||outputs - e_label||^2``, the squared error of a label as a unit vector."""
    return squared_error(outputs, jax.nn.one_hot(label, outputs.shape[0], dtype=outputs.dtype))


CLASSIFICATION = Objective(cross_entropy, {"accuracy": accuracy}, best="accuracy", best_is_highest=True)
SQUARED_CLASSIFICATION = Objective(one_hot_squared_error, {"accuracy": accuracy}, best="accuracy", best_is_highest=True)
REGRESSION = Objective(squared_error, {}, best="loss", best_is_highest=False)
