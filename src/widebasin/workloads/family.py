"""Workloads of one model and recipe on data of the user's choice, ``NAME:DATA``."""

from collections.abc import Callable
from dataclasses import dataclass

from widebasin.workloads.workload import Workload


@dataclass(frozen=True)
class Family:
    """A model and a recipe for many data sets; ``--workload NAME:DATA`` takes one of them.

    Attributes:
        name: what stands before the colon.
        data: what may stand behind it, for messages.
        of: what stands behind it -> the workload. It may raise ``DataError``, and ``ValueError`` for what is no data.
    """

    name: str
    data: str
    of: Callable[[str], Workload]
