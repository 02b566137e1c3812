"""Every way to read gains from one table of results: by which metric, at which epoch, chosen on which split."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

from widebasin.statistics.design import Design
from widebasin.statistics.gains import EPOCHS, SELECTIONS, NothingToPair, gain_table
from widebasin.statistics.metric import LOSS, Metric


@dataclass(frozen=True)
class Reading:
    """Gains as one choice of metric, split and epoch gives them.

    Attributes:
        metric: that the gains are of, and that chooses radii.
        select: split on which radii are chosen.
        at: epoch that is read; the ``best`` one is that of the metric that judges, whatever metric is read.
        gains: rows of ``gain_table``.
    """

    metric: Metric
    select: str
    at: str
    gains: pd.DataFrame


def metrics_in(results: pd.DataFrame, metrics: Sequence[Metric]) -> tuple[Metric, ...]:
    """Those of the metrics, and the loss after them, that a table of results has on both splits at both epochs."""
    every = metrics if LOSS.name in {metric.name for metric in metrics} else (*metrics, LOSS)
    return tuple(
        metric
        for metric in every
        if all(Design(metric, ()).column(part, at) in results for part in SELECTIONS for at in EPOCHS)
    )


def readings(results: pd.DataFrame, design: Design, metrics: Sequence[Metric]) -> tuple[Reading, ...]:
    """The gains of every metric at every epoch, with radii chosen on every split.

    Args:
        results: rows of results.parquet.
        design: setting and baseline; its metric is replaced by each of those given.
        metrics: that the results have columns of.

    Returns:
        Metric by metric, within one epoch by epoch; without those in which there is nothing to pair, all of them where
        the baseline is missing.

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
