import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score
from together import together

from widebasin.statistics.ranking import mean_average_precision, mean_roc_auc

PAIRS = ((mean_average_precision, average_precision_score), (mean_roc_auc, roc_auc_score))


@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(1, 5), st.floats(0, 1))
def test_the_mean_over_tasks_of_scikit_learn_on_known_labels(seed, examples, tasks, missing):
    generator = np.random.default_rng(seed)
    targets = generator.integers(0, 2, (examples, tasks)).astype(np.int8)
    targets[generator.random(targets.shape) < missing] = -1
    scores = generator.integers(0, 9, targets.shape) / 8  # with ties
    scores[targets == -1] = np.nan  # never looked at
    for mean, one in PAIRS:
        expected = []
        for task in range(tasks):
            known = targets[:, task] >= 0
            if len(set(targets[known, task])) == 2:
                expected.append(one(targets[known, task], scores[known, task]))
        np.testing.assert_allclose(mean(scores, targets), np.mean(expected) if expected else np.nan)


def test_constant_scores_have_the_share_of_positives_and_one_half():
    targets = np.array([[1, 0], [0, 1], [0, -1], [0, 1]])
    assert mean_average_precision(np.zeros((4, 2)), targets) == pytest.approx((1 / 4 + 2 / 3) / 2)
    assert mean_roc_auc(np.zeros((4, 2)), targets) == 0.5


@together(
    ("scores", "targets", "message"),
    [
        (np.zeros((2, 3)), np.zeros((2, 2), int), r"must both be \[examples, tasks\], got \(2, 3\) and \(2, 2\)"),
        (np.zeros(2), np.zeros(2, int), r"must both be \[examples, tasks\], got \(2,\)"),
        (np.zeros((2, 1)), np.array([[0], [2]]), "targets must be 0, 1, or -1 where missing, got 2"),
        (np.array([[np.nan], [0]]), np.array([[0], [1]]), "scores must be finite where labels are known"),
    ],
)
def test_what_cannot_be_ranked_is_refused(scores, targets, message):
    for mean, _ in PAIRS:
        with pytest.raises(ValueError, match=message):
            mean(scores, targets)
