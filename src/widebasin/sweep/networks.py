"""Finds and loads trained networks of a sweep whose parameters were kept."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, PyTree

from widebasin.sweep.cells import Cell, cells
from widebasin.sweep.errors import SweepError, UsageError
from widebasin.sweep.folder import ResultsFolder
from widebasin.sweep.rows import PARAMETERS
from widebasin.sweep.spec import Resolved
from widebasin.training import (
    Checkpoints,
    Point,
    ProximalPolicy,
    Supervised,
    computing_in,
    initialization_key,
)


@dataclass(frozen=True)
class TrainedNetwork:
    """One network of a sweep.

    Attributes:
        model: the Equinox module with its final parameters, for one example; ``jax.vmap`` it over a batch, within
            ``jax.enable_x64(True)`` if it was trained in float64. It computes ``f(w)`` even if ``alpha (f(w) - f(w0))``
            was trained.
        cell: workload, width, method and recipe.
        point: seed, radius and other settings it was trained with, by the name of the axis.
        examples: the ``training.Examples`` of ``problem.dataset`` that it was trained, validated and tested on, and the
            training targets, wrong labels included; ``None`` for an agent, which has no data set.
    """

    model: eqx.Module
    cell: Cell
    point: Point
    examples: Any

    def initial_model(self) -> Any:
        """The model before training and before pruning."""
        with computing_in(self.cell.recipe.precision):
            problem = _with_model(self.cell)
            return _model(problem, self.point, *problem.init(initialization_key(self.point.seed)))

    @property
    def problem(self) -> Supervised:
        """Data, model and objective, without wrappers such as pruning; of an agent its ``ProximalPolicy``."""
        return _with_model(self.cell)  # pyright: ignore[reportReturnType] (agents are for those who have trained one)


@dataclass(frozen=True)
class StoredNetwork:
    """A network of a sweep on disk, not loaded yet.

    Attributes:
        folder: the results folder.
        cell: see ``TrainedNetwork``.
        point: see ``TrainedNetwork``.
        parameters: where its parameters are stored, see ``results_rows``; empty if they were not kept.
        together: number of networks stored there.
        number: number of its row in the results of the whole sweep.
    """

    number: int
    folder: ResultsFolder
    cell: Cell
    point: Point
    parameters: str
    together: int

    def load(self) -> TrainedNetwork:
        """Reads its parameters.

        Raises:
            SweepError: if they were not kept.
            CheckpointError: if they are damaged.
        """
        # As they were trained, whatever the precision of the work at hand.
        with computing_in(self.cell.recipe.precision):
            return self._load()

    def _load(self) -> TrainedNetwork:
        problem = _with_model(self.cell)
        shapes = (problem.network.shapes, problem.network.state_shapes)
        like = jax.tree.map(lambda leaf: np.zeros((self.together, *leaf.shape), leaf.dtype), shapes)
        place, _, position = self.parameters.rpartition(":")
        kept = Checkpoints(self.folder.path / place).restore(like) if place else None
        if kept is None:
            raise SweepError(
                f"{self.folder.path} keeps no parameters of this network; run the command of this sweep again with "
                "--keep-parameters"
            )
        return TrainedNetwork(
            model=_model(problem, self.point, *jax.tree.map(lambda leaf: jnp.asarray(leaf[int(position)]), kept)),
            cell=self.cell,
            point=self.point,
            examples=problem.examples_of(self.point) if isinstance(problem, Supervised) else None,
        )


def _model(problem: Supervised | ProximalPolicy, point: Point, params: PyTree, state: list[Array]) -> Any:
    """The model of a point, called with the point's values."""
    given = {name: float(point[name]) for name in problem.given} if isinstance(problem, Supervised) else {}
    return problem.network.inference_model(params, state, given)


def _with_model(cell: Cell) -> Supervised | ProximalPolicy:
    """The problem of a cell, whose networks are models of one example or of one observation.

    Raises:
        UsageError: if they are not.
    """
    problem = cell.problem().plain
    return problem if isinstance(problem, ProximalPolicy) else supervised(cell)


def supervised(cell: Cell) -> Supervised:
    """The supervised problem of a cell.

    Raises:
        UsageError: if the workload is not a data set of examples.
    """
    problem = cell.problem().plain
    if not isinstance(problem, Supervised):
        raise UsageError(
            "workload", cell.workload, "must be a data set of examples; agents are not measured or imported"
        )
    return problem


def stored_networks(path: Path | str, **which: float | int | str) -> list[StoredNetwork]:
    """The trained networks of a results folder in the order of its tables, all or a selection.

    For an unfinished sweep, the networks trained so far.

    Args:
        path: the results folder.
        which: see ``load_network``.

    Raises:
        UsageError: if the folder contains no sweep, or no such network.
        SweepError: if it is damaged.
    """
    folder = ResultsFolder(Path(path), "folder")
    spec = folder.spec()
    results = _trained(folder, spec)
    names = [axis.name for axis in spec.axes]
    for name in which:
        if name not in names:
            raise UsageError("network", name, f"is not a property of networks; give {', '.join(names)}")
    chosen = np.ones(len(results), bool)
    for name, value in which.items():
        chosen &= (results[name] == value).to_numpy()
    if not chosen.any():
        raise UsageError("network", which, f"matches no network of {path}. {_choice(results, names)}")
    # Rows are numbered as the networks of the cells, in their order.
    networks = [(cell, point) for cell in cells(spec) for point in cell.points]
    places = results[PARAMETERS].str.rpartition(":")[0]
    together = places.map(places.value_counts())
    found = []
    for number in map(int, results.index[chosen]):
        cell, point = networks[number]
        found.append(StoredNetwork(number, folder, cell, point, results[PARAMETERS][number], int(together[number])))
    return found


def _trained(folder: ResultsFolder, spec: Resolved) -> pd.DataFrame:
    """The results of the trained networks."""
    return folder.results() if folder.is_finished() else folder.finished_results(spec)


def load_network(path: Path | str, **which: float | int | str) -> TrainedNetwork:
    """A trained network from a results folder that keeps parameters (``widebasin train``, or ``--keep-parameters``).

    Args:
        path: the results folder.
        which: what identifies the network in the sweep, by columns of its results: ``width``, ``method``, ``rho``,
            ``seed``, ``sparsity``, ``pruner``, ``output_scale``, ``label_noise``, ``weight_decay``, ``learning_rate``,
            and the workload's own axes. A column may be left out if the sweep has only one value.

    Raises:
        UsageError: if the folder contains no sweep, or not exactly one such network.
        SweepError: if its parameters were not kept, or it is damaged.
        CheckpointError: if its parameters are damaged.

    Example:
        >>> network = load_network("results/overparam", width=64, method="sam", rho=0.2, seed=0)  # doctest: +SKIP
        >>> logits = jax.vmap(network.model)(inputs)  # doctest: +SKIP
    """
    found = stored_networks(path, **which)
    if len(found) != 1:
        spec = found[0].folder.spec()
        results = _trained(found[0].folder, spec)
        for name, value in which.items():
            results = results[results[name] == value]
        several = _choice(results, [axis.name for axis in spec.axes])
        raise UsageError("network", which, f"must identify one network of {path}, but {len(found)} match. {several}")
    return found[0].load()


def _choice(results: pd.DataFrame, names: list[str]) -> str:
    """The columns that distinguish networks, with their values."""
    values = {name: results[name].unique().tolist() for name in names}
    return "There are " + "; ".join(f"{name} {' '.join(map(str, several))}" for name, several in values.items()) + "."
