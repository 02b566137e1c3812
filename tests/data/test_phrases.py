"""Made sentences that are positive or negative."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from widebasin.data import phrases
from widebasin.data.phrases import LONGEST, NEUTRAL, NOT, OPINIONS, SHORTEST, VOCABULARY


def label_of(sentence):
    """1 where more opinions are positive than negative, one behind the word that turns it round; 0 where fewer."""
    score, turned = 0, False
    for word in sentence[sentence > 0].tolist():
        if word == NOT:
            assert not turned
            turned = True
        elif word < 3 + 2 * OPINIONS:
            score += 1 if (word < 3 + OPINIONS) != turned else -1
            turned = False
        else:
            assert not turned  # what is turned follows at once
    assert score != 0
    assert not turned
    return int(score > 0)


def test_labels_follow_from_the_sentences():
    data = phrases(700)
    assert data.targets.tolist() == [label_of(sentence) for sentence in data.inputs]
    assert (data.name, data.num_classes, data.inputs.shape) == ("phrases", 2, (700, LONGEST))
    assert 0.4 < data.targets.mean() < 0.6


@pytest.mark.slow
def test_lengths_and_shares_of_words():
    words = phrases().inputs
    lengths = (words > 0).sum(1)
    assert (lengths.min(), lengths.max()) == (SHORTEST, LONGEST)
    assert ((words > 0) == (np.arange(LONGEST) < lengths[:, None])).all()
    assert words.max() < VOCABULARY
    counts = np.bincount(words.ravel(), minlength=VOCABULARY)
    assert counts[1] == 0
    positive, negative, neutral = np.split(counts[3:], [OPINIONS, 2 * OPINIONS])
    total = positive.sum() + negative.sum() + neutral.sum()
    np.testing.assert_allclose(
        np.array([positive.sum(), negative.sum(), neutral.sum()]) / total, [0.3, 0.3, 0.4], atol=0.03
    )
    assert len(neutral) == NEUTRAL
    for kind in (positive, negative, neutral):  # Zipf's law: the first twice as often as the second
        assert 1.6 < kind[0] / kind[1] < 2.4
    share = counts[NOT] / (positive.sum() + negative.sum())
    assert 0.25 < share < 0.3  # never at the last place


@pytest.mark.slow
def test_words_without_their_order_say_little():
    """Logistic regression on counts reaches 60%."""
    data = phrases()
    counts = np.stack([np.bincount(sentence, minlength=VOCABULARY)[2:] for sentence in data.inputs])
    model = LogisticRegression(max_iter=500).fit(counts[:1_000], data.targets[:1_000])
    assert 0.55 < model.score(counts[1_000:], data.targets[1_000:]) < 0.68


def test_the_seed_decides():
    assert phrases(50).digest() != phrases(50, seed=1).digest()
    first = phrases(50)
    phrases.cache_clear()
    assert phrases(50).digest() == first.digest()
