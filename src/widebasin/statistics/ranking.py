"""How well scores rank the examples of several binary tasks, where labels are missing."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int

MISSING = -1


def mean_average_precision(
    scores: Float[np.ndarray, "examples tasks"], targets: Int[np.ndarray, "examples tasks"]
) -> float:
    """Mean of the tasks' average precision.

    Only known labels count, and only tasks in which both classes are known; NaN if there is none.

    Args:
        scores: higher for what is more likely positive.
        targets: 0, 1, or -1 where missing.

    Raises:
        ValueError: if shapes differ, a target is something else, or a score of a known label is not finite.

    Source: Hu et al. 2020, "Open Graph Benchmark" (arXiv 2005.00687), for ogbg-molpcba.
    """
    from sklearn.metrics import average_precision_score

    return _mean(average_precision_score, scores, targets)


def mean_roc_auc(scores: Float[np.ndarray, "examples tasks"], targets: Int[np.ndarray, "examples tasks"]) -> float:
    """Mean of the tasks' area under the receiver operating characteristic; else as ``mean_average_precision``.

    Raises:
        ValueError: as ``mean_average_precision``.

    Source: Wu et al. 2018, "MoleculeNet" (arXiv 1703.00564).
    """
    from sklearn.metrics import roc_auc_score

    return _mean(roc_auc_score, scores, targets)


def _mean(metric: Callable[[np.ndarray, np.ndarray], float], scores: np.ndarray, targets: np.ndarray) -> float:
    scores, targets = np.asarray(scores, float), np.asarray(targets)
    if scores.ndim != 2 or scores.shape != targets.shape:
        raise ValueError(f"scores and targets must both be [examples, tasks], got {scores.shape} and {targets.shape}")
    if not np.isin(targets, (MISSING, 0, 1)).all():
        wrong = targets[~np.isin(targets, (MISSING, 0, 1))][0]
        raise ValueError(f"targets must be 0, 1, or {MISSING} where missing, got {wrong}")
    known = targets != MISSING
    if not np.isfinite(scores[known]).all():
        raise ValueError("scores must be finite where labels are known, got NaN or infinity; leave such a network out")
    values = [
        float(metric(labels, column[there]))
        for column, there, labels in ((c, k, t[k]) for c, k, t in zip(scores.T, known.T, targets.T, strict=True))
        if labels.min(initial=1) == 0 and labels.max(initial=0) == 1
    ]
    return float(np.mean(values)) if values else float("nan")
