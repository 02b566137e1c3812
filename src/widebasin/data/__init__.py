"""Data: one file per source; splits, label noise and batches, each a pure function of a key."""

from widebasin.data.batching import epoch_batches
from widebasin.data.dataset import Dataset
from widebasin.data.digits import digits
from widebasin.data.label_noise import LABEL_NOISE_KINDS, corrupt_labels
from widebasin.data.randomness import key_for
from widebasin.data.splits import Split, SplitSizes, split_examples
from widebasin.data.teacher import teacher_regression

__all__ = [
    "LABEL_NOISE_KINDS",
    "Dataset",
    "Split",
    "SplitSizes",
    "corrupt_labels",
    "digits",
    "epoch_batches",
    "key_for",
    "split_examples",
    "teacher_regression",
]
