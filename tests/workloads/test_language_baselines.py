"""What is reached without a network."""

import collections

import pytest
from hypothesis import given
from hypothesis import strategies as st
from together import together

from widebasin.data import Sentences
from widebasin.workloads.language_baselines import majority_tag, majority_tag_with_suffixes, tfidf_logistic_regression


def tagged(*sentences):
    """From texts such as "a/X b/Y c/_"."""
    pairs = [[one.split("/") for one in sentence.split()] for sentence in sentences]
    words = tuple(tuple(word for word, _ in some) for some in pairs)
    return Sentences(words, tuple(tuple(None if tag == "_" else tag for _, tag in some) for some in pairs), "upos")


TRAIN = tagged("run/V run/V run/N walking/V talking/V thing/N ring/N", "go/V king/N a/D b/_ nothing/P")


@together(
    ("test", "words", "suffixes"),
    [
        ("run/V run/N", 1 / 2, 1 / 2),
        ("Run/N", 0, 0),  # another spelling; "Run" as an ending has not been met
        ("sing/V", 1, 0),  # of all tags V is the commonest, of -ing N
        ("sing/N", 0, 1),
        ("sing/N dogs/V", 1 / 2, 1),
        ("b/V c/_", 1, 1),
        ("nothing/P run/UNSEEN", 1 / 2, 1 / 2),
    ],
)
def test_words_get_their_commonest_tag(test, words, suffixes):
    assert majority_tag(TRAIN, tagged(test)) == words
    assert majority_tag_with_suffixes(TRAIN, tagged(test)) == suffixes


def test_of_equally_common_tags_the_first_is_taken():
    train = tagged("a/Y a/X")
    assert majority_tag(train, tagged("a/X a/X a/Y b/X")) == 3 / 4


pairs = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("XYZ")), min_size=1, max_size=12)


@given(pairs)
def test_on_what_is_trained_on_it_is_the_sum_of_the_largest_counts(some):
    counts = collections.Counter(some)
    best = sum(max(counts[word, tag] for tag in "XYZ") for word in "abc")
    train = Sentences((tuple(word for word, _ in some),), (tuple(tag for _, tag in some),), "upos")
    assert majority_tag(train, train) == majority_tag_with_suffixes(train, train, 1) == pytest.approx(best / len(some))


def test_sentences_of_other_words_are_told_apart_and_pairs_count():
    sentences = [["not", "good"], ["good", "not"], ["good"], ["bad"], ["!", "good"], ["!", "bad"]] * 5
    labels = [0, 1, 1, 0, 1, 0] * 5
    assert tfidf_logistic_regression(sentences, labels, sentences[:6], labels[:6]) == 1
    assert tfidf_logistic_regression(sentences, labels, sentences[:2], [1, 1]) == 1 / 2


@together(
    ("call", "message"),
    [
        (lambda: tfidf_logistic_regression([["a"]], [0, 1], [["a"]], [0]), "1 train_sentences but 2 train_labels"),
        (lambda: tfidf_logistic_regression([["a"]], [0], [["a"]], []), "1 test_sentences but 0 test_labels"),
        (lambda: majority_tag(tagged("a/_"), TRAIN), "no word in train has a tag"),
        (lambda: majority_tag(TRAIN, tagged("a/_")), "no word in test has a tag"),
        (lambda: majority_tag_with_suffixes(TRAIN, TRAIN, 0), "length must be at least 1, got 0"),
    ],
)
def test_what_cannot_be_judged_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
