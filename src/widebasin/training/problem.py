"""The class ``Problem``: the interface between a problem and the training loop, which knows no data."""

import abc
import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PyTree

from widebasin.parametrization import Multipliers
from widebasin.statistics import LOSS, Metric, recorded
from widebasin.training.recipe import Recipe

Totals = Mapping[str, tuple[Any, Any]]
"""Name of a quantity -> (sum of its values, sum of their weights). Padding and missing values have weight 0."""

PARTS = ("train", "valid", "test")


class Model(NamedTuple):
    """A network in training.

    Attributes:
        params: the trained parameters, a pytree of floating-point arrays.
        state: other arrays that change with every batch, such as running statistics of batch normalization.
    """

    params: PyTree
    state: PyTree


class Share(NamedTuple):
    """What a host reads of every batch: the examples on its devices, over all of which a batch is split evenly.

    Attributes:
        host: number of this host, from 0.
        hosts: number of hosts.
        devices: number of devices of each host.
    """

    host: int
    hosts: int
    devices: int

    def filling(self, examples: int) -> int:
        """Number of examples that a batch lacks to be split evenly."""
        return -examples % (self.hosts * self.devices)

    def of(self, examples: int) -> slice:
        """The part of a batch, whose number of examples can be split evenly."""
        each = examples // self.hosts
        return slice(self.host * each, (self.host + 1) * each)


class Problem(abc.ABC):
    """What networks trained in one program have in common: model, data, loss, recipe.

    Methods are written for one network and are traced: the loop vectorizes them over networks with ``jax.vmap``. Only
    ``blocks``, ``whole`` and ``reading`` run on the host, without tracing. For your own problem, inherit from this
    class; ``Supervised`` covers data sets of examples.

    Attributes:
        recipe: how networks are trained.
        metrics: the reported metrics besides the loss; the first is the main one, which selects epochs and radii.
        steps_per_epoch: number of steps in an epoch, those of all its rounds.
        rounds: how often in an epoch ``epoch`` is called: more than once where the data depend on the network, as an
            agent acts again after every update.
        data: arrays that all networks share; passed to the methods, so that no program contains a copy.
        from_disk: whether ``reading`` reads examples from disk; if so, networks are trained one at a time, step by
            step.
        on_host: whether the host computes a part of an epoch, as it plays emulated games. The epoch is then no single
            program, so that it can be interrupted.
    """

    recipe: Recipe
    from_disk: ClassVar[bool] = False

    @property
    @abc.abstractmethod
    def metrics(self) -> tuple[Metric, ...]:
        """The reported metrics; the first is the main one."""

    @property
    @abc.abstractmethod
    def steps_per_epoch(self) -> int:
        """Number of steps in an epoch."""

    @property
    def rounds(self) -> int:
        """Number of times that an epoch gets data."""
        return 1

    @property
    def steps_per_round(self) -> int:
        """Number of steps for every time that an epoch gets data."""
        return self.steps_per_epoch // self.rounds

    @property
    def bytes_of_epoch(self) -> int:
        """Memory of one network for the data of an epoch, for plans of execution."""
        return 2 * 4 * max(jax.tree.leaves(self.blocks(part))[0].size for part in PARTS)

    @property
    def layers(self) -> Multipliers | None:
        """Factors of the learning rates of single layers, in the structure of the parameters; ``None`` if all are 1."""
        return None

    @property
    def data(self) -> PyTree:
        """Arrays that all networks share."""
        return ()

    @property
    def on_host(self) -> bool:
        """Whether the host computes a part of an epoch."""
        return False

    @property
    def axes(self) -> tuple[str, ...]:
        """Axes whose values the problem itself uses, besides those of the recipe and the method."""
        return ()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all recorded values: the loss, then the metrics."""
        return recorded(self.metrics)

    @property
    def finite(self) -> tuple[str, ...]:
        """The metrics of an epoch that must be finite; otherwise the network has diverged."""
        return ("train_loss", "valid_loss", "gradient_norm")

    # Before training --------------------------------------------------------------------------------------------------
    @abc.abstractmethod
    def init(self, key: Key[Array, ""]) -> Model:
        """The network before training."""

    @property
    def structure(self) -> PyTree:
        """The model with its modules, or with shapes instead of arrays; plans of execution depend on its parts."""
        return jax.eval_shape(self.init, jax.random.key(0)).params

    def source(
        self, data: PyTree, key: Key[Array, ""], point: Mapping[str, Float[Array, ""]], params: PyTree
    ) -> PyTree:
        """The data that one network is trained and evaluated on; they do not change during training.

        Args:
            data: ``self.data``.
            key: key of the network's seed.
            point: axis -> value.
            params: parameters at initialization, without pruned ones.
        """
        del data, key, params
        return dict(point)

    def carry(self, source: PyTree, key: Key[Array, ""]) -> PyTree:
        """What the problem carries from epoch to epoch, such as the states of environments."""
        del source, key
        return ()

    # An epoch ---------------------------------------------------------------------------------------------------------
    @abc.abstractmethod
    def epoch(
        self, data: PyTree, source: PyTree, carry: PyTree, model: Model, key: Key[Array, ""], number: Int[Array, ""]
    ) -> tuple[PyTree, PyTree]:
        """The data of an epoch, or of a round: the new carry, and the indices from which ``batch`` makes batches.

        Args:
            data: ``self.data``.
            source: from ``source``.
            carry: from ``carry``, or the previous epoch.
            model: the model at the start of the round.
            key: key of the network's training; fold in ``number``.
            number: number of the round since the start of training, from 0; that of the epoch where it has one round.

        Returns:
            The second is a pytree of arrays with a leading axis over the steps of a round.
        """

    def batch(self, data: PyTree, source: PyTree, index: PyTree, key: Key[Array, ""] | None, part: str) -> PyTree:
        """The examples of a step, or of a block of an evaluation: a pytree with a leading axis over examples.

        Args:
            data: ``self.data``.
            source: from ``source``.
            index: one row of the indices from ``epoch`` or ``blocks``.
            key: key for augmentation; ``None`` for no augmentation.
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
            model: the network, possibly at an ascent point.
            source: from ``source``.
            batch: from ``batch``, the whole batch or a group of its examples.
            keys: one key per example, for dropout, the same in both passes of a step. ``None`` outside of training.
            training: true in a training step, false in an evaluation.
        """

    def minimized(self, totals: Totals, source: PyTree) -> Float[Array, ""]:
        """The minimized quantity: the weighted mean of the loss; 0 for a batch with no weight at all."""
        del source
        return means({LOSS.name: totals[LOSS.name]}, of_nothing=0.0)[LOSS.name]

    @property
    def climbs(self) -> bool:
        """Whether the ascent of a method follows ``climbed`` instead of the minimized quantity."""
        return False

    def climbed(self, totals: Totals, source: PyTree) -> Float[Array, ""]:
        """What the ascent of a method follows, if ``climbs``.

        Args:
            totals: from ``losses``.
            source: from ``source``.
        """
        return self.minimized(totals, source)

    def example_losses(
        self, model: Model, source: PyTree, batch: PyTree, keys: Key[Array, " examples"] | None
    ) -> Float[Array, " examples"] | None:
        """The losses of the single examples, whose mean is minimized, or ``None``.

        For methods that compare examples; with ``None``, every example is treated as its own batch, which is slower.
        """
        del model, source, batch, keys
        return None

    # Evaluation -------------------------------------------------------------------------------------------------------
    @abc.abstractmethod
    def blocks(self, part: str) -> PyTree:
        """Indices from which ``batch`` makes evaluation blocks: NumPy arrays with a leading axis over blocks."""

    def collected(self, model: Model, source: PyTree, batch: PyTree) -> PyTree:
        """Data of a block for metrics of the whole data set, such as outputs and targets; by default nothing."""
        del model, source, batch
        return ()

    def whole(self, blocks: PyTree) -> dict[str, float]:
        """The metrics of the whole data set for one network, on the host.

        Args:
            blocks: the ``collected`` data, NumPy arrays with a leading axis over blocks.
        """
        del blocks
        return {}

    # Where data come from the host ------------------------------------------------------------------------------------
    @contextlib.contextmanager
    def reading(
        self, workers: int = 0, share: Share | None = None
    ) -> Iterator[Callable[[PyTree, PyTree, str], Iterable[PyTree]]]:
        """A function ``(source, index, part)`` that yields the rows of ``index`` in the form that ``batch`` takes.

        It is used when steps are dispatched from the host. A problem with ``from_disk`` reads its examples here and
        yields them instead of their indices. All arrays are NumPy arrays with a leading axis over networks.

        Args:
            workers: processes that read ahead; 0 reads in the main process.
            share: what this host reads of every batch from disk; everything by default.
        """
        del workers, share

        def rows(source: PyTree, index: PyTree, part: str) -> Iterator[PyTree]:
            del source, part
            for step in range(jax.tree.leaves(index)[0].shape[1]):
                yield jax.tree.map(lambda leaf, at=step: leaf[:, at], index)

        yield rows

    # Pruning ----------------------------------------------------------------------------------------------------------
    def first_batch(self, data: PyTree, source: PyTree, model: Model, key: Key[Array, ""]) -> PyTree:
        """The index of the first training batch, for pruning by its gradient; without augmentation."""
        _, index = self.epoch(data, source, self.carry(source, key), model, key, jnp.zeros((), jnp.int32))
        return jax.tree.map(lambda leaf: leaf[0], index)

    @property
    def plain(self) -> "Problem":
        """The problem whose loss pruning uses: this one, or the wrapped one."""
        return self


def means(totals: Totals, of_nothing: float = jnp.nan) -> dict[str, Any]:
    """The weighted means of totals; ``of_nothing`` if the weight is 0, as in a batch without known labels."""

    def mean(total: Any, weight: Any) -> Any:
        if isinstance(weight, int | float):  # known to the compiler
            return total / weight
        # Weights that are not numbers must not pass for none.
        return jnp.where(weight == 0, of_nothing, total / jnp.where(weight == 0, 1, weight))

    return {name: mean(*one) for name, one in totals.items()}


def added(totals: Totals) -> Totals:
    """The sum of totals that have a leading axis."""
    return {name: (total.sum(0), weight.sum(0)) for name, (total, weight) in totals.items()}
