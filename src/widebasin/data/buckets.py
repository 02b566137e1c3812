"""Examples of different sizes in batches of one shape: which of them have to be computed at which size."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np


@dataclass(frozen=True, eq=False)
class Buckets:
    """Examples by size, such as sentences by their number of words.

    A batch with one shape for every step has columns, one example in each. Sorted by bucket, the examples of an epoch
    fill the columns one after the other, so that an example is always in a column that is long enough, and the last
    columns alone are as long as the longest example.

    Attributes:
        lengths: the largest size in every bucket, ascending; the last is the size that arrays are padded to.
        of_example: bucket of every example of the data set.
    """

    lengths: tuple[int, ...]
    of_example: np.ndarray

    def __post_init__(self) -> None:
        """Raises ``ValueError`` unless lengths ascend."""
        if not self.lengths or self.lengths[0] < 1 or any(low >= high for low, high in pairwise(self.lengths)):
            raise ValueError(f"lengths must be at least one number, ascending from 1, got {self.lengths}")

    @classmethod
    def of(cls, sizes: np.ndarray, lengths: Sequence[int]) -> "Buckets":
        """Buckets of these lengths.

        Args:
            sizes: of every example; of 0 and more.
            lengths: the largest size in every bucket.

        Raises:
            ValueError: if an example is larger than all buckets, or lengths do not ascend.
        """
        lengths = tuple(int(length) for length in lengths)
        if len(sizes) and lengths and int(sizes.max()) > lengths[-1]:
            raise ValueError(f"lengths must reach the largest example, {int(sizes.max())}, got {lengths}")
        return cls(lengths, np.searchsorted(np.asarray(lengths), sizes).astype(np.int32))

    @classmethod
    def fitted(cls, sizes: np.ndarray, number: int = 3, power: float = 1.0, longest: int | None = None) -> "Buckets":
        """At most so many buckets, of lengths that waste least: the sum of ``length(bucket)^power`` is minimal.

        Args:
            sizes: of every example.
            number: of buckets.
            power: by which the work grows with the size: 1 for what is done position by position, 2 for attention.
            longest: length of the last bucket, which arrays are padded to; that of the largest example by default.

        Raises:
            ValueError: if an example is larger than ``longest``, there is no length, or ``number`` is below 1.
        """
        if number < 1:
            raise ValueError(f"number must be at least 1, got {number}")
        if longest is not None and longest < np.max(sizes, initial=1):
            raise ValueError(f"longest must reach the largest example, {np.max(sizes, initial=1)}, got {longest}")
        found, counts = np.unique(np.maximum(sizes, 1), return_counts=True)
        if longest is not None and not np.isin(longest, found):
            # A size of which there is no example.
            found, counts = np.append(found, longest), np.append(counts, 0)
        up_to = np.concatenate([[0], np.cumsum(counts)])
        work = found.astype(float) ** power
        # least[i]: the least work for the smallest ``i`` sizes; cuts[k][i]: where the last of ``k`` buckets begins.
        least = np.concatenate([[0.0], up_to[1:] * work])
        cuts = [np.zeros(len(found) + 1, int)]
        for _ in range(min(number, len(found)) - 1):
            ends = np.arange(len(found) + 1)
            last = np.concatenate([[0.0], work])
            costs = least[None, :] + (up_to[:, None] - up_to[None, :]) * last[:, None]
            costs = np.where(ends[None, :] < ends[:, None], costs, np.inf)
            costs[0, 0] = 0
            cuts.append(costs.argmin(1))
            least = costs.min(1)
        lengths, end = [], len(found)
        for cut in reversed(cuts):
            if end:
                lengths.append(int(found[end - 1]))
                end = int(cut[end])
        return cls.of(sizes, sorted(lengths))

    def columns(self, beyond: Sequence[int], columns: int, rows: int) -> tuple[tuple[int, int], ...]:
        """How long the columns of a batch must be: pairs (number of columns, length), from the shortest.

        Args:
            beyond: for every bucket, how many examples at most are in later ones.
            columns: of a batch.
            rows: batches that the examples are spread over, sorted by bucket, column by column.
        """
        # The examples beyond a bucket are the last ones, and lie in so many columns.
        longer = [min(-(-int(count) // rows), columns) for count in beyond]
        numbers = [columns - longer[0], *(a - b for a, b in pairwise(longer))]
        return tuple((number, length) for number, length in zip(numbers, self.lengths, strict=True) if number)

    def beyond(self, examples: np.ndarray | slice) -> list[int]:
        """For every bucket, how many of these examples are in later ones."""
        counts = np.bincount(self.of_example[examples], minlength=len(self.lengths))
        return [int(counts[bucket + 1 :].sum()) for bucket in range(len(self.lengths))]
