"""Synthetic sentences that are positive or negative: a task for recurrent networks without a download."""

import functools

import numpy as np

from widebasin.data.dataset import Dataset
from widebasin.data.vocabulary import RESERVED

# The first word negates the opinion after it; then come positive, negative and neutral words.
NOT = RESERVED
OPINIONS, NEUTRAL = 40, 60
VOCABULARY = NOT + 1 + 2 * OPINIONS + NEUTRAL
SHORTEST, LONGEST = 3, 20


@functools.cache
def phrases(examples: int = 2_400, seed: int = 0) -> Dataset:
    """Sentences of 3 to 20 synthetic words, labelled by the majority of their opinions.

    30% of draws are positive words, 30% negative and 40% neutral; 30% of opinions are preceded by a negation. Words of
    a kind follow Zipf's law. The label is 1 if positive opinions outnumber negative ones after negation, else 0; ties
    are drawn again. Logistic regression on word counts, without their order, reaches 60% with 1,000 sentences.

    Args:
        examples: number of sentences.
        seed: determines all sentences.

    Returns:
        Inputs are word numbers, int32 [examples, 20], 0 after the end of a sentence. Targets are labels, int32
        [examples].
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
