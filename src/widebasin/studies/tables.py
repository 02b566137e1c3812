"""The tables of a finished sweep that an answer needs."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

from widebasin.report.wording import Wording
from widebasin.statistics import Design
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
    """

    results: pd.DataFrame
    history: pd.DataFrame
    description: Description
    measured: Mapping[str, pd.DataFrame] = field(default_factory=dict)

    @property
    def design(self) -> Design:
        """Which networks are compared, and by which metric."""
        return design_of(self.description)

    @property
    def wording(self) -> Wording:
        """How a report describes the networks."""
        axes, methods = self.description.axes, self.description.methods
        return Wording(
            self.design,
            titles={name: method.title for name, method in methods.items()},
            phrases={axis.column: axis.phrase for axis in axes},
            percent=frozenset(axis.column for axis in axes if axis.percent),
        )


def design_of(description: Description) -> Design:
    """Which networks in a sweep's tables are compared."""
    return Design(description.metric, (*PROBLEM, *(axis.column for axis in description.axes)))
