"""Data: one file per source; splits, label noise and batches, each a pure function of a key."""

from widebasin.data.batching import epoch_batches
from widebasin.data.dataset import Dataset, Normalization
from widebasin.data.digits import digits
from widebasin.data.label_noise import LABEL_NOISE_KINDS, corrupt_labels
from widebasin.data.linear_targets import matrix_targets, noisy_linear_targets
from widebasin.data.one_dimensional import points_on_a_line
from widebasin.data.randomness import key_for
from widebasin.data.splits import Split, SplitSizes, split_examples
from widebasin.data.teacher import teacher_regression

__all__ = [
    "LABEL_NOISE_KINDS",
    "Dataset",
    "Normalization",
    "Split",
    "SplitSizes",
    "corrupt_labels",
    "digits",
    "epoch_batches",
    "key_for",
    "matrix_targets",
    "noisy_linear_targets",
    "points_on_a_line",
    "split_examples",
    "teacher_regression",
]
