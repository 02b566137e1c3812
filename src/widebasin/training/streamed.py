"""Training on images that are read from disk as needed."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Integer, Key, PyTree

from widebasin.data import ImageReader, key_for
from widebasin.training.problem import Model, Share
from widebasin.training.supervised import Batch, Examples, Positions, Supervised, blocks_of


class Images(NamedTuple):
    """Examples to read.

    Attributes:
        chosen: their positions within a part of the split.
        seeds: seeds of their crops and flips; ``None`` for a central crop.
    """

    chosen: Positions
    seeds: Integer[Array, "..."] | Integer[np.ndarray, "..."] | None = None


@dataclass(frozen=True, eq=False)
class Streamed(Supervised):
    """Like ``Supervised``, but one network at a time and step by step; worker processes decode the next batches.

    Crops and flips of an image depend only on the seed, the epoch and its position in the training set, so that
    networks with the same seed see the same images, and a run can continue from any epoch. They do not depend on the
    number of workers.
    """

    from_disk: ClassVar[bool] = True

    def epoch(
        self, data: PyTree, source: Any, carry: PyTree, model: Model, key: Key[Array, ""], number: Any
    ) -> tuple[PyTree, Images]:
        """A permutation, and for every training example the seed of its crop and flip in this epoch."""
        carry, chosen = super().epoch(data, source, carry, model, key, number)
        augmentation = jax.random.fold_in(key_for(key, "augmentation"), number)
        seeds = jax.random.bits(augmentation, (self.sizes.train,), jnp.uint32)
        return carry, Images(chosen, seeds[chosen.positions])

    def first_batch(self, data: PyTree, source: Any, model: Model, key: Key[Array, ""]) -> Images:
        """See ``Problem``; without crops and flips."""
        return super().first_batch(data, source, model, key)._replace(seeds=None)

    def blocks(self, part: str) -> Images:
        """The examples of a part, in blocks of the training batch size."""
        return Images(blocks_of(getattr(self.sizes, part), self.recipe.batch_size))

    def batch(self, data: PyTree, source: Examples, index: Any, key: Key[Array, ""] | None, part: str) -> Batch:
        """The batch from ``reading``."""
        del data, source, key, part
        return index

    @contextlib.contextmanager
    def reading(
        self, workers: int = 0, share: Share | None = None
    ) -> Iterator[Callable[[PyTree, PyTree, str], Iterable[Batch]]]:
        """Reads images ahead, a few batches at a time; of a share of every batch, only the images in it."""
        files = self.dataset.files
        assert files is not None
        reader = ImageReader(files, workers=workers, prefetch=workers + 2, size=self.dataset.image_size)

        def rows(source: Examples, index: Images, part: str) -> Iterator[Batch]:
            (positions, counted), seeds = index if share is None else _shared(index, share)
            at = np.asarray(getattr(source, part))[0]
            targets = source.train_targets if part == "train" else self.dataset.targets[at][None]
            images = reader.batches(
                self.dataset.inputs[at][positions[0]], None if seeds is None else np.asarray(seeds[0])
            )
            for step, one in enumerate(images):
                counts = None if counted is None else counted[:, step]
                yield Batch(one[None], np.asarray(targets)[:, positions[0, step]], counts)

        with reader:
            yield rows


def _shared(index: Images, share: Share) -> Images:
    """A host's share of every batch. Where hosts cannot share one evenly, others follow that do not count."""
    (positions, counted), seeds = index
    positions = np.asarray(positions)
    if filling := share.filling(positions.shape[-1]):
        after = ((0, 0),) * (positions.ndim - 1) + ((0, filling),)
        positions, counted = np.pad(positions, after, mode="wrap"), np.pad(np.asarray(counted), after)
    mine = (..., share.of(positions.shape[-1]))
    return Images(
        Positions(positions[mine], None if counted is None else counted[mine]),
        None if seeds is None else np.asarray(seeds)[mine],
    )
