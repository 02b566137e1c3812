"""All gains in one table of results: by metric, by epoch, and by the split that chooses radii."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

from widebasin.statistics.design import Design
from widebasin.statistics.gains import EPOCHS, SELECTIONS, NothingToPair, gain_table
from widebasin.statistics.metric import LOSS, Metric


@dataclass(frozen=True)
class Reading:
    """The gains for one choice of metric, split and epoch.

    Attributes:
        metric: the metric of the gains, which also chooses radii.
        select: split on which radii are chosen.
        at: the epoch; ``best`` is always the best epoch by the main metric.
        gains: rows of ``gain_table``.
    """

    metric: Metric
    select: str
    at: str
    gains: pd.DataFrame


def metrics_in(results: pd.DataFrame, metrics: Sequence[Metric]) -> tuple[Metric, ...]:
    """The metrics, followed by the loss, that a table of results has values of on both splits at both epochs.

    The first one, by which networks are judged, is there even if no network has a value of it.
    """
    every = metrics if LOSS.name in {metric.name for metric in metrics} else (*metrics, LOSS)
    return tuple(
        metric
        for metric in every
        if metric is every[0]
        or all(_known(results, Design(metric, ()).column(part, at)) for part in SELECTIONS for at in EPOCHS)
    )


def _known(results: pd.DataFrame, column: str) -> bool:
    """Whether networks have values in a column, unless all diverged."""
    return column in results and bool(results[column].notna().any() or results["diverged"].all())


def readings(results: pd.DataFrame, design: Design, metrics: Sequence[Metric]) -> tuple[Reading, ...]:
    """The gains of every metric at every epoch, with radii chosen on every split.

    Args:
        results: rows of results.parquet.
        design: setting and baseline; its metric is replaced by each of ``metrics``.
        metrics: metrics with columns in the results.

    Returns:
        The readings, ordered by metric, then epoch. Readings with nothing to pair are left out; all are, if the
        baseline is missing.

    Raises:
        ValueError: if the table has a network twice.
    """
    found = []
    for metric in metrics:
        for at in EPOCHS:
            for select in SELECTIONS:
                with contextlib.suppress(NothingToPair):
                    gains = gain_table(results, replace(design, metric=metric), select, at)
                    found.append(Reading(metric, select, at, gains))
    return tuple(found)
