"""The tables of a finished sweep that an answer needs."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pandas as pd

from widebasin.report.wording import Wording
from widebasin.statistics import Design
from widebasin.statistics.gains import best_trials
from widebasin.studies.study import Options
from widebasin.sweep.description import Description

# What makes networks comparable, besides the axes of their sweep.
PROBLEM = ("workload", "width", "num_params")


@dataclass(frozen=True)
class Tables:
    """The tables of a finished sweep.

    Attributes:
        results: one row per network.
        history: one row per network and epoch.
        description: the description of the sweep.
        measured: name of an instrument -> its measurements of the networks.
        trials: for a sweep with tuned settings, the trial chosen for every setting and method, and the number
            of ``trials``; the other tables have only networks with the chosen values.
    """

    results: pd.DataFrame
    history: pd.DataFrame
    description: Description
    measured: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    trials: pd.DataFrame | None = None

    @property
    def design(self) -> Design:
        """Which networks are compared, and by which metric."""
        return design_of(self.description)

    @property
    def wording(self) -> Wording:
        """How a report describes the networks."""
        axes, methods = (*self.description.axes, *self.description.tuned), self.description.methods
        return Wording(
            self.design,
            titles={name: method.title for name, method in methods.items()},
            phrases={axis.column: axis.phrase for axis in axes},
            percent=frozenset(axis.column for axis in axes if axis.percent),
        )


def design_of(description: Description) -> Design:
    """Which networks in a sweep's tables are compared."""
    return Design(description.metric, (*PROBLEM, *(axis.column for axis in description.axes)))


def tables_of(
    results: pd.DataFrame, history: pd.DataFrame, description: Description, options: Options | None
) -> Tables:
    """The tables of a sweep, of which only the chosen values of tuned settings are left.

    Args:
        results: one row per network.
        history: one row per network and epoch.
        description: the description of the sweep.
        options: where trials are chosen; ``None`` keeps all networks, in settings of their own.
    """
    tuned = [axis.column for axis in description.tuned]
    if not tuned:
        return Tables(results, history, description)
    if options is None:
        return Tables(results, history, replace(description, axes=(*description.axes, *description.tuned), tuned=()))
    design = design_of(description)
    by, trial = [*design.setting, "method"], ("rho", *tuned)
    counts = results[[*by, *trial]].drop_duplicates().groupby(by).size().rename("trials").reset_index()
    trials = best_trials(results, design, trial, options.select, options.at).merge(counts, on=by)
    chosen = trials[[*by, *tuned]]
    results, history = (table.merge(chosen, on=list(chosen)) for table in (results, history))
    return Tables(results, history, description, trials=trials)
