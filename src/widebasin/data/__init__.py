"""Data: one file per source; splits, label noise and batches, each a pure function of a key."""

from widebasin.data.arrays import arrays
from widebasin.data.augmentation import crop_and_flip, random_crop, random_flip
from widebasin.data.batching import epoch_batches
from widebasin.data.buckets import Buckets
from widebasin.data.catalogue import DATASETS, DatasetSource
from widebasin.data.cifar import cifar10, cifar100
from widebasin.data.conllu import Sentences, read_conllu
from widebasin.data.dataset import Dataset, Normalization
from widebasin.data.digits import digit_images, digits
from widebasin.data.embeddings import embeddings
from widebasin.data.errors import DataError
from widebasin.data.grammar import grammar
from widebasin.data.graphs import PaddedGraphs, RaggedGraphs, padded_graphs, ragged_graphs
from widebasin.data.image_files import ImageFiles, list_image_files
from widebasin.data.imagenet import imagenet, imagenette
from widebasin.data.label_noise import LABEL_NOISE_KINDS, corrupt_labels
from widebasin.data.linear_targets import matrix_targets, noisy_linear_targets
from widebasin.data.mnist import fashion_mnist, mnist
from widebasin.data.molecule_tables import molecule_table
from widebasin.data.molecules import ATOM_FEATURES, Molecules, scaffold_split
from widebasin.data.ogb import ogb_molecules, ogbg_molpcba
from widebasin.data.one_dimensional import points_on_a_line
from widebasin.data.phrases import phrases
from widebasin.data.randomness import key_for, permutation
from widebasin.data.rings import RING_TASKS, ring_graphs
from widebasin.data.splits import Split, SplitSizes, split_examples, split_fits
from widebasin.data.sst2 import Phrases, read_sst2, read_sst2_sentences, sst2, sst2_sentences
from widebasin.data.streaming import ImageReader
from widebasin.data.tables import Table, table
from widebasin.data.teacher import teacher_regression
from widebasin.data.treebanks import Treebank, treebank, word_suffixes
from widebasin.data.tu import ClassifiedGraphs, tu_graphs
from widebasin.data.vocabulary import Vocabulary

__all__ = [
    "ATOM_FEATURES",
    "DATASETS",
    "LABEL_NOISE_KINDS",
    "RING_TASKS",
    "Buckets",
    "ClassifiedGraphs",
    "DataError",
    "Dataset",
    "DatasetSource",
    "ImageFiles",
    "ImageReader",
    "Molecules",
    "Normalization",
    "PaddedGraphs",
    "Phrases",
    "RaggedGraphs",
    "Sentences",
    "Split",
    "SplitSizes",
    "Table",
    "Treebank",
    "Vocabulary",
    "arrays",
    "cifar10",
    "cifar100",
    "corrupt_labels",
    "crop_and_flip",
    "digit_images",
    "digits",
    "embeddings",
    "epoch_batches",
    "fashion_mnist",
    "grammar",
    "imagenet",
    "imagenette",
    "key_for",
    "list_image_files",
    "matrix_targets",
    "mnist",
    "molecule_table",
    "noisy_linear_targets",
    "ogb_molecules",
    "ogbg_molpcba",
    "padded_graphs",
    "permutation",
    "phrases",
    "points_on_a_line",
    "ragged_graphs",
    "random_crop",
    "random_flip",
    "read_conllu",
    "read_sst2",
    "read_sst2_sentences",
    "ring_graphs",
    "scaffold_split",
    "split_examples",
    "split_fits",
    "sst2",
    "sst2_sentences",
    "table",
    "teacher_regression",
    "treebank",
    "tu_graphs",
    "word_suffixes",
]
