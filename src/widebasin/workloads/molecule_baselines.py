"""Simple baselines on molecules, which are reported with every result."""

import logging
from typing import NamedTuple

import numpy as np

from widebasin.data.molecules import Molecules, fingerprints
from widebasin.shown import shown
from widebasin.statistics.ranking import MISSING, mean_average_precision, mean_roc_auc

# Up to here, fingerprints take a few seconds.
FEW = 10_000
LOGGER = logging.getLogger("widebasin")


class Ranking(NamedTuple):
    """Metrics on the test part, averaged over tasks; NaN if no task has both classes there."""

    mean_average_precision: float
    mean_roc_auc: float


def constant(molecules: Molecules) -> Ranking:
    """Scores every molecule with the fraction of positives among the known training labels of the task.

    Its average precision is the fraction of positives among the known test labels, and its ROC-AUC is 1/2.

    Raises:
        ValueError: if the split is drawn by seed.
    """
    train, test = _parts(molecules)
    targets = np.asarray(molecules.dataset.targets)
    known = targets[train] != MISSING
    shares = (targets[train] == 1).sum(0) / np.maximum(known.sum(0), 1)
    return _ranking(np.broadcast_to(shares, targets[test].shape), targets[test])


def fingerprint_logistic_regression(molecules: Molecules) -> Ranking:
    """One logistic regression per task, on Morgan fingerprints (radius 2, 2,048 bits) of molecules with known labels.

    A task with only one class among its known training labels gets a constant score.

    Raises:
        DataError: if rdkit is not installed.
        ValueError: if the split is drawn by seed, or the SMILES are unknown.
    """
    from sklearn.linear_model import LogisticRegression

    train, test = _parts(molecules)
    if not molecules.smiles:
        raise ValueError(f"fingerprints need SMILES, but those of {molecules.dataset.name} are unknown")
    targets = np.asarray(molecules.dataset.targets)
    if len(targets) > FEW:
        LOGGER.info(
            shown(
                f"{molecules.dataset.name}: training logistic regressions on fingerprints of {len(targets):,} "
                "molecules to compare with, which may take minutes"
            )
        )
    bits = fingerprints(molecules.smiles)
    train_bits, test_bits = bits[train], bits[test]
    scores = np.zeros(targets[test].shape)
    for task, labels in enumerate(targets[train].T):
        rows = np.nonzero(labels != MISSING)[0]
        if len(np.unique(labels[rows])) == 2:
            model = LogisticRegression(solver="liblinear").fit(train_bits[rows], labels[rows])
            scores[:, task] = model.decision_function(test_bits)
    return _ranking(scores, targets[test])


def _parts(molecules: Molecules) -> tuple[slice, slice]:
    """The training and the test molecules."""
    if not molecules.dataset.fixed_test:
        raise ValueError(f'the split of {molecules.dataset.name} is random; read it with split="scaffold"')
    dataset = molecules.dataset
    test = len(dataset) - dataset.fixed_test
    return slice(0, test - dataset.fixed_valid), slice(test, len(dataset))


def _ranking(scores: np.ndarray, targets: np.ndarray) -> Ranking:
    return Ranking(mean_average_precision(scores, targets), mean_roc_auc(scores, targets))
