"""Small tasks with examples of different sizes, some of them empty, each with and without buckets."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from widebasin.data import Buckets, Dataset, SplitSizes, padded_graphs
from widebasin.models import BiLSTM, GraphConvolution, Tagger
from widebasin.training import BINARY_TASKS, CLASSIFICATION, TAGGING, Bucketed, Recipe, Supervised
from widebasin.workloads.graphs import cut_graphs

EXAMPLES, LONGEST, WORDS, TAGS, FEATURES, TASKS = 70, 9, 12, 3, 3, 2
SIZES = SplitSizes(train=34, valid=15, test=19)
LENGTHS = (4, LONGEST)
RECIPE = Recipe(epochs=3, batch_size=8, learning_rate=0.05)


def sizes_of_examples(seed=0):
    """More short ones than long ones, the first empty."""
    drawn = np.random.default_rng(seed).integers(0, LONGEST + 1, (2, EXAMPLES)).min(0)
    drawn[0], drawn[1] = 0, LONGEST
    return drawn


def padded(values, sizes, fill, length=LONGEST):
    wide = np.full((EXAMPLES, length), fill, np.int32)
    wide[:, :LONGEST] = np.where(np.arange(LONGEST) < sizes[:, None], values, fill)
    return wide


def sentences(length=LONGEST):
    random = np.random.default_rng(1)
    words = padded(random.integers(1, WORDS, (EXAMPLES, LONGEST)), sizes_of_examples(), 0, length)
    return Dataset("sentences", words, random.integers(0, TAGS, EXAMPLES).astype(np.int32), num_classes=TAGS)


def tagged(length=LONGEST):
    """A fifth of the words have no tag."""
    random, sizes = np.random.default_rng(2), sizes_of_examples()
    words = padded(random.integers(1, WORDS, (EXAMPLES, LONGEST)), sizes, 0, length)
    known = random.random((EXAMPLES, LONGEST)) < 0.8
    tags = np.where(known, random.integers(0, TAGS, (EXAMPLES, LONGEST)), -1)
    return Dataset("tagged", {"words": words}, padded(tags, sizes, -1, length), num_classes=TAGS)


def graphs(length=LONGEST):
    """Random trees with an edge more, of nodes of three features; a third of the labels are missing."""
    random, sizes = np.random.default_rng(3), sizes_of_examples()
    edges = [
        [(int(random.integers(0, node)), node) for node in range(1, size)] + ([(0, size - 1)] if size > 2 else [])
        for size in sizes.tolist()
    ]
    found = padded_graphs(
        random.integers(0, 9, (sizes.sum(), FEATURES)),
        sizes,
        np.array([pair for one in edges for pair in one]).reshape(-1, 2),
        np.array([len(one) for one in edges]),
    ).inputs
    more = length - LONGEST
    found["nodes"] = np.pad(found["nodes"], ((0, 0), (0, more), (0, 0)))
    found["edges"] = np.pad(found["edges"], ((0, 0), (0, more), (0, 0)), constant_values=-1)
    labels = random.integers(0, 2, (EXAMPLES, TASKS))
    labels[random.random(labels.shape) < 1 / 3] = -1
    return Dataset("graphs", found, labels.astype(np.int8), num_classes=2)


class Averaged(eqx.Module):
    """The mean of the embeddings of the words that are there, cubed, and a linear layer: compiles in a moment."""

    words: jax.Array
    last: jax.Array

    def __init__(self, key):
        first, second = jax.random.split(key)
        self.words = jax.random.normal(first, (WORDS, 4))
        self.last = 0.3 * jax.random.normal(second, (4, TAGS))

    def __call__(self, words):
        there = words > 0
        mean = there @ self.words[words] / jnp.maximum(there.sum(), 1)
        return mean**3 @ self.last


# Name -> data set, model, objective, axes that the model is given.
PARTS = {
    "averaged": (sentences, Averaged, CLASSIFICATION, ()),
    "sentences": (sentences, lambda key: BiLSTM(4, WORDS, TAGS, key=key), CLASSIFICATION, ("dropout", "word_dropout")),
    "tagged": (
        tagged,
        lambda key: Tagger(4, WORDS, TAGS, depth=1, heads=2, key=key),
        TAGGING,
        ("dropout", "word_dropout"),
    ),
    "graphs": (graphs, lambda key: GraphConvolution(4, FEATURES, TASKS, depth=2, key=key), BINARY_TASKS, ("dropout",)),
}


def plain(name, length=LONGEST):
    """The task as any other data set: all examples at the full length."""
    data, build, objective, given = PARTS[name]
    return Supervised(build, data(length), SIZES, objective, RECIPE, given=given)


def with_buckets(problem, lengths=LENGTHS):
    """The same task with buckets of these lengths."""
    buckets = Buckets.of(sizes_of_examples(), lengths)
    fields = {field.name: getattr(problem, field.name) for field in dataclasses.fields(Supervised)}
    if "nodes" in problem.dataset.inputs if isinstance(problem.dataset.inputs, dict) else False:
        return Bucketed(buckets=buckets, cut=cut_graphs(problem.dataset.inputs, buckets), **fields)
    return Bucketed(buckets=buckets, **fields)


PLAIN = {name: plain(name) for name in PARTS}
BUCKETED = {name: with_buckets(problem) for name, problem in PLAIN.items()}
