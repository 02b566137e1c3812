"""What can be trained: the protocol between a problem and the training loop, which knows no data."""

import abc
import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PyTree

from widebasin.statistics import LOSS, Metric, recorded
from widebasin.training.recipe import Recipe

Totals = Mapping[str, tuple[Any, Any]]
"""Name of a quantity -> (sum of its values, sum of their weights). What is padded or missing has weight 0."""

PARTS = ("train", "valid", "test")


class Model(NamedTuple):
    """A network in training.

    Attributes:
        params: what is trained, a pytree of floating-point arrays.
        state: what else changes with every batch, such as running statistics of batch normalization.
    """

    params: PyTree
    state: PyTree


class Problem(abc.ABC):
    """What networks that are trained in one program have in common: model, data, loss, recipe.

    Methods are written for one network and are traced: the loop puts networks side by side with ``jax.vmap``. On the
    host, and not traced, are ``blocks``, ``whole`` and ``reading``. To bring a problem of your own, inherit from this
    class; ``Supervised`` covers data sets of examples.

    Attributes:
        recipe: how it is trained.
        metrics: what is reported, besides the loss; the first one judges: it chooses epochs and radii.
        steps_per_epoch: how many batches ``epoch`` gives.
        data: arrays that all networks share; handed to the methods, so that no program holds a copy.
        from_disk: whether ``reading`` reads examples from the disk: then networks are trained one at a time, step by
            step.
    """

    recipe: Recipe
    from_disk: ClassVar[bool] = False

    @property
    @abc.abstractmethod
    def metrics(self) -> tuple[Metric, ...]:
        """What is reported; the first one judges."""

    @property
    @abc.abstractmethod
    def steps_per_epoch(self) -> int:
        """How many batches an epoch has."""

    @property
    def data(self) -> PyTree:
        """Arrays that all networks share."""
        return ()

    @property
    def axes(self) -> tuple[str, ...]:
        """Axes that the problem itself takes values of, besides those of the recipe and the method."""
        return ()

    @property
    def names(self) -> tuple[str, ...]:
        """Of everything that is recorded: the loss, then the metrics."""
        return recorded(self.metrics)

    # Before training --------------------------------------------------------------------------------------------------
    @abc.abstractmethod
    def init(self, key: Key[Array, ""]) -> Model:
        """The network before training."""

    @property
    def structure(self) -> PyTree:
        """The model, or its shapes, with its modules: plans of execution depend on what it is made of."""
        return jax.eval_shape(self.init, jax.random.key(0)).params

    def source(
        self, data: PyTree, key: Key[Array, ""], point: Mapping[str, Float[Array, ""]], params: PyTree
    ) -> PyTree:
        """What one network is trained and judged on, unchanged while it trains.

        Args:
            data: ``self.data``.
            key: of the network's seed.
            point: axis -> value.
            params: at initialization, without what is pruned.
        """
        del data, key, params
        return dict(point)

    def carry(self, source: PyTree, key: Key[Array, ""]) -> PyTree:
        """What the problem itself takes from epoch to epoch, such as the states of environments."""
        del source, key
        return ()

    # An epoch ---------------------------------------------------------------------------------------------------------
    @abc.abstractmethod
    def epoch(
        self, data: PyTree, source: PyTree, carry: PyTree, model: Model, key: Key[Array, ""], number: Int[Array, ""]
    ) -> tuple[PyTree, PyTree]:
        """What an epoch trains on: the new carry, and what ``batch`` makes the batches from.

        Args:
            data: ``self.data``.
            source: from ``source``.
            carry: from ``carry``, or the epoch before.
            model: at the beginning of the epoch.
            key: of the network's training; fold in the number.
            number: of the epoch, from 0.

        Returns:
            The second is a pytree of arrays with a leading axis of ``steps_per_epoch``.
        """

    def batch(self, data: PyTree, source: PyTree, index: PyTree, key: Key[Array, ""] | None, part: str) -> PyTree:
        """The examples of a step, or of a block of an evaluation: a pytree with a leading axis over examples.

        Args:
            data: ``self.data``.
            source: from ``source``.
            index: one row of what ``epoch`` or ``blocks`` gave.
            key: of the augmentation; ``None`` where nothing is augmented.
            part: ``train``, ``valid`` or ``test``.
        """
        del data, source, key, part
        return index

    @abc.abstractmethod
    def losses(
        self,
        model: Model,
        source: PyTree,
        batch: PyTree,
        keys: Key[Array, " examples"] | None,
        *,
        training: bool,
    ) -> tuple[Totals, PyTree]:
        """Sums of the loss and of the metrics over a batch, with their weights; and the model's state after it.

        Args:
            model: the network, perhaps at an ascent point.
            source: from ``source``.
            batch: from ``batch``, all of it or a group of its examples.
            keys: of every example, for dropout: the same in both passes of a step. ``None`` outside of training.
            training: whether a step is taken, or the network is judged.
        """

    def minimized(self, totals: Totals, source: PyTree) -> Float[Array, ""]:
        """What is minimized: the weighted mean of the loss; 0 for a batch in which nothing has a weight."""
        del source
        return means({LOSS.name: totals[LOSS.name]}, of_nothing=0.0)[LOSS.name]

    def example_losses(
        self, model: Model, source: PyTree, batch: PyTree, keys: Key[Array, " examples"] | None
    ) -> Float[Array, " examples"] | None:
        """The losses of the single examples, of which what is minimized is the mean, or ``None``.

        For methods that compare examples; without, every example is taken as a batch of its own, which is slower.
        """
        del model, source, batch, keys
        return None

    # Evaluation -------------------------------------------------------------------------------------------------------
    @abc.abstractmethod
    def blocks(self, part: str) -> PyTree:
        """What ``batch`` makes the blocks of an evaluation from: NumPy arrays with a leading axis over blocks."""

    def collected(self, model: Model, source: PyTree, batch: PyTree) -> PyTree:
        """What is needed of a block for metrics of the whole data set, such as outputs and targets; nothing."""
        del model, source, batch
        return ()

    def whole(self, blocks: PyTree) -> dict[str, float]:
        """The metrics of the whole data set for one network, on the host.

        Args:
            blocks: what was ``collected``, NumPy arrays with a leading axis over blocks.
        """
        del blocks
        return {}

    # Where data come from the host ------------------------------------------------------------------------------------
    @contextlib.contextmanager
    def reading(self, workers: int = 0) -> Iterator[Callable[[PyTree, PyTree, str], Iterable[PyTree]]]:
        """A function ``(source, index, part) -> the rows of index, one after the other``, as ``batch`` takes them.

        Used where steps are dispatched from the host. A problem with ``from_disk`` reads its examples here, and gives
        them in the place of their numbers. All arrays are of NumPy, with a leading axis over networks.

        Args:
            workers: processes that read ahead; 0 reads in between.
        """
        del workers

        def rows(source: PyTree, index: PyTree, part: str) -> Iterator[PyTree]:
            del source, part
            for step in range(jax.tree.leaves(index)[0].shape[1]):
                yield jax.tree.map(lambda leaf, at=step: leaf[:, at], index)

        yield rows

    # Pruning ----------------------------------------------------------------------------------------------------------
    def first_batch(self, data: PyTree, source: PyTree, model: Model, key: Key[Array, ""]) -> PyTree:
        """The index of the first batch of training, for pruning by its gradient; without augmentation."""
        _, index = self.epoch(data, source, self.carry(source, key), model, key, jnp.zeros((), jnp.int32))
        return jax.tree.map(lambda leaf: leaf[0], index)

    @property
    def plain(self) -> "Problem":
        """The problem whose loss pruning takes: this one, or what it wraps."""
        return self


def means(totals: Totals, of_nothing: float = jnp.nan) -> dict[str, Any]:
    """The weighted means of totals; ``of_nothing`` where nothing has a weight, as in a batch without a known label."""

    def mean(total: Any, weight: Any) -> Any:
        if isinstance(weight, int | float):  # known to the compiler
            return total / weight
        # Weights that are not numbers must not pass for none.
        return jnp.where(weight == 0, of_nothing, total / jnp.where(weight == 0, 1, weight))

    return {name: mean(*one) for name, one in totals.items()}


def added(totals: Totals) -> Totals:
    """The sum of totals that have a leading axis."""
    return {name: (total.sum(0), weight.sum(0)) for name, (total, weight) in totals.items()}
