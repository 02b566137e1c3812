"""Training on examples of different sizes: sentences, graphs."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, PyTree

from widebasin.data import key_for
from widebasin.data.buckets import Buckets
from widebasin.data.splits import parts_of_every_split
from widebasin.training.problem import PARTS, Model
from widebasin.training.supervised import EVALUATION_BLOCK, Batch, Examples, Positions, Supervised

Cut = Callable[[PyTree, int], PyTree]
"""(inputs of a batch, length) -> the same examples, padded to this length."""


def shortened(inputs: PyTree, length: int) -> PyTree:
    """Inputs whose arrays have their positions along the second axis, cut to a length."""
    return jax.tree.map(lambda leaf: leaf[:, :length], inputs)


class BucketedBatch(Batch):
    """Examples with their targets, and the largest length of each.

    Attributes:
        columns: pairs (number of examples, length), in the order of the examples. They apply only to the whole batch:
            a batch with another number of examples, such as a subset, may be in any order.
        buckets: of the examples, int ``[batch]``, if they are in another order; ``None`` if they are sorted by bucket.
    """

    columns: tuple[tuple[int, int], ...] = eqx.field(static=True, kw_only=True)
    buckets: Any = None


@dataclass(frozen=True, eq=False)
class Bucketed(Supervised):
    """A data set of padded examples, most of which are computed at less than the full length.

    All batches contain about the same number of examples of every size: an epoch is a random permutation of the
    training examples, stably sorted by bucket, and batch ``s`` of ``S`` takes those at ``s, s + S, s + 2 S ...``. So
    all batches have the same shape, and no example occurs twice in an epoch. Padding does not change results, so
    buckets affect them only through the composition of batches and through rounding.

    How many long examples a seed draws is bounded with a probability of 1 - 1e-12 for each part and bucket; beyond the
    bound, outputs are NaN.

    Groups of examples of a batch (``m``, microbatches) are computed at the full length.

    Attributes:
        buckets: the buckets of all examples.
        cut: shortens inputs; if this shortens the first axis of outputs, they are padded with 0.
        grouped: whether batches are in random order, because groups of consecutive examples (``m``) matter.
    """

    buckets: Buckets = dataclasses.field(kw_only=True)
    cut: Cut = dataclasses.field(default=shortened, kw_only=True)
    grouped: bool = dataclasses.field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        """Raises ``ValueError`` for a model with a state, which would be computed from a part of the batch."""
        if self.network.stateful:
            raise ValueError("examples of different sizes need a model without a state; remove batch normalization")
        if len(self.buckets.of_example) != len(self.dataset):
            raise ValueError(
                f"buckets must have one entry for each of the {len(self.dataset):,} examples of {self.dataset.name}, "
                f"got {len(self.buckets.of_example):,}"
            )

    @property
    def data(self) -> tuple[PyTree, PyTree, np.ndarray]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Inputs, targets and buckets."""
        return (*super().data, self.buckets.of_example)

    def source(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, data: PyTree, key: Key[Array, ""], point: Mapping[str, Float[Array, ""]], params: PyTree
    ) -> Examples:
        """See ``Supervised``; validation and test examples are sorted by bucket."""
        found = super().source(data[:2], key, point, params)
        buckets = {part: data[2][getattr(found, part)] for part in PARTS}
        order = {part: jnp.argsort(of_part, stable=True) for part, of_part in buckets.items()}
        fits = jnp.array(True)
        for part, of_part in buckets.items():
            for bucket, most in enumerate(self.most_beyond[part]):
                fits &= jnp.sum(of_part > bucket) <= most
        return found._replace(
            by_bucket=order["train"], valid=found.valid[order["valid"]], test=found.test[order["test"]], fits=fits
        )

    def epoch(
        self, data: PyTree, source: Any, carry: PyTree, model: Model, key: Key[Array, ""], number: Int[Array, ""]
    ) -> tuple[PyTree, Positions]:
        """A new permutation of the training examples, distributed over the batches bucket by bucket."""
        carry, index = super().epoch(data[:2], source, carry, model, key, number)
        positions = index.positions.ravel()
        positions = positions[jnp.argsort(data[2][source.train[positions]], stable=True)]
        batches = positions.reshape(self.recipe.batch_size, self.steps_per_epoch).T
        if self.grouped:
            order_key = jax.random.fold_in(key_for(key, "order in batches"), number)
            batches = jax.random.permutation(order_key, batches, axis=1, independent=True)
        return carry, Positions(batches)

    def batch(
        self, data: PyTree, source: Examples, index: Positions, key: Key[Array, ""] | None, part: str
    ) -> BucketedBatch:
        """The examples at positions of a part; positions in a block of training examples refer to ``by_bucket``."""
        of_step = part == "train" and index.counted is None
        if part == "train" and not of_step:
            sorted_positions = source.by_bucket[index.positions]  # pyright: ignore[reportOptionalSubscript]
            index = Positions(sorted_positions, index.counted)
        found = super().batch(data[:2], source, index, key, part)
        columns = self.columns["steps" if of_step else part]
        buckets = data[2][getattr(source, part)[index.positions]] if of_step and self.grouped else None
        return BucketedBatch(found.inputs, found.targets, found.counted, columns=columns, buckets=buckets)

    @functools.cached_property
    def columns(self) -> dict[str, tuple[tuple[int, int], ...]]:
        """The columns of training batches (``steps``), and of the evaluation blocks of every part."""
        beyond = self.most_beyond
        found = {"steps": self.buckets.columns(beyond["train"], self.recipe.batch_size, max(self.steps_per_epoch, 1))}
        for part in beyond:
            rows, columns = np.shape(self.blocks(part).positions)
            found[part] = self.buckets.columns(beyond[part], columns, rows)
        return found

    @functools.cached_property
    def most_beyond(self) -> dict[str, list[int]]:
        """For every part and bucket, how many of its examples may be in later buckets."""
        dataset, sizes = self.dataset, self.sizes
        same = parts_of_every_split(len(dataset), sizes, dataset.fixed_test, dataset.shuffled, dataset.fixed_valid)
        pool = slice(len(dataset) - dataset.fixed_valid - dataset.fixed_test)
        return {
            part: self.buckets.beyond(same[part])
            if part in same
            else self.buckets.most_beyond(pool, getattr(sizes, part))
            for part in PARTS
        }

    def blocks(self, part: str) -> Positions:
        """The examples of a part, sorted by bucket, in blocks of equal size and similar composition."""
        examples = getattr(self.sizes, part)
        rows = -(-examples // EVALUATION_BLOCK)
        columns = -(-examples // rows)
        # Padding, which does not count, comes first, where examples are shortest.
        positions = np.arange(rows * columns).reshape(columns, rows).T - (rows * columns - examples)
        return Positions(np.maximum(positions, 0), positions >= 0)

    def outputs(
        self, model: Model, source: Examples, batch: Batch, keys: Key[Array, " examples"] | None, *, training: bool
    ) -> tuple[PyTree, PyTree]:
        """See ``Supervised``; bucket by bucket."""
        inputs = self.dataset.prepared(batch.inputs)
        size = jax.tree.leaves(inputs)[0].shape[0]
        columns: tuple[tuple[int, int], ...] = ((size, self.buckets.lengths[-1]),)
        order = None
        if isinstance(batch, BucketedBatch) and sum(number for number, _ in batch.columns) == size:
            columns = batch.columns
            if batch.buckets is not None:
                order = jnp.argsort(batch.buckets, stable=True)
                inputs, keys = jax.tree.map(lambda leaf: leaf[order], (inputs, keys))
        found, start = [], 0
        for number, length in columns:
            own, own_keys = jax.tree.map(lambda leaf, at=start, n=number: leaf[at : at + n], (inputs, keys))
            outputs, _ = self.network.outputs(
                model.params,
                model.state,
                self.cut(own, length),
                training=training,
                keys=own_keys,
                given=source.given,
            )
            found.append(outputs)
            start += number
        whole = found[-1]
        if columns[-1][1] < self.buckets.lengths[-1]:  # no example of this part can be in the last bucket
            whole = jax.eval_shape(
                lambda: self.network.outputs(
                    model.params,
                    model.state,
                    self.cut(inputs, self.buckets.lengths[-1]),
                    training=training,
                    given=source.given,
                )[0]
            )
        outputs = jax.tree.map(_filled, whole, *found)
        if order is not None:
            before = jnp.argsort(order)
            outputs = jax.tree.map(lambda leaf: leaf[before], outputs)
        if (fits := source.fits) is not None:
            outputs = jax.tree.map(lambda leaf: jnp.where(fits, leaf, jnp.nan), outputs)
        return outputs, model.state


def _filled(whole: Array | jax.ShapeDtypeStruct, *leaves: Array) -> Array:
    """The outputs of all buckets, padded with 0 along their second axis."""
    if len(whole.shape) < 2:
        return jnp.concatenate(leaves)
    rest = [(0, 0)] * (len(whole.shape) - 2)
    return jnp.concatenate([jnp.pad(leaf, [(0, 0), (0, whole.shape[1] - leaf.shape[1]), *rest]) for leaf in leaves])
