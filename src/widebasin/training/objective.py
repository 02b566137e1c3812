"""The loss and the metrics of an example, or of a whole data set."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PyTree

from widebasin.statistics import ACCURACY, LOSS, MEAN_AVERAGE_PRECISION, ROC_AUC, Metric
from widebasin.statistics.ranking import mean_average_precision, mean_roc_auc

PerExample = Callable[[Any, Any], Any]
"""(outputs, target) of an example -> its value, or (sum of values, sum of weights) of its positions, such as tokens."""

OfDataset = Callable[[np.ndarray, Any], float]
"""(outputs, targets) of all examples, NumPy arrays with a leading axis over them -> a number; on the host."""


@dataclass(frozen=True, eq=False)
class Objective:
    """The loss of one example and further metrics, all functions of (outputs, target).

    Attributes:
        loss: minimized, averaged over the batch; with weights, their weighted mean over all positions of the batch.
        metrics: metric -> its value for an example, averaged likewise.
        of_dataset: metric -> its value for a whole data set, if not an average over examples: mean average precision,
            ROC-AUC, F1. It is not computed for training batches.
        judge: the main metric: it selects epochs and radii, and its gain is reported; by default the first of
            ``metrics``, then of ``of_dataset``, else the loss.
    """

    loss: PerExample
    metrics: Mapping[Metric, PerExample] = field(default_factory=dict)
    of_dataset: Mapping[Metric, OfDataset] = field(default_factory=dict)
    judge: Metric | None = None

    def __post_init__(self) -> None:
        """Raises ``ValueError`` if two metrics have the same name, or the judge is not one of them."""
        known = (*self.metrics, *self.of_dataset, LOSS)
        names = [one.name for one in known]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(
                f"metrics must have different names, and none may be {LOSS.name}, got {', '.join(sorted(twice))} twice"
            )
        if self.judge is not None and self.judge not in known:
            got = f"{self.judge.name!r}" if isinstance(self.judge, Metric) else f"{self.judge!r}, which is no Metric"
            raise ValueError(f"judge must be one of {', '.join(one.name for one in known)}, got {got}")

    @property
    def all_metrics(self) -> tuple[Metric, ...]:
        """All metrics, the main metric (judge) first."""
        known = (*self.metrics, *self.of_dataset) or (LOSS,)
        judge = self.judge or known[0]
        return (judge, *(metric for metric in known if metric != judge))

    def of_examples(self, outputs: PyTree, targets: PyTree) -> dict[str, tuple[Any, Any]]:
        """Name -> the values of the loss or a metric for every example, and their weights; 1, a number, if it has none.

        Args:
            outputs: of the examples, along the first axis.
            targets: likewise.

        Raises:
            ValueError: if one gives neither a number nor a pair of numbers for an example.
        """
        functions = {LOSS.name: self.loss} | {metric.name: function for metric, function in self.metrics.items()}
        found = {name: jax.vmap(function)(outputs, targets) for name, function in functions.items()}
        for name, value in found.items():
            if [np.ndim(one) for one in (value if isinstance(value, tuple) else (value,))] not in ([1], [1, 1]):
                shapes = " and ".join(str(leaf.shape[1:]) for leaf in jax.tree.leaves(value)) or "none"
                raise ValueError(
                    f"the {name} of an example must be a number, or the pair (sum of values, sum of weights), and has "
                    f"shape {shapes}: give its sum or mean"
                )
        loss = found[LOSS.name][0] if isinstance(found[LOSS.name], tuple) else found[LOSS.name]
        if not jnp.issubdtype(loss.dtype, jnp.inexact):
            raise ValueError(f"the loss of an example must be of floating point, got {loss.dtype}: it has no slope")
        # Whether an answer is right may be a truth value, and a number of positions an integer; their means are not.
        found = jax.tree.map(_floating, found)
        return {name: value if isinstance(value, tuple) else (value, 1) for name, value in found.items()}

    def of_whole(self, outputs: PyTree, targets: PyTree) -> dict[str, float]:
        """Name -> the value of a metric of whole data sets, of the outputs and targets of all examples.

        Raises:
            ValueError: if one gives no number.
        """
        found = {}
        for metric, function in self.of_dataset.items():
            value = function(outputs, targets)
            if np.ndim(value) or not isinstance(value, (int, float, np.number, np.ndarray, jax.Array)):
                shape = f" of shape {np.shape(value)}" if np.ndim(value) else ""
                raise ValueError(
                    f"{metric.name} of a data set must be a number, and is of type {type(value).__name__}{shape}"
                )
            found[metric.name] = float(value)
        return found


def _floating(values: Array) -> Array:
    return values if jnp.issubdtype(values.dtype, jnp.inexact) else values.astype(float)


def cross_entropy(logits: Float[Array, " classes"], label: Int[Array, ""]) -> Float[Array, ""]:
    """``log sum exp(logits) - logits[label]``, in nats."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, label)


def accuracy(logits: Float[Array, " classes"], label: Int[Array, ""]) -> Float[Array, ""]:
    """1 if the largest logit is the label's, else 0."""
    return (jnp.argmax(logits) == label).astype(float)


def squared_error(outputs: Float[Array, " outputs"], target: Float[Array, " outputs"]) -> Float[Array, ""]:
    """``||outputs - target||^2``, summed over the outputs."""
    return jnp.sum((outputs - target) ** 2)


def one_hot_squared_error(outputs: Float[Array, " classes"], label: Int[Array, ""]) -> Float[Array, ""]:
    """``||outputs - e_label||^2``, the squared error to the label's one-hot vector."""
    return squared_error(outputs, jax.nn.one_hot(label, outputs.shape[0], dtype=outputs.dtype))


def tags_cross_entropy(
    logits: Float[Array, "positions tags"], tags: Int[Array, " positions"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The sum of the cross entropies of the positions that have a tag, and their number; -1 is no tag."""
    return _over_known(jax.vmap(cross_entropy)(logits, jnp.maximum(tags, 0)), tags)


def tags_accuracy(
    logits: Float[Array, "positions tags"], tags: Int[Array, " positions"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """How many of the positions that have a tag get it, and how many have one; -1 is no tag."""
    return _over_known(jax.vmap(accuracy)(logits, tags), tags)


def binary_cross_entropy(
    logits: Float[Array, " tasks"], labels: Int[Array, " tasks"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The sum of ``-log p(label)`` over the tasks with a known label, 0 or 1, and their number; -1 is not known."""
    return _over_known(optax.sigmoid_binary_cross_entropy(logits, labels), labels)


def _over_known(values: Float[Array, " n"], labels: Int[Array, " n"]) -> tuple[Float[Array, ""], Float[Array, ""]]:
    known = labels >= 0
    return jnp.sum(jnp.where(known, values, 0)), jnp.sum(known, dtype=values.dtype)


CLASSIFICATION = Objective(cross_entropy, {ACCURACY: accuracy})
SQUARED_CLASSIFICATION = Objective(one_hot_squared_error, {ACCURACY: accuracy})
REGRESSION = Objective(squared_error)
TAGGING = Objective(tags_cross_entropy, {ACCURACY: tags_accuracy})
"""A class for every position of an example; -1 where there is none."""
BINARY_TASKS = Objective(
    binary_cross_entropy, of_dataset={MEAN_AVERAGE_PRECISION: mean_average_precision, ROC_AUC: mean_roc_auc}
)
"""Several labels, each 0 or 1, for every example; -1 where one is missing."""
