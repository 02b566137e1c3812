"""Vocabularies: the numbers of words."""

import collections
import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int32

PADDING, UNKNOWN = 0, 1
# The numbers below this are not words.
RESERVED = 2


@dataclass(frozen=True)
class Vocabulary:
    """Words and their numbers: 0 is padding, 1 any word that is not in the vocabulary, 2 the first word, and so on.

    Attributes:
        words: the words, without duplicates.

    Example:
        >>> vocabulary = Vocabulary.from_sentences([["a", "good", "film"], ["a", "bad", "film"]], minimum_frequency=2)
        >>> vocabulary.words, len(vocabulary)
        (('a', 'film'), 4)
        >>> vocabulary.encode([["a", "dull", "film"]], 5).tolist()
        [[2, 1, 3, 0, 0]]
    """

    words: tuple[str, ...]

    def __post_init__(self) -> None:
        """Raises ``ValueError`` if a word occurs twice."""
        if len(self.numbers) < len(self.words):
            twice = next(word for word, count in collections.Counter(self.words).items() if count > 1)
            raise ValueError(f"words of a vocabulary must be different, but {twice!r} occurs twice; remove one")

    @classmethod
    def from_sentences(cls, sentences: Iterable[Sequence[str]], minimum_frequency: int = 1) -> "Vocabulary":
        """The vocabulary of sentences, most frequent words first; equally frequent words in alphabetical order.

        Args:
            sentences: sequences of words; use only the training sentences.
            minimum_frequency: how often a word must occur.

        Raises:
            ValueError: if the minimum frequency is below 1.
            TypeError: if a sentence is a string.
        """
        if minimum_frequency < 1:
            raise ValueError(f"minimum_frequency must be at least 1, got {minimum_frequency}")
        counts: collections.Counter[str] = collections.Counter()
        for sentence in sentences:
            counts.update(_words(sentence))
        frequent = [word for word, count in counts.items() if count >= minimum_frequency]
        return cls(tuple(sorted(frequent, key=lambda word: (-counts[word], word))))

    def __len__(self) -> int:
        """Number of different numbers, including those of padding and of unknown words."""
        return len(self.words) + RESERVED

    @functools.cached_property
    def numbers(self) -> dict[str, int]:
        """The number of every word."""
        return {word: number for number, word in enumerate(self.words, RESERVED)}

    def encode(self, sentences: Sequence[Sequence[str]], length: int) -> Int32[np.ndarray, "sentences length"]:
        """The numbers of the words of every sentence.

        Args:
            sentences: sequences of words.
            length: length of every row; longer sentences are cut, shorter ones padded with 0 at the end.

        Returns:
            int32 ``[len(sentences), length]``.

        Raises:
            ValueError: if the length is below 1.
            TypeError: if a sentence is a string.
        """
        if length < 1:
            raise ValueError(f"length must be at least 1, got {length}")
        encoded = np.full((len(sentences), length), PADDING, np.int32)
        for row, sentence in zip(encoded, sentences, strict=True):
            numbers = [self.numbers.get(word, UNKNOWN) for word in _words(sentence)[:length]]
            row[: len(numbers)] = numbers
        return encoded


def _words(sentence: Sequence[str]) -> Sequence[str]:
    if isinstance(sentence, str):
        raise TypeError(f"a sentence must be a sequence of words, got the string {sentence!r}; split it")
    return sentence
