"""SST-2, bidirectional LSTM with attention, embeddings and states of h features, as in arXiv 2311.17539.

Recipe (published, after Flax's example): batch 64, 10 epochs, SGD at .1 with momentum .9, weight decay 3e-6, dropout
.5, word dropout .1, at most 60 words. Ours are the linear schedule, clipping at norm 5, radii, and words that occur at
least three times: 13,521 of them give numbers of parameters near the published .5 to 15.1 million. GLUE's 67,349
phrases train, its 872 development sentences validate, and the 1,821 test sentences of the treebank test.

``sst2-lstm:sentences`` trains on the 6,920 whole sentences alone. The axis ``embeddings`` starts from pretrained
vectors.
"""

import dataclasses
import functools
import logging
from pathlib import Path

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float, Key

from widebasin.axis import Axis
from widebasin.data import (
    Buckets,
    DataError,
    Dataset,
    Phrases,
    SplitSizes,
    embeddings,
    read_sst2,
    read_sst2_sentences,
)
from widebasin.models import BiLSTM
from widebasin.shown import shown
from widebasin.training import CLASSIFICATION, Recipe
from widebasin.workloads.dropout import dropout, word_dropout
from widebasin.workloads.family import Family
from widebasin.workloads.language_baselines import tfidf_logistic_regression
from widebasin.workloads.workload import SupervisedWorkload

LOGGER = logging.getLogger("widebasin")
MINIMUM_FREQUENCY, LENGTH = 3, 60
# Of the published phrases, so that numbers of parameters are known without them.
WORDS = 13_521
NONE = "none"
EMBEDDINGS = Axis(
    name="embeddings",
    flag="embeddings",
    kind=str,
    wanted=f"{NONE}, or an .npz or .safetensors file",
    holds=lambda value: value == NONE or Path(value).suffix in (".npz", ".safetensors"),
    default=(NONE,),
    traced=False,
    phrase="embeddings {}",
    help="File of pretrained embeddings to start from.",
)


def _phrases() -> Phrases:
    found = read_sst2(MINIMUM_FREQUENCY)
    if len(found.vocabulary) != WORDS:
        raise DataError(
            f"{len(found.vocabulary):,} words of the phrases of SST-2 here occur {MINIMUM_FREQUENCY} times or more, "
            f"and {WORDS:,} of those published: get GLUE's files, or write a workload for your own (widebasin new)"
        )
    return found


def _sentences() -> Phrases:
    return read_sst2_sentences(MINIMUM_FREQUENCY)


@functools.cache
def _vectors(path: str, sentences: bool) -> Float[np.ndarray, "words features"]:
    vocabulary = (_sentences if sentences else _phrases)().vocabulary
    vectors, found = embeddings(path, vocabulary)
    if not found:
        raise DataError(
            f"{path}: none of the {len(vocabulary.words):,} words has a vector; use vectors of English words"
        )
    LOGGER.info(
        shown(f"{path}: {found:,} of {len(vocabulary.words):,} words have a vector of {vectors.shape[1]} numbers")
    )
    return vectors


def _build(width: int, key: Key[Array, ""], embeddings: str = NONE, *, sentences: bool = False) -> eqx.Module:
    words = len(_sentences().vocabulary) if sentences else WORDS
    start = None if embeddings == NONE else _vectors(embeddings, sentences)
    return BiLSTM(width, words=words, embeddings=start, key=key)


@functools.cache
def _data(sentences: bool) -> Dataset:
    return _sentences().dataset("SST-2 (sentences)", LENGTH) if sentences else _phrases().dataset("SST-2", LENGTH)


@functools.cache
def _references(sentences: bool) -> dict[str, float]:
    found = _sentences() if sentences else _phrases()
    accuracy = tfidf_logistic_regression(*found.part("train"), *found.part("test"))
    return {"logistic regression on tf-idf of words and pairs of words": accuracy}


def _buckets(sentences: bool) -> Buckets:
    lengths = (_data(sentences).inputs > 0).sum(1)
    return Buckets.of(lengths, (26, LENGTH) if sentences else (8, 22, LENGTH))


SST2_LSTM = SupervisedWorkload(
    name="sst2-lstm",
    model="bilstm",
    description="SST-2, phrases for or against a film, bidirectional LSTM of width h with attention",
    load=lambda: _data(False),
    build=_build,
    sizes=SplitSizes(train=67_349, valid=872, test=1_821),
    objective=CLASSIFICATION,
    recipe=Recipe(epochs=10, batch_size=64, learning_rate=0.1, schedule="linear", weight_decay=3e-6, clip=5.0),
    widths=(37, 75, 150, 300, 450, 600),
    rhos=(0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
    # Fewer steps than the recipe's: SGD would stay at chance.
    quick={
        "widths": (8, 16, 37),
        "rhos": (0.02, 0.1),
        "seeds": 2,
        "epochs": 3,
        "train_examples": 20_000,
        "optimizer": "adam",
        "learning_rate": (0.003,),
    },
    published={500_000: 0.24, 1_100_000: 0.27, 2_500_000: 0.50, 5_800_000: 1.22, 10_000_000: 1.00, 15_100_000: 1.15},
    axes=(dropout(0.5), word_dropout(0.1), EMBEDDINGS),
    given=("dropout", "word_dropout"),
    buckets=lambda: _buckets(False),
    references=lambda: _references(False),
)
_SENTENCES = dataclasses.replace(
    SST2_LSTM,
    name="sst2-lstm:sentences",
    description="SST-2, whole sentences alone, for or against a film, bidirectional LSTM of width h with attention",
    load=lambda: _data(True),
    build=functools.partial(_build, sentences=True),
    sizes=SplitSizes(train=6_920, valid=872, test=1_821),
    # A tenth of the phrases: with SGD, as many epochs would stay at chance.
    recipe=dataclasses.replace(SST2_LSTM.recipe, optimizer="adam", learning_rate=0.003),
    published={},
    buckets=lambda: _buckets(True),
    references=lambda: _references(True),
    quick={"widths": (8, 16, 37), "rhos": (0.02, 0.1), "seeds": 2},
)


def _of(data: str) -> SupervisedWorkload:
    if data != "sentences":
        raise ValueError(
            f"the only other data of sst2-lstm are sst2-lstm:sentences, got {data!r}; for your own sentences, "
            "widebasin new writes a workload to fill in"
        )
    return _SENTENCES


FORMS = Family(SST2_LSTM.name, "sentences", _of)
