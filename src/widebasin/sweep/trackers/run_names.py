"""Names of networks and metrics for trackers that keep one run per network."""

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from widebasin.sweep.cells import Cell
    from widebasin.training import EpochReport, Point

PARTS = ("train", "valid", "test")
# In every name.
NAMED = ("method", "rho", "seed")


class RunNames:
    """Names networks by width, method, radius, seed and other varying axes: ``width-4/sam/rho-0.05/seed-0``.

    Names are unique in a sweep, and do not change when the sweep is extended by values of other axes.

    Args:
        cells: the cells of the whole sweep.
    """

    def __init__(self, cells: "Sequence[Cell]") -> None:
        values: dict[str, set[Any]] = {}
        self._varied: dict[int, list[str]] = {}
        for stage, of_stage in itertools.groupby(sorted(cells, key=lambda cell: cell.stage), lambda cell: cell.stage):
            for cell in of_stage:
                for axis, value in itertools.chain(cell.settings.own, *(point.axes for point in cell.points)):
                    values.setdefault(axis, set()).add(value)
            self._varied[stage] = [axis for axis, found in values.items() if len(found) > 1 and axis not in NAMED]

    def __call__(self, cell: "Cell", point: "Point") -> str:
        """The name of a network."""
        from widebasin.sweep.cells import file_name

        values = dict(cell.settings.own) | dict(point.axes)
        others = [f"{axis}-{file_name(str(values[axis]))}" for axis in self._varied[cell.stage]]
        radius = [] if point["method"] == "sgd" else [f"rho-{point['rho']}"]
        return "/".join([f"width-{cell.width}", *others, point["method"], *radius, f"seed-{point.seed}"])


def scalars(report: "EpochReport", network: int) -> dict[str, float]:
    """The finite metrics of one network of a group: ``train/loss``, ``valid/accuracy``, ``gradient_norm``."""
    values = {_tag(name): float(metric[network]) for name, metric in report.metrics.items()}
    return {name: value for name, value in values.items() if math.isfinite(value)}


def _tag(name: str) -> str:
    part, _, metric = name.partition("_")
    return f"{part}/{metric}" if part in PARTS and metric else name
