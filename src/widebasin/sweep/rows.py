"""Builds the rows of the tables of results from trained networks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from widebasin.statistics import recorded
from widebasin.sweep.cells import Cell, parts
from widebasin.sweep.spec import Resolved
from widebasin.training import Plan, Point, Trained
from widebasin.workloads import WORKLOADS

PARAMETERS = "parameters"


def results_rows(cell: Cell, trained: Trained, parameters: str = "") -> pd.DataFrame:
    """One row per network.

    Columns: the identity of the network (``workload`` ... ``epochs``; ``num_params`` counts the unpruned parameters);
    ``train_*``, ``valid_*`` and ``test_*`` with the final parameters, ``train_*`` over the whole training set with the
    labels it was trained on; ``best_valid_epoch`` (from 1), the first epoch with the best validation metric, the last
    if it has no value at any, and ``best_valid_*``, ``best_test_*`` at that epoch; ``diverged`` and ``diverged_epoch``
    (0 if it did not diverge); ``seconds``, the group's wall time divided by the number of its networks; ``parameters``,
    where its parameters are stored: the folder of its group, a colon and the position in it, empty if they are not
    kept.

    Args:
        cell: the cell of the networks.
        trained: the trained group.
        parameters: the folder of the group's parameters, relative to the results folder; empty if there is none.
    """
    metrics = WORKLOADS[cell.workload].metrics
    names = recorded(metrics)
    last = cell.recipe.epochs - 1
    chosen = trained.history[f"valid_{metrics[0].name}"].astype(np.float64)
    worst = np.nan_to_num(chosen if metrics[0].higher_is_better else -chosen, nan=-np.inf)
    # Without a value at any epoch, none is better than the last.
    best = np.where(np.isnan(chosen).all(axis=1), last, worst.argmax(axis=1))
    table = identity_rows(cell, trained.points)
    table["epochs"] = cell.recipe.epochs
    for name in names:
        table[f"train_{name}"] = trained.final[f"train_{name}"]
    for part in ("valid", "test"):
        for name in names:
            table[f"{part}_{name}"] = trained.history[f"{part}_{name}"][:, last]
    table["best_valid_epoch"] = best.astype(np.int64) + 1
    for part in ("valid", "test"):
        for name in names:
            values = trained.history[f"{part}_{name}"]
            table[f"best_{part}_{name}"] = np.take_along_axis(values, best[:, None], axis=1)[:, 0]
    table["diverged"] = trained.diverged_epoch > 0
    table["diverged_epoch"] = trained.diverged_epoch.astype(np.int64)
    table["seconds"] = trained.seconds / len(trained.points)
    table[PARAMETERS] = [f"{parameters}:{position}" if parameters else "" for position in range(len(trained.points))]
    return table


def history_rows(cell: Cell, trained: Trained) -> pd.DataFrame:
    """One row per network and epoch (from 1).

    ``train_*`` are averages over the epoch's clean passes, while the parameters move; ``gradient_norm`` is the mean
    norm of the applied gradients; ``valid_*`` and ``test_*`` are measured at the epoch's end.
    """
    epochs = cell.recipe.epochs
    identity = identity_rows(cell, trained.points)
    table = identity.loc[identity.index.repeat(epochs)].reset_index(drop=True)
    table["epoch"] = np.tile(np.arange(1, epochs + 1), len(identity))
    for name, values in trained.history.items():
        table[name] = values.ravel()
    return table


def identity_rows(cell: Cell, points: Sequence[Point]) -> pd.DataFrame:
    """The identity of networks, one row per network: the columns that link the rows of all tables."""
    table = pd.DataFrame(_identities(cell.workload, cell.width, cell.method, cell.settings.own, points))
    table.insert(1, "model", WORKLOADS[cell.workload].model)
    table.insert(3, "num_params", [cell.num_params(point) for point in points])
    return table


def rows_of_spec(spec: Resolved) -> pd.DataFrame:
    """The rows that the results of a spec must have, with the columns known from the spec: axes and epochs."""
    return pd.concat(
        [_expected(spec.workload, part.width, part.method, part.own, part.points, part.epochs) for part in parts(spec)],
        ignore_index=True,
    )


@dataclass(frozen=True)
class Groups:
    """The groups of networks of a cell, and the rows that they must have.

    Attributes:
        cell: name of the cell.
        expected: the rows of ``rows_of_spec`` of all its networks, group after group.
        starts: where each group begins in ``expected``, and where the last one ends.
    """

    cell: str
    expected: pd.DataFrame
    starts: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.starts) - 1

    def length(self, number: int, part: str) -> int:
        """Number of rows of a group in ``results`` or ``history``."""
        start, end = self.starts[number], self.starts[number + 1]
        return end - start if part == "results" else int(self.expected["epochs"].to_numpy()[start:end].sum())

    def rows(self, numbers: Sequence[int]) -> pd.DataFrame:
        """The expected rows of some groups."""
        places = [np.arange(self.starts[number], self.starts[number + 1]) for number in numbers]
        return self.expected.iloc[np.concatenate(places)]


def groups_of(cell: Cell, plan: Plan) -> Groups:
    """The groups of a cell under a plan."""
    sizes = [len(points) for points in plan.groups(cell.points)]
    expected = _expected(cell.workload, cell.width, cell.method, cell.settings.own, cell.points, cell.recipe.epochs)
    return Groups(cell.name, expected, tuple(np.cumsum([0, *sizes]).tolist()))


def _expected(
    workload: str, width: int, method: str, own: Sequence[tuple[str, Any]], points: Sequence[Point], epochs: int
) -> pd.DataFrame:
    return pd.DataFrame(_identities(workload, width, method, own, points)).assign(epochs=epochs)


def _identities(
    workload: str, width: int, method: str, own: Sequence[tuple[str, Any]], points: Sequence[Point]
) -> list[dict[str, Any]]:
    cell = {"workload": workload, "width": width, "method": method}
    return [cell | dict(point.axes) | dict(own) | {"seed": point.seed} for point in points]
