import collections

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from together import together

from widebasin.data import Vocabulary

words = st.text(alphabet="abcdé", min_size=1, max_size=3)
sentences = st.lists(st.lists(words, max_size=6), max_size=8)


def test_words_are_numbered_by_falling_frequency_and_then_by_the_alphabet():
    vocabulary = Vocabulary.from_sentences([["c", "b", "a"], ["c", "b"], ["d"]])
    assert vocabulary.words == ("b", "c", "a", "d")
    assert (len(vocabulary), vocabulary.numbers) == (6, {"b": 2, "c": 3, "a": 4, "d": 5})
    assert Vocabulary.from_sentences([["c", "b", "a"], ["c", "b"]], 2).words == ("b", "c")
    assert len(Vocabulary.from_sentences([])) == 2


def test_sentences_are_padded_cut_and_their_rare_words_unknown():
    encoded = Vocabulary(("a", "b")).encode([["a", "x", "b"], [], ["b", "b", "b", "b", "a"]], 4)
    assert encoded.dtype == np.int32
    assert encoded.tolist() == [[2, 1, 3, 0], [0, 0, 0, 0], [3, 3, 3, 3]]
    assert Vocabulary(()).encode([], 3).shape == (0, 3)


@given(sentences, st.integers(1, 3))
def test_a_word_is_in_the_vocabulary_if_it_is_frequent_enough(some, minimum_frequency):
    counts = collections.Counter(word for sentence in some for word in sentence)
    vocabulary = Vocabulary.from_sentences(some, minimum_frequency)
    assert set(vocabulary.words) == {word for word, count in counts.items() if count >= minimum_frequency}
    order = [(-counts[word], word) for word in vocabulary.words]
    assert order == sorted(order)


@given(sentences, st.integers(1, 8))
def test_what_is_encoded_is_read_back_but_for_what_is_cut(some, length):
    vocabulary = Vocabulary.from_sentences(some)
    encoded = vocabulary.encode(some, length)
    assert encoded.shape == (len(some), length)
    back = [[vocabulary.words[number - 2] for number in row if number] for row in encoded]
    assert back == [sentence[:length] for sentence in some]


@given(sentences)
def test_the_order_of_sentences_does_not_matter(some):
    assert Vocabulary.from_sentences(some) == Vocabulary.from_sentences(some[::-1])


@together(
    ("call", "error", "message"),
    [
        (
            lambda: Vocabulary(("a", "b", "a")),
            ValueError,
            "words of a vocabulary must be different, but 'a' occurs twice",
        ),
        (lambda: Vocabulary.from_sentences([["a"]], 0), ValueError, "minimum_frequency must be at least 1, got 0"),
        (lambda: Vocabulary(("a",)).encode([["a"]], 0), ValueError, "length must be at least 1, got 0"),
        (
            lambda: Vocabulary(("a",)).encode(["a b"], 2),
            TypeError,
            "a sequence of words, got the string 'a b'; split it",
        ),
        (lambda: Vocabulary.from_sentences(["a b"]), TypeError, "a sequence of words, got the string 'a b'; split it"),
    ],
)
def test_what_makes_no_vocabulary_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
