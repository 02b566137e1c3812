"""Synthetic sentences with a tag for every word: a tagging task without a download."""

import functools

import numpy as np

from widebasin.data.dataset import Dataset
from widebasin.data.vocabulary import RESERVED

TAGS = ("determiner", "adjective", "noun", "verb", "adverb", "preposition")
DETERMINER, ADJECTIVE, NOUN, VERB, ADVERB, PREPOSITION = range(len(TAGS))
# How many words have only this tag, tag by tag. The words after them can be nouns or verbs.
WORDS = (4, 60, 120, 80, 30, 8)
AMBIGUOUS = 60
AMBIGUITY = 0.7
VOCABULARY = RESERVED + sum(WORDS) + AMBIGUOUS
LONGEST = 20


@functools.cache
def grammar(examples: int = 2_000, seed: int = 0) -> Dataset:
    """Sentences of a small grammar, of at most 20 words, with the tag of every word.

    ``sentence -> phrase verb [adverb] [phrase] {preposition phrase}``, ``phrase -> determiner {adjective} noun``. Words
    of a tag follow Zipf's law; 70% of nouns and verbs are among 60 words that can be either, so that only their
    position tells which. Words 0 (padding) and 1 (unknown) do not occur in sentences.

    Args:
        examples: number of sentences.
        seed: determines all sentences.

    Returns:
        Inputs are word numbers, ``{"words": int32 [examples, 20]}``, 0 after the end of a sentence. Targets are tags,
        int32 [examples, 20], -1 there.
    """
    random = np.random.default_rng(seed)
    starts = RESERVED + np.concatenate([[0], np.cumsum(WORDS)])
    words, tags = np.zeros((examples, LONGEST), np.int32), np.full((examples, LONGEST), -1, np.int32)
    for example in range(examples):
        own = _sentence(random)
        for position, tag in enumerate(own):
            both = tag in (NOUN, VERB) and random.random() < AMBIGUITY
            first, number = (starts[-1], AMBIGUOUS) if both else (starts[tag], WORDS[tag])
            weights = 1 / np.arange(1, number + 1)
            words[example, position] = first + random.choice(number, p=weights / weights.sum())
        tags[example, : len(own)] = own
    return Dataset("grammar", {"words": words}, tags, num_classes=len(TAGS))


def _sentence(random: np.random.Generator) -> list[int]:
    def phrase() -> list[int]:
        return [DETERMINER] * int(random.random() < 0.7) + [ADJECTIVE] * int(random.integers(0, 3)) + [NOUN]

    tags = [*phrase(), VERB]
    tags += [ADVERB] * int(random.random() < 0.3)
    tags += phrase() if random.random() < 0.6 else []
    while random.random() < 0.4 and len(tags) + 5 <= LONGEST:
        tags += [PREPOSITION, *phrase()]
    return tags
