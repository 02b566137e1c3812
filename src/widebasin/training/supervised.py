"""Training on a data set of examples that is held in memory."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Integer, Key, PyTree

from widebasin.data import Dataset, SplitSizes, corrupt_labels, epoch_batches, key_for, split_examples
from widebasin.parametrization import Multipliers
from widebasin.statistics import LOSS, Metric
from widebasin.training.network import Network, computing_in
from widebasin.training.objective import Objective
from widebasin.training.point import Point, coordinates
from widebasin.training.problem import Model, Problem, Totals
from widebasin.training.recipe import Recipe

# Examples in one block of an evaluation: bounds the memory that activations take.
EVALUATION_BLOCK = 2_000
# The purpose of the key for the initial parameters.
INITIALIZATION = "initialization"


class Examples(NamedTuple):
    """Which examples a network trains, validates and tests on, its (noisy) training targets, its own numbers.

    Attributes:
        train: positions in the data set.
        train_targets: of the training examples, in their order.
        valid: positions in the data set.
        test: positions in the data set.
        given: what the model is called with by name, see ``Supervised.given``.
        by_bucket: positions in ``train``, sorted by bucket, where examples are of different sizes, see ``Bucketed``.
        fits: whether no part has more long examples than ``Bucketed`` computes as such.
    """

    train: Int[Array, "..."]
    train_targets: PyTree
    valid: Int[Array, "..."]
    test: Int[Array, "..."]
    given: Mapping[str, Float[Array, "..."]]
    by_bucket: Int[Array, "..."] | None = None
    fits: Bool[Array, "..."] | None = None


class Positions(NamedTuple):
    """Examples by their positions within a part of the split.

    Attributes:
        positions: of the examples; a block may be filled up with others,
        counted: which then do not count; ``None`` where all do.
    """

    positions: Integer[Array, "..."] | Integer[np.ndarray, "..."]
    counted: Bool[Array, "..."] | Bool[np.ndarray, "..."] | None = None


class Batch(eqx.Module):
    """Examples as they are stored, with their targets.

    Attributes:
        inputs: leading axis over examples.
        targets: likewise.
        counted: see ``Positions``; bool ``[batch]``, or ``None``.
    """

    inputs: PyTree
    targets: PyTree
    counted: Any = None


def blocks_of(examples: int, largest: int | None = None) -> Positions:
    """Cuts the numbers from 0 to ``examples`` into as few blocks as their largest size allows, all of one size."""
    number = -(-examples // (largest or EVALUATION_BLOCK))
    positions = np.arange(-(-examples // number) * number).reshape(number, -1)
    return Positions(positions % examples, positions < examples)


@dataclass(frozen=True, eq=False)
class Supervised(Problem):
    """A model of one example, a data set, a loss and a recipe. Inputs and targets may be any pytrees of arrays.

    Attributes:
        build: key -> model of one example, see ``Network``.
        dataset: the examples.
        sizes: of the split, which each seed draws for itself.
        objective: loss and metrics.
        recipe: the training recipe; its learning rate and weight decay are the points' to override.
        label_noise_kind: of the noise on training labels.
        augment: (key, stored input of one example) -> the input as it is trained on this time; ``None`` changes none.
        given: axes of the grid whose values the model is called with by name, such as ``dropout``.
        layers: see ``Problem.layers``.
    """

    build: Callable[[Key[Array, ""]], eqx.Module]
    dataset: Dataset
    sizes: SplitSizes
    objective: Objective
    recipe: Recipe
    label_noise_kind: str = "symmetric"
    augment: Callable[[Key[Array, ""], Array], Array] | None = None
    given: tuple[str, ...] = ()
    layers: Multipliers | None = None  # pyright: ignore[reportIncompatibleVariableOverride, reportIncompatibleMethodOverride]

    @functools.cached_property
    def network(self) -> Network:
        """The model as a function of parameters, state and batch."""
        return Network(self.build, self.recipe.precision)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Those of the objective."""
        return self.objective.all_metrics

    @property
    def axes(self) -> tuple[str, ...]:
        """What the model is given."""
        return self.given

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in the training set."""
        return self.sizes.train // self.recipe.batch_size

    @property
    def data(self) -> tuple[PyTree, PyTree]:
        """Inputs, as they are stored, and targets."""
        return self.dataset.inputs, self.dataset.targets

    def init(self, key: Key[Array, ""]) -> Model:
        """See ``Problem``."""
        return Model(*self.network.initialize(key))

    @property
    def structure(self) -> PyTree:
        """The model as it is built, with shapes for arrays."""
        return self.network.structure

    def source(
        self, data: PyTree, key: Key[Array, ""], point: Mapping[str, Float[Array, ""]], params: PyTree
    ) -> Examples:
        """The split that the seed draws, with the wrong labels of the point."""
        del params
        _, targets = data
        split = split_examples(
            key_for(key, "split"),
            len(self.dataset),
            self.sizes,
            self.dataset.fixed_test,
            self.dataset.shuffled,
            self.dataset.fixed_valid,
        )
        own = jax.tree.map(lambda leaf: leaf[split.train], targets)
        if self.dataset.num_classes is not None and "label_noise" in point:
            rate = point["label_noise"].astype(jnp.float32)
            noise_key = key_for(key, "label noise")
            classes = self.dataset.training_classes or self.dataset.num_classes
            own = corrupt_labels(noise_key, own, classes, rate, self.label_noise_kind)
        return Examples(split.train, own, split.valid, split.test, {name: point[name] for name in self.given})

    def epoch(
        self, data: PyTree, source: Any, carry: PyTree, model: Model, key: Key[Array, ""], number: Int[Array, ""]
    ) -> tuple[PyTree, Positions]:
        """A fresh permutation of the training examples, cut into batches."""
        del data, source, model
        return carry, Positions(
            epoch_batches(key_for(key, "batch order"), number, self.sizes.train, self.recipe.batch_size)
        )

    def batch(self, data: PyTree, source: Examples, index: Positions, key: Key[Array, ""] | None, part: str) -> Batch:
        """The examples at positions of a part."""
        inputs, targets = data
        at = getattr(source, part)[index.positions]
        chosen = jax.tree.map(lambda leaf: leaf[at], inputs)
        if self.augment is not None and key is not None:
            chosen = jax.vmap(self.augment)(jax.random.split(key, len(index.positions)), chosen)
        own = (source.train_targets, index.positions) if part == "train" else (targets, at)
        return Batch(chosen, jax.tree.map(lambda leaf: leaf[own[1]], own[0]), index.counted)

    def outputs(
        self, model: Model, source: Examples, batch: Batch, keys: Key[Array, " examples"] | None, *, training: bool
    ) -> tuple[PyTree, PyTree]:
        """What the model gives for a batch, and its state after it."""
        inputs = self.dataset.prepared(batch.inputs)
        return self.network.outputs(model.params, model.state, inputs, training=training, keys=keys, given=source.given)

    def values(self, outputs: PyTree, batch: Batch) -> Totals:
        """Loss and metrics of every example: sums over its positions and of their weights, leading axis over examples.

        A weight is 1, not an array, where every example has weight 1.
        """
        pairs = self.objective.of_examples(outputs, batch.targets)
        if batch.counted is None:
            return pairs
        return {
            name: (jnp.where(batch.counted, value, 0), _counted(weight, batch.counted))
            for name, (value, weight) in pairs.items()
        }

    def totals(self, outputs: PyTree, batch: Batch) -> Totals:
        """Sums over the batch of ``values``."""
        size = jax.tree.leaves(batch.targets)[0].shape[0]
        # Weights that are known to the compiler are constants: a mean is then what ``jnp.mean`` gives.
        return {
            name: (value.sum(), float(size) if isinstance(weight, int) else _sum(weight))
            for name, (value, weight) in self.values(outputs, batch).items()
        }

    def losses(
        self, model: Model, source: Any, batch: Batch, keys: Key[Array, " examples"] | None, *, training: bool
    ) -> tuple[Totals, PyTree]:
        """See ``Problem``."""
        outputs, state = self.outputs(model, source, batch, keys, training=training)
        return self.totals(outputs, batch), state

    def example_losses(
        self, model: Model, source: Any, batch: Batch, keys: Key[Array, " examples"] | None
    ) -> Float[Array, " examples"]:
        """See ``Problem``."""
        outputs, _ = self.outputs(model, source, batch, keys, training=True)
        return self.example_losses_of(outputs, batch)

    def example_losses_of(self, outputs: PyTree, batch: Batch) -> Float[Array, " examples"]:
        """The losses of the examples, scaled so that what is minimized is their mean."""
        values, weights = self.values(outputs, batch)[LOSS.name]
        if isinstance(weights, int):
            return values
        mean = weights.mean()
        return values / jnp.where(mean == 0, 1, mean)  # all 0 where nothing has a weight

    def blocks(self, part: str) -> Positions:
        """The examples of a part, in blocks of one size."""
        return blocks_of(getattr(self.sizes, part))

    def collected(self, model: Model, source: Any, batch: Batch) -> PyTree:
        """Outputs and targets where the objective has a metric of whole data sets."""
        if not self.objective.of_dataset:
            return ()
        outputs, _ = self.outputs(model, source, batch, None, training=False)
        return self.collected_of(outputs, batch)

    def collected_of(self, outputs: PyTree, batch: Batch) -> PyTree:
        """What is collected of the outputs for a batch."""
        return outputs, batch.targets, batch.counted

    def whole(self, blocks: PyTree) -> dict[str, float]:
        """See ``Problem``; NaN where outputs are not finite, as those of a network that has diverged."""
        if not self.objective.of_dataset:
            return {}
        outputs, targets, counted = jax.tree.map(lambda leaf: np.concatenate(list(leaf)), blocks)
        outputs, targets = jax.tree.map(lambda leaf: leaf[counted], (outputs, targets))
        if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(outputs)):
            return {metric.name: float("nan") for metric in self.objective.of_dataset}
        return self.objective.of_whole(outputs, targets)

    # What a seed decides, for those who want the examples of a trained network ----------------------------------------
    def examples_of(self, point: Point) -> Examples:
        """Which examples the network of a point trains, validates and tests on, and the targets that it trains on."""
        with computing_in(self.recipe.precision):
            return self._split_program(
                self.data, jax.random.key(point.seed), {n: v[0] for n, v in coordinates([point]).items()}
            )

    @functools.cached_property
    def _split_program(self) -> Callable[..., Examples]:
        return jax.jit(lambda data, key, point: self.source(data, key, point, None))

    def initial_model(self, seed: int) -> Model:
        """The network of a seed before training, and before it is pruned."""
        with computing_in(self.recipe.precision):
            return self.init(initialization_key(seed))


def _counted(weight: Any, counted: Any) -> Any:
    """The weights of the examples that count."""
    if isinstance(weight, int):
        return counted if isinstance(counted, np.ndarray) else counted.astype(float)
    return jnp.where(counted, weight, 0)


def _sum(weight: Any) -> Any:
    return float(weight.sum()) if isinstance(weight, np.ndarray) else weight.sum()


def initialization_key(seed: int) -> Key[Array, ""]:
    """What decides the initial parameters of networks of a seed."""
    return key_for(jax.random.key(seed), INITIALIZATION)
