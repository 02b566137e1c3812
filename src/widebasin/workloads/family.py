"""Families of workloads: one model and recipe for data of the user's choice, ``NAME:DATA``."""

from collections.abc import Callable
from dataclasses import dataclass

from widebasin.workloads.workload import Workload


@dataclass(frozen=True)
class Family:
    """A model and a recipe for many data sets; ``--workload NAME:DATA`` takes one of them.

    Attributes:
        name: the part before the colon.
        data: what may follow the colon, for messages.
        of: function from the part after the colon to the workload. Raises ``DataError`` if the data cannot be read, and
            ``ValueError`` if there are no such data.
    """

    name: str
    data: str
    of: Callable[[str], Workload]
