"""Networks that learned nothing: their training accuracy is at chance level."""

import pandas as pd

from widebasin.statistics.design import Design, check_once

# By how much of itself the most frequent of equally frequent classes may be above its share.
BALANCED = 0.08


def guessed(chance: float) -> float:
    """The largest accuracy that counts as guessing if the most frequent class is a fraction ``chance`` of the data.

    Either a twentieth of the way from guessing to perfect, or 1.5 times guessing, whichever is less.
    """
    return min(1.5 * chance, chance + 0.05 * (1 - chance))


def at_chance(results: pd.DataFrame, design: Design, chance: float) -> pd.Series:
    """For each network, whether its final training accuracy, on the training labels, is at chance level.

    Diverged networks have no accuracy and do not count. Label noise moves labels from frequent classes to rare ones, so
    networks with wrong labels are not tested unless classes are about equally frequent.

    Args:
        results: rows of results.parquet.
        design: a design whose metric is an accuracy.
        chance: accuracy of guessing.

    Raises:
        ValueError: if a network occurs twice in the results.
    """
    check_once(results, design.identity)
    stuck = results[design.column("train")].astype(float) <= guessed(chance)
    classes = round(1 / chance)
    if classes < 2 or abs(chance * classes - 1) > BALANCED:
        stuck &= results["label_noise"] == 0
    return stuck


def beyond_chance(trials: pd.DataFrame, results: pd.DataFrame, design: Design, chance: float | None) -> pd.DataFrame:
    """The trials of which not all networks ended at chance; all of them if it is not known what guessing reaches.

    Args:
        trials: rows with a ``parametrization``, ``width``, ``method``, ``learning_rate`` and ``rho``.
        results: rows of results.parquet.
        design: see ``at_chance``.
        chance: accuracy of guessing.
    """
    if chance is None:
        return trials
    by = ["parametrization", "width", "method", "learning_rate", "rho"]
    stuck = results.assign(stuck=at_chance(results, design, chance)).groupby(by)["stuck"].all().reset_index()
    trials = trials.merge(stuck, on=by)
    return trials[~trials["stuck"]].drop(columns="stuck")
