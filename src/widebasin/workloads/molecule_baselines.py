"""What molecules can be told by without a graph network, to be reported beside every result."""

from typing import NamedTuple

import numpy as np

from widebasin.data.molecules import Molecules, fingerprints
from widebasin.statistics.ranking import MISSING, mean_average_precision, mean_roc_auc


class Ranking(NamedTuple):
    """How well the molecules of the test part are ranked, a mean over tasks; NaN if no task has both classes there."""

    mean_average_precision: float
    mean_roc_auc: float


def constant(molecules: Molecules) -> Ranking:
    """The score of every molecule is the share of positives among the known labels of the training part.

    So average precision is the share of positives among the known labels of the test part, and ROC-AUC is 1/2.

    Raises:
        ValueError: if the split is drawn by seed.
    """
    train, test = _parts(molecules)
    targets = np.asarray(molecules.dataset.targets)
    known = targets[train] != MISSING
    shares = (targets[train] == 1).sum(0) / np.maximum(known.sum(0), 1)
    return _ranking(np.broadcast_to(shares, targets[test].shape), targets[test])


def fingerprint_logistic_regression(molecules: Molecules) -> Ranking:
    """Logistic regression on Morgan fingerprints of radius 2 and 2,048 bits, one per task on its known labels.

    A task of which the training part knows one class only has a constant score.

    Raises:
        DataError: if rdkit is not installed.
        ValueError: if the split is drawn by seed, or the SMILES are not known.
    """
    from sklearn.linear_model import LogisticRegression

    train, test = _parts(molecules)
    if not molecules.smiles:
        raise ValueError(f"the SMILES of {molecules.dataset.name} are not known; fingerprints need them")
    bits = fingerprints(molecules.smiles)
    targets = np.asarray(molecules.dataset.targets)
    scores = np.zeros(targets[test].shape)
    for task, labels in enumerate(targets[train].T):
        rows = np.nonzero(labels != MISSING)[0]
        if len(np.unique(labels[rows])) == 2:
            model = LogisticRegression(solver="liblinear").fit(bits[train][rows], labels[rows])
            scores[:, task] = model.decision_function(bits[test])
    return _ranking(scores, targets[test])


def _parts(molecules: Molecules) -> tuple[slice, slice]:
    """The molecules to train and to test on."""
    if not molecules.dataset.fixed_test:
        raise ValueError(f'{molecules.dataset.name} is split by seed; read it with split="scaffold"')
    dataset = molecules.dataset
    test = len(dataset) - dataset.fixed_test
    return slice(0, test - dataset.fixed_valid), slice(test, len(dataset))


def _ranking(scores: np.ndarray, targets: np.ndarray) -> Ranking:
    return Ranking(mean_average_precision(scores, targets), mean_roc_auc(scores, targets))
