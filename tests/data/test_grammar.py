"""Made sentences with a tag for every word."""

import numpy as np
import pytest

from widebasin.data import grammar
from widebasin.data.grammar import (
    ADJECTIVE,
    ADVERB,
    AMBIGUOUS,
    DETERMINER,
    LONGEST,
    NOUN,
    PREPOSITION,
    TAGS,
    VERB,
    VOCABULARY,
    WORDS,
)

ALONE = np.repeat(range(len(TAGS)), WORDS)


def tags_of(sentence):
    """A word that may be either is a verb at the end of the first phrase, and else a noun, as phrases have a noun."""
    tags = []
    for word in sentence[sentence > 0] - 2:
        both = word >= len(ALONE)
        nouns_before = tags.count(NOUN)
        verb = nouns_before == 1 and VERB not in tags
        tags.append((VERB if verb else NOUN) if both else int(ALONE[word]))
    return tags


def parses(tags):
    """By the grammar, from left to right."""
    rest = list(tags)

    def phrase():
        if rest[:1] == [DETERMINER]:
            del rest[0]
        while rest[:1] == [ADJECTIVE]:
            del rest[0]
        return rest[:1] == [NOUN] and rest.pop(0) == NOUN

    if not phrase() or rest[:1] != [VERB]:
        return False
    del rest[0]
    if rest[:1] == [ADVERB]:
        del rest[0]
    if rest and rest[0] != PREPOSITION and not phrase():
        return False
    while rest[:1] == [PREPOSITION]:
        del rest[0]
        if not phrase():
            return False
    return not rest


def test_tags_follow_from_the_sentences():
    data = grammar(600)
    for sentence, tags in zip(data.inputs["words"], data.targets, strict=True):
        length = int((sentence > 0).sum())
        assert (sentence[length:] == 0).all()
        assert (tags[length:] == -1).all()
        assert tags[:length].tolist() == tags_of(sentence)
        assert parses(tags[:length].tolist())
    assert (data.name, data.num_classes, data.targets.shape) == ("grammar", len(TAGS), (600, LONGEST))


@pytest.mark.slow
def test_seven_in_ten_nouns_and_verbs_are_words_that_may_be_either():
    data = grammar()
    words, tags = data.inputs["words"], data.targets
    assert words.max() < VOCABULARY
    assert not (words == 1).any()
    both = words >= VOCABULARY - AMBIGUOUS
    for tag in (NOUN, VERB):
        assert abs(both[tags == tag].mean() - 0.7) < 0.03
    # Every frequent one is a noun in one place and a verb in another; all other words have one tag.
    seen = np.zeros((VOCABULARY, len(TAGS)), int)
    np.add.at(seen, (words[tags >= 0], tags[tags >= 0]), 1)
    frequent = seen[-AMBIGUOUS:][seen[-AMBIGUOUS:].sum(1) >= 40]
    assert len(frequent) > 20
    assert (frequent[:, [NOUN, VERB]] > 0).all()
    assert ((seen[:-AMBIGUOUS] > 0).sum(1) <= 1).all()
    # So the most frequent tag of each word falls far short of what a network reaches.
    assert 0.75 < seen.max(1).sum() / seen.sum() < 0.92


def test_the_seed_decides():
    assert grammar(50).digest() != grammar(50, seed=1).digest()
    first = grammar(50)
    grammar.cache_clear()
    assert grammar(50).digest() == first.digest()
