"""Networks that learned nothing: their training accuracy is that of guessing."""

import pandas as pd

from widebasin.statistics.design import Design, check_once

# By how much of itself the most frequent of equally frequent classes may be above its share.
BALANCED = 0.08


def guessed(chance: float) -> float:
    """The largest accuracy that is taken for guessing, where the most frequent class has a share of ``chance``.

    A twentieth of the way from guessing to perfect, and half as much again as guessing, whichever is less.
    """
    return min(1.5 * chance, chance + 0.05 * (1 - chance))


def at_chance(results: pd.DataFrame, design: Design, chance: float) -> pd.Series:
    """Of which networks the final training accuracy, with the labels trained on, is that of guessing.

    A network that diverged has none, and is not meant. Noise moves labels of frequent classes to rare ones: of classes
    that are not about equally frequent, networks with wrong labels are not judged.

    Args:
        results: rows of results.parquet.
        design: whose metric is an accuracy.
        chance: what guessing reaches.

    Raises:
        ValueError: if a network is in the results twice.
    """
    check_once(results, design.identity)
    stuck = results[design.column("train")].astype(float) <= guessed(chance)
    classes = round(1 / chance)
    if classes < 2 or abs(chance * classes - 1) > BALANCED:
        stuck &= results["label_noise"] == 0
    return stuck
