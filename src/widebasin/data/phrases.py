"""Made sentences that are positive or negative: a task for recurrent networks without a download."""

import functools

import numpy as np

from widebasin.data.dataset import Dataset
from widebasin.data.vocabulary import RESERVED

# The first word turns what follows; then come positive, negative and neutral words.
NOT = RESERVED
OPINIONS, NEUTRAL = 40, 60
VOCABULARY = NOT + 1 + 2 * OPINIONS + NEUTRAL
SHORTEST, LONGEST = 3, 20


@functools.cache
def phrases(examples: int = 2_400, seed: int = 0) -> Dataset:
    """Sentences of 3 to 20 made words with the label of the majority of their opinions.

    Three in ten words are positive, as many negative, four neutral; 30% of opinions are preceded by a word that turns
    them round. Words of a kind are drawn by Zipf's law. The label is 1 where positive opinions, after they are turned,
    are more than negative ones; sentences with as many of both are drawn anew. Logistic regression on how often each
    word occurs, without their order, reaches 60% after 1,000 sentences.

    Args:
        examples: number of sentences.
        seed: decides all of them.

    Returns:
        Inputs are numbers of words, int32 [examples, 20], 0 where a sentence has ended.
    """
    random = np.random.default_rng(seed)
    ranks = 1 / np.arange(1, OPINIONS + 1)
    neutral_ranks = 1 / np.arange(1, NEUTRAL + 1)
    words, labels = np.zeros((examples, LONGEST), np.int32), np.zeros(examples, np.int32)
    for example in range(examples):
        score = 0
        while not score:
            sentence: list[int] = []
            score = 0
            length = random.integers(SHORTEST, LONGEST + 1)
            while len(sentence) < length:
                kind = random.choice(3, p=(0.3, 0.3, 0.4))
                if kind == 2:
                    sentence.append(NOT + 1 + 2 * OPINIONS + _drawn(random, neutral_ranks))
                    continue
                turned = len(sentence) + 1 < length and bool(random.random() < 0.3)
                sentence += [NOT] * int(turned) + [NOT + 1 + OPINIONS * int(kind) + _drawn(random, ranks)]
                score += (1 - 2 * int(kind)) * (1 - 2 * turned)
        words[example] = 0
        words[example, : len(sentence)] = sentence
        labels[example] = score > 0
    return Dataset("phrases", words, labels, num_classes=2)


def _drawn(random: np.random.Generator, weights: np.ndarray) -> int:
    return int(random.choice(len(weights), p=weights / weights.sum()))
