"""Simple baselines on language data sets, which networks should beat."""

import collections
from collections.abc import Iterable, Sequence

import numpy as np

from widebasin.data.conllu import Sentences


def tfidf_logistic_regression(
    train_sentences: Sequence[Sequence[str]],
    train_labels: Sequence[int] | np.ndarray,
    test_sentences: Sequence[Sequence[str]],
    test_labels: Sequence[int] | np.ndarray,
) -> float:
    """Accuracy of logistic regression on tf-idf features of words and bigrams.

    Args:
        train_sentences: sequences of words.
        train_labels: one label per training sentence.
        test_sentences: sequences of words.
        test_labels: one label per test sentence.

    Returns:
        Fraction of the test sentences that are classified correctly.

    Raises:
        ValueError: if the numbers of sentences and labels differ, or all training labels are equal.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    for part, sentences, labels in (
        ("train", train_sentences, train_labels),
        ("test", test_sentences, test_labels),
    ):
        if len(sentences) != len(labels):
            raise ValueError(
                f"{len(sentences):,} {part}_sentences but {len(labels):,} {part}_labels; give one label per sentence"
            )
    features = TfidfVectorizer(lowercase=False, token_pattern=r"\S+", ngram_range=(1, 2))
    model = make_pipeline(features, LogisticRegression(max_iter=1000))
    model.fit(list(map(" ".join, train_sentences)), np.asarray(train_labels))
    return float(model.score(list(map(" ".join, test_sentences)), np.asarray(test_labels)))


def majority_tag(train: Sentences, test: Sentences) -> float:
    """Accuracy of giving every word, as spelled, its most frequent tag, and unknown words the most frequent of all.

    Ties are broken in alphabetical order. Words without a tag are ignored in both parts.

    Raises:
        ValueError: if no word in ``train`` or in ``test`` has a tag.
    """
    return _accuracy(train, test, None)


def majority_tag_with_suffixes(train: Sentences, test: Sentences, length: int = 3) -> float:
    """As ``majority_tag``, but unknown words get the most frequent tag of their suffix, if the suffix is known.

    Args:
        train: tagged sentences.
        test: tagged sentences.
        length: number of last characters in a suffix, as spelled.

    Raises:
        ValueError: if no word in ``train`` or in ``test`` has a tag, or the length is below 1.
    """
    if length < 1:
        raise ValueError(f"length must be at least 1, got {length}")
    return _accuracy(train, test, length)


def _accuracy(train: Sentences, test: Sentences, length: int | None) -> float:
    met, judged = _tagged(train), _tagged(test)
    for name, pairs in (("train", met), ("test", judged)):
        if not pairs:
            raise ValueError(f"no word in {name} has a tag; choose another column of tags")
    overall = _majority(("", tag) for _, tag in met)[""]
    of_words = _majority(met)
    of_endings = {} if length is None else _majority((word[-length:], tag) for word, tag in met)
    right = sum((of_words.get(word) or of_endings.get(word[-(length or 1) :], overall)) == tag for word, tag in judged)
    return right / len(judged)


def _tagged(sentences: Sentences) -> list[tuple[str, str]]:
    return [
        (word, tag)
        for words, tags in zip(sentences.words, sentences.tags, strict=True)
        for word, tag in zip(words, tags, strict=True)
        if tag is not None
    ]


def _majority(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The most frequent tag of every key."""
    counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for key, tag in pairs:
        counts[key][tag] += 1
    return {key: min(tags, key=lambda tag: (-tags[tag], tag)) for key, tags in counts.items()}
