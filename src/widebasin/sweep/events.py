"""Events of a sweep, sent to every listener: a terminal, a log file, a tracker."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

# Trackers are named on the command line, whose help loads nothing of what trains.
if TYPE_CHECKING:
    from widebasin.sweep.cells import Cell
    from widebasin.training import EpochReport, Point


@dataclass(frozen=True)
class Started:
    """The sweep begins.

    Attributes:
        cells: all cells to train.
    """

    cells: "tuple[Cell, ...]"


@dataclass(frozen=True)
class GroupStarted:
    """A group of networks starts, from its first epoch or a checkpoint.

    Attributes:
        cell: cell of the group.
        group: its number within the cell.
        points: the points of its networks.
    """

    cell: "Cell"
    group: int
    points: "tuple[Point, ...]"

    @property
    def networks(self) -> int:
        """Number of networks."""
        return len(self.points)


@dataclass(frozen=True)
class Epoch:
    """An epoch of a group is done.

    Attributes:
        cell: cell of the group.
        group: its number within the cell.
        points: the points of its networks, in the order used in each metric.
        report: number, metrics and divergence.
    """

    cell: "Cell"
    group: int
    points: "tuple[Point, ...]"
    report: "EpochReport"

    @property
    def networks(self) -> int:
        """Number of networks."""
        return len(self.points)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint of a group was written.

    Attributes:
        cell: cell of the group.
        group: its number within the cell.
        epoch: epochs completed.
    """

    cell: "Cell"
    group: int
    epoch: int


@dataclass(frozen=True)
class GroupFinished:
    """A group is trained and its rows are written.

    Attributes:
        cell: cell of the group.
        group: its number within the cell.
        points: the points of its networks.
        before: whether it was finished before this run.
    """

    cell: "Cell"
    group: int
    points: "tuple[Point, ...]"
    before: bool = False

    @property
    def networks(self) -> int:
        """Number of networks."""
        return len(self.points)


@dataclass(frozen=True)
class Finished:
    """All groups are trained."""


@dataclass(frozen=True)
class Failed:
    """The sweep stopped before it was finished.

    Attributes:
        error: the reason, in one line.
    """

    error: str


Event = Started | GroupStarted | Epoch | Checkpoint | GroupFinished | Finished | Failed
Listener = Callable[[Event], None]


def to_all(listeners: Sequence[Listener]) -> Listener:
    """One listener that forwards events to all others, in order."""

    def tell(event: Event) -> None:
        for listener in listeners:
            listener(event)

    return tell
