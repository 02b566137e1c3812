"""Made sentences and graphs with the sizes of real ones: for speed, what they say does not matter."""

from collections.abc import Sequence

import numpy as np

from widebasin.data import ATOM_FEATURES, Dataset
from widebasin.data.graphs import padded_graphs

SHARES = (0, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1)
# Of GLUE's phrases (mean 9.8), the sentences of UD_English-LinES (18.7) and the molecules of Tox21 (18.6), at SHARES.
SST2_LENGTHS = (1, 1, 2, 3, 7, 14, 22, 27, 36, 56)
LINES_LENGTHS = (1, 5, 6, 10, 16, 24, 34, 42, 63, 98)
TOX21_SIZES = (1, 6, 8, 11, 16, 23, 31, 37, 62, 132)
# Bonds beyond a tree, as a share of the atoms.
RING_BONDS = 0.1


def sizes_like(quantiles: Sequence[float], examples: int, generator: np.random.Generator) -> np.ndarray:
    """Sizes with these quantiles at ``SHARES``, evenly between them, the largest included, in random order."""
    sizes = np.interp(np.linspace(0, 1, examples), SHARES, quantiles).round().astype(np.int32)
    return generator.permutation(sizes)


def phrases_like(
    quantiles: Sequence[float], examples: int, vocabulary: int, positions: int | None = None, seed: int = 0
) -> Dataset:
    """Words drawn by Zipf's law, padded with 0 to the longest or so many positions, and uniform labels of 2 classes."""
    generator = np.random.default_rng(seed)
    words = _words(generator, quantiles, examples, vocabulary, positions)
    return Dataset("made phrases", words, generator.integers(0, 2, examples, np.int32), 2)


def sentences_like(quantiles: Sequence[float], examples: int, vocabulary: int, tags: int, seed: int = 0) -> Dataset:
    """Words likewise, each with a uniform tag; -1 where there is no word."""
    generator = np.random.default_rng(seed)
    words = _words(generator, quantiles, examples, vocabulary, None)
    targets = np.where(words > 0, generator.integers(0, tags, words.shape), -1).astype(np.int32)
    return Dataset("made sentences", {"words": words}, targets, tags)


def molecules_like(
    quantiles: Sequence[float], examples: int, tasks: int, missing: float = 0.2, seed: int = 0
) -> Dataset:
    """Random chains with branches and rings, uniform features of atoms, and labels of which some are missing."""
    generator = np.random.default_rng(seed)
    sizes = sizes_like(quantiles, examples, generator)
    edges, counts = [], []
    for size in sizes.tolist():
        # Every atom is bound to one of the three before it.
        later = np.arange(1, size)
        tree = np.stack([np.maximum(later - generator.integers(1, 4, size - 1), 0), later], axis=1)
        rings = generator.integers(0, size, (round(RING_BONDS * size), 2))
        both = np.sort(np.concatenate([tree, rings]), axis=1)
        both = np.unique(both[both[:, 0] < both[:, 1]], axis=0)
        edges.append(both)
        counts.append(len(both))
    values = tuple(ATOM_FEATURES.values())
    nodes = generator.integers(0, values, (int(sizes.sum()), len(values)))
    padded = padded_graphs(nodes, sizes, np.concatenate(edges), np.array(counts))
    labels = generator.integers(0, 2, (examples, tasks)).astype(np.int8)
    labels[generator.random(labels.shape) < missing] = -1
    return Dataset("made molecules", padded.inputs, labels, 2)


def _words(
    generator: np.random.Generator,
    quantiles: Sequence[float],
    examples: int,
    vocabulary: int,
    positions: int | None,
) -> np.ndarray:
    lengths = sizes_like(quantiles, examples, generator)
    present = np.arange(positions or int(lengths.max())) < lengths[:, None]
    frequencies = 1 / np.arange(1, vocabulary - 1)
    words = np.zeros(present.shape, np.int32)
    # 0 is padding, 1 the unknown word.
    words[present] = 2 + generator.choice(vocabulary - 2, int(lengths.sum()), p=frequencies / frequencies.sum())
    return words
