"""Part-of-speech tagging of a treebank of Universal Dependencies, transformer of dimension h, as in arXiv 2311.17539.

Recipe (published, after Flax's example): Ancient Greek, tags of the column xpos, 6 layers, 8 heads, batch 64, AdamW at
.05 / sqrt(8,000) with the schedule rsqrt after 8,000 steps of warmup (Flax's rate is .05 / sqrt(step); ours is that at
its peak), weight decay .1, dropout .3, at most 256 words; 419 epochs are its 75,000 steps. Our own guesses are the
radii, and that every training word has an embedding. Unlike Flax's example, warmup is at most a tenth of all steps,
Adam's decays are .9 and .999, and the layers have GELU and no dropout of attention weights.

``pos-transformer:TREEBANK`` and ``pos-transformer:TREEBANK:COLUMN`` use another treebank, such as
``pos-transformer:en_lines:xpos``, with our own recipe for small treebanks: 1 layer, 4 heads, batch 32, 8 epochs of
AdamW at .004 (cosine, 100 steps of warmup but at most a tenth of all), dropout .2, word dropout .1. The axis
``suffix_length`` adds an embedding of the last letters of every word.
"""

import functools

import equinox as eqx
from jaxtyping import Array, Key

from widebasin.axis import Axis
from widebasin.data import Buckets, SplitSizes, Treebank, treebank
from widebasin.data.conllu import TAG_COLUMNS
from widebasin.models import Tagger
from widebasin.training import TAGGING, Recipe
from widebasin.workloads.dropout import dropout, word_dropout
from widebasin.workloads.family import Family
from widebasin.workloads.language_baselines import majority_tag, majority_tag_with_suffixes
from widebasin.workloads.workload import SupervisedWorkload, say_if_few

LENGTH = 256
GREEK, GREEK_COLUMN = "grc_perseus", "xpos"
SMALLEST_FREQUENCY = 2
SUFFIX = 3


def _suffix_length(default: int) -> Axis:
    return Axis(
        name="suffix_length",
        flag="suffix_length",
        kind=int,
        wanted=f"0 or {SUFFIX}",
        holds=lambda value: value in (0, SUFFIX),
        default=(default,),
        traced=False,
        phrase="suffixes of {} letters",
        help=f"Number of last letters of a word that get an embedding: 0 (none) or {SUFFIX}.",
    )


@functools.lru_cache(maxsize=8)
def _references(name: str, column: str) -> dict[str, float]:
    read = _treebank(name, column)
    return {
        "the most frequent tag of each word": majority_tag(read.train, read.test),
        "that, and of the last three letters of unknown words": majority_tag_with_suffixes(read.train, read.test),
    }


def _treebank(name: str, column: str) -> Treebank:
    # If every training word is in the vocabulary, the unknown word is trained only by word dropout.
    return treebank(name, column, 1 if name == GREEK else SMALLEST_FREQUENCY, LENGTH, SUFFIX)


def _build(
    width: int, key: Key[Array, ""], suffix_length: int, *, name: str, column: str, depth: int, heads: int
) -> eqx.Module:
    read = _treebank(name, column)
    suffixes = len(read.suffixes) if suffix_length else 0
    # Tags that no training sentence has share an extra class, so that their words count as wrong.
    tags = read.dataset.num_classes or 0
    return Tagger(width, len(read.words), tags, suffixes, depth, heads, key=key)


def _buckets(name: str, column: str) -> Buckets:
    lengths = (_treebank(name, column).dataset.inputs["words"] > 0).sum(1)
    return Buckets.fitted(lengths, number=3, power=1.5, longest=_longest(name, column))


def _longest(name: str, column: str) -> int:
    return _treebank(name, column).dataset.targets.shape[1]


POS_TRANSFORMER = SupervisedWorkload(
    name="pos-transformer",
    model="tagger",
    description="Ancient Greek, morphological tags of a treebank, transformer of dimension h, 6 layers",
    load=lambda: _treebank(GREEK, GREEK_COLUMN).dataset,
    build=functools.partial(_build, name=GREEK, column=GREEK_COLUMN, depth=6, heads=8),
    sizes=SplitSizes(train=11_476, valid=1_137, test=1_306),
    objective=TAGGING,
    recipe=Recipe(
        epochs=419,
        batch_size=64,
        optimizer="adamw",
        learning_rate=0.05 / 8_000**0.5,
        schedule="rsqrt",
        warmup_steps=8_000,
        weight_decay=0.1,
    ),
    widths=(128, 256, 384, 512, 640),
    rhos=(0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
    published={5_500_000: -0.09, 13_500_000: 0.64, 23_700_000: 0.83, 36_300_000: 1.06, 51_300_000: 1.14},
    axes=(dropout(0.3), word_dropout(0.0), _suffix_length(0)),
    given=("dropout", "word_dropout"),
    buckets=lambda: _buckets(GREEK, GREEK_COLUMN),
    references=lambda: _references(GREEK, GREEK_COLUMN),
)


@functools.lru_cache(maxsize=8)
def _of(data: str) -> SupervisedWorkload:
    name, _, column = data.partition(":")
    column = column or TAG_COLUMNS[0]
    read = _treebank(name, column)
    sizes = SplitSizes(*(len(part.words) for part in (read.train, read.dev, read.test)))
    say_if_few(read.dataset, sizes)
    return SupervisedWorkload(
        name=f"{POS_TRANSFORMER.name}:{data}",
        model=POS_TRANSFORMER.model,
        description=f"{read.name}, a tag for every word of a treebank, transformer of dimension h, 1 layer",
        load=lambda: read.dataset,
        build=functools.partial(_build, name=name, column=column, depth=1, heads=4),
        sizes=sizes,
        objective=TAGGING,
        recipe=Recipe(
            epochs=8,
            batch_size=min(32, sizes.train),
            optimizer="adamw",
            learning_rate=4e-3,
            schedule="cosine",
            warmup_steps=100,
            weight_decay=0.01,
        ),
        widths=(16, 32, 64, 128),
        rhos=(0.01, 0.02, 0.05, 0.1),
        quick={"widths": (16, 32), "rhos": (0.05,), "seeds": 2, "epochs": 4},
        axes=(dropout(0.2), word_dropout(0.1), _suffix_length(SUFFIX)),
        given=("dropout", "word_dropout"),
        buckets=lambda: _buckets(name, column),
        references=lambda: _references(name, column),
    )


TREEBANKS = Family(POS_TRANSFORMER.name, "TREEBANK or TREEBANK:COLUMN, such as en_lines:xpos", _of)
