"""Trained networks of a sweep whose parameters were kept: finding one and using it."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from widebasin.sweep.cells import Cell, cells
from widebasin.sweep.errors import SweepError, UsageError
from widebasin.sweep.folder import ResultsFolder
from widebasin.sweep.spec import resolve
from widebasin.training import Checkpoints, Examples, Plan, Replicate, computing_in, examples_of, initialization_key


@dataclass(frozen=True)
class TrainedNetwork:
    """One network of a sweep.

    Attributes:
        model: the Equinox module with its final parameters, for one example; ``jax.vmap`` it over a batch, within
            ``jax.enable_x64(True)`` if it was trained in float64. It is ``f(w)`` also where ``alpha (f(w) - f(w0))``
            was trained.
        cell: workload, width, method and recipe.
        replicate: radius, seed and what else it was trained with.
        examples: which examples of ``cell.task().dataset`` it was trained, validated and tested on, and the targets
            that it was trained on, wrong labels included.
    """

    model: eqx.Module
    cell: Cell
    replicate: Replicate
    examples: Examples

    def initial_model(self) -> Any:
        """The model as it was before training, and before it was pruned."""
        network = self.cell.task().network
        with computing_in(self.cell.recipe.precision):
            return network.inference_model(*network.initialize(initialization_key(self.replicate.seed)))


@dataclass(frozen=True)
class StoredNetwork:
    """A network of a sweep on disk, not loaded yet.

    Attributes:
        folder: the results folder.
        cell: see ``TrainedNetwork``.
        replicate: see ``TrainedNetwork``.
        group: number of the group of networks that it was trained in, and how many they are.
        position: within the group.
    """

    folder: ResultsFolder
    cell: Cell
    replicate: Replicate
    group: tuple[int, int]
    position: int

    def load(self) -> TrainedNetwork:
        """Reads its parameters.

        Raises:
            SweepError: if they were not kept or are damaged, or the sweep is not finished.
        """
        number, size = self.group
        if not self.folder.finished(self.cell.name, number):
            raise SweepError(f"the sweep in {self.folder.path} is not finished; run it again to continue")
        # As they were trained, whatever the precision of the work at hand.
        with computing_in(self.cell.recipe.precision):
            return self._load(number, size)

    def _load(self, number: int, size: int) -> TrainedNetwork:
        task = self.cell.task()
        shapes = (task.network.shapes, task.network.state_shapes)
        like = jax.tree.map(lambda leaf: np.zeros((size, *leaf.shape), leaf.dtype), shapes)
        kept = Checkpoints(self.folder.group(self.cell.name, number, "parameters")).restore(like)
        if kept is None:
            raise SweepError(f"{self.folder.path} keeps no parameters of this network; train it with --keep-parameters")
        return TrainedNetwork(
            model=task.network.inference_model(*jax.tree.map(lambda leaf: jnp.asarray(leaf[self.position]), kept)),
            cell=self.cell,
            replicate=self.replicate,
            examples=jax.tree.map(lambda leaf: leaf[0], examples_of(task, [self.replicate])),
        )


def stored_networks(path: Path | str, **which: float | int | str) -> list[StoredNetwork]:
    """The networks of a results folder in the order of its tables, all or those that are meant.

    Args:
        path: the results folder.
        which: see ``load_network``.

    Raises:
        UsageError: if the folder holds no sweep, or no such network.
    """
    folder = ResultsFolder(Path(path))
    grid = cells(resolve(folder.spec()))
    found = [
        StoredNetwork(folder, cell, replicate, (number, len(group)), position)
        for cell in grid
        for number, group in enumerate(Plan(**folder.run_record()["plans"][cell.name]).groups(cell.replicates))
        for position, replicate in enumerate(group)
        if all(_attribute(cell, replicate, name) == value for name, value in which.items())
    ]
    if not found:
        everything = [(cell, replicate) for cell in grid for replicate in cell.replicates]
        raise UsageError("network", which, f"names no network of {path}. {_choice(everything)}")
    return found


def load_network(path: Path | str, **which: float | int | str) -> TrainedNetwork:
    """A trained network from a results folder that keeps parameters (``widebasin train``, or ``--keep-parameters``).

    Args:
        path: the results folder.
        which: what tells the network from the others of the sweep: ``width``, ``method``, ``rho``, ``seed``,
            ``sparsity``, ``pruner``, ``output_scale``, ``label_noise``, ``weight_decay``, ``learning_rate``. May be
            left out where the sweep has one value.

    Raises:
        UsageError: if the folder holds no sweep, or not exactly one such network.
        SweepError: if its parameters were not kept or are damaged.

    Example:
        >>> network = load_network("results/overparam", width=64, method="sam", rho=0.2, seed=0)  # doctest: +SKIP
        >>> logits = jax.vmap(network.model)(inputs)  # doctest: +SKIP
    """
    found = stored_networks(path, **which)
    if len(found) != 1:
        several = _choice([(one.cell, one.replicate) for one in found])
        raise UsageError("network", which, f"must name one network of {path}; {len(found)} are like that. {several}")
    return found[0].load()


def _choice(networks: list[tuple[Cell, Replicate]]) -> str:
    """What tells networks apart, and its values."""
    names = ("width", "method", *(field.name for field in fields(Replicate)))
    values = {name: dict.fromkeys(_attribute(*network, name) for network in networks) for name in names}
    return "There are " + "; ".join(f"{name} {' '.join(map(str, several))}" for name, several in values.items()) + "."


def _attribute(cell: Cell, replicate: Replicate, name: str) -> float | int | str:
    """A property of a network by its name."""
    for owner in (cell, replicate):
        if hasattr(owner, name):
            return getattr(owner, name)
    raise UsageError("network", name, "is no property; give width, method, rho, seed, label_noise, ...")
