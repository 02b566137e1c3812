"""Made sentences with a tag for every word: a task for taggers without a download."""

import functools

import numpy as np

from widebasin.data.dataset import Dataset
from widebasin.data.vocabulary import RESERVED

TAGS = ("determiner", "adjective", "noun", "verb", "adverb", "preposition")
DETERMINER, ADJECTIVE, NOUN, VERB, ADVERB, PREPOSITION = range(len(TAGS))
# Tag -> how many words have it alone. The words after them are nouns in one place and verbs in another.
WORDS = (4, 60, 120, 80, 30, 8)
AMBIGUOUS = 60
AMBIGUITY = 0.7
VOCABULARY = RESERVED + sum(WORDS) + AMBIGUOUS
LONGEST = 20


@functools.cache
def grammar(examples: int = 2_000, seed: int = 0) -> Dataset:
    """Sentences of a small grammar, at most 20 words, with the tag of every word.

    ``sentence -> phrase verb [adverb] [phrase] {preposition phrase}``, ``phrase -> determiner {adjective} noun``. Words
    of a tag are drawn by Zipf's law; 70% of nouns and verbs are from 60 words that are both, so that only their place
    tells which. Two words for which 0 and 1 stand do not occur: they are padding and the unknown word.

    Args:
        examples: number of sentences.
        seed: decides all of them.

    Returns:
        Inputs are numbers of words, ``{"words": int32 [examples, 20]}``, 0 where a sentence has ended. Targets are
        tags, int32 [examples, 20], -1 there.
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
