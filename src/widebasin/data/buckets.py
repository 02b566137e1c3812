"""Examples of different sizes in batches of one shape: how many are computed at which size."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

# Probability that more long examples are drawn than there is room for.
UNLIKELY = 1e-12


@dataclass(frozen=True, eq=False)
class Buckets:
    """Examples grouped by size, such as sentences by their number of words.

    Batches have the same shape in every step, with one example per column. The examples of an epoch, sorted by bucket,
    fill one column after another, so every example is in a column that is long enough, and only the last columns are as
    long as the longest example.

    Attributes:
        lengths: the largest size in every bucket, ascending; the last is the size that arrays are padded to.
        of_example: bucket of every example of the data set.
    """

    lengths: tuple[int, ...]
    of_example: np.ndarray

    def __post_init__(self) -> None:
        """Raises ``ValueError`` unless lengths are positive and ascending."""
        if not self.lengths or self.lengths[0] < 1 or any(low >= high for low, high in pairwise(self.lengths)):
            raise ValueError(f"lengths must be ascending numbers of at least 1, got {self.lengths}")

    @classmethod
    def of(cls, sizes: np.ndarray, lengths: Sequence[int]) -> "Buckets":
        """Buckets with these lengths.

        Args:
            sizes: size of every example, at least 0.
            lengths: the largest size in every bucket.

        Raises:
            ValueError: if an example is larger than all buckets, or lengths are not ascending.
        """
        lengths = tuple(int(length) for length in lengths)
        if len(sizes) and lengths and int(sizes.max()) > lengths[-1]:
            raise ValueError(f"the last length must be at least the largest size, {int(sizes.max())}, got {lengths}")
        return cls(lengths, np.searchsorted(np.asarray(lengths), sizes).astype(np.int32))

    @classmethod
    def fitted(cls, sizes: np.ndarray, number: int = 3, power: float = 1.0, longest: int | None = None) -> "Buckets":
        """At most ``number`` buckets that waste least: the sum over examples of ``length(bucket)^power`` is minimal.

        Args:
            sizes: size of every example.
            number: largest number of buckets.
            power: how the work grows with the size: 1 for work at every position, 2 for attention.
            longest: length of the last bucket, which arrays are padded to; by default the size of the largest example.

        Raises:
            ValueError: if an example is larger than ``longest``, there is no example, or ``number`` is below 1.
        """
        if number < 1:
            raise ValueError(f"number must be at least 1, got {number}")
        if longest is not None and longest < np.max(sizes, initial=1):
            raise ValueError(f"longest must be at least the largest size, {np.max(sizes, initial=1)}, got {longest}")
        found, counts = np.unique(np.maximum(sizes, 1), return_counts=True)
        if longest is not None and not np.isin(longest, found):
            # A size that no example has.
            found, counts = np.append(found, longest), np.append(counts, 0)
        up_to = np.concatenate([[0], np.cumsum(counts)])
        work = found.astype(float) ** power
        # least[i]: least work for the ``i`` smallest sizes; cuts[k][i]: where the last bucket begins, with ``k + 1``.
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
        """How long the columns of a batch must be: pairs (number of columns, length), shortest first.

        Args:
            beyond: for every bucket, the largest possible number of examples in later buckets.
            columns: number of columns in a batch.
            rows: number of batches that the sorted examples are spread over, column by column.
        """
        # The examples beyond a bucket come last, and fill this many columns.
        longer = [min(-(-int(count) // rows), columns) for count in beyond]
        numbers = [columns - longer[0], *(a - b for a, b in pairwise(longer))]
        return tuple((number, length) for number, length in zip(numbers, self.lengths, strict=True) if number)

    def most_beyond(self, pool: np.ndarray | slice, number: int) -> list[int]:
        """For every bucket, a bound on how many examples are in later buckets if ``number`` of a pool are drawn.

        It holds with a probability of at least 1 - 1e-12, by the hypergeometric distribution.
        """
        from scipy.stats import hypergeom

        size = len(self.of_example[pool])
        return [int(hypergeom.isf(UNLIKELY, size, count, number)) for count in self.beyond(pool)]

    def beyond(self, examples: np.ndarray | slice) -> list[int]:
        """For every bucket, how many of these examples are in later buckets."""
        counts = np.bincount(self.of_example[examples], minlength=len(self.lengths))
        return [int(counts[bucket + 1 :].sum()) for bucket in range(len(self.lengths))]
