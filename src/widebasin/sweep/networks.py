"""Trained networks of a sweep whose parameters were kept: finding one and using it."""

from dataclasses import dataclass
from pathlib import Path

import equinox as eqx
import jax
import numpy as np

from widebasin.data import Split, key_for, split_examples
from widebasin.sweep.cells import Cell, cells
from widebasin.sweep.errors import SweepError, UsageError
from widebasin.sweep.folder import ResultsFolder
from widebasin.sweep.spec import resolve
from widebasin.training import Checkpoints, Plan, Replicate


@dataclass(frozen=True)
class TrainedNetwork:
    """One network of a sweep.

    Attributes:
        model: the Equinox module with its final parameters, for one example; ``jax.vmap`` it over a batch.
        cell: workload, width, method and recipe.
        replicate: radius, seed and what else it was trained with.
        split: which examples of ``cell.task().dataset`` it was trained, validated and tested on.
    """

    model: eqx.Module
    cell: Cell
    replicate: Replicate
    split: Split


def load_network(path: Path | str, **which: float | int | str) -> TrainedNetwork:
    """A trained network from a results folder that keeps parameters (``widebasin train``, or ``--keep-parameters``).

    Args:
        path: the results folder.
        which: what tells the network from the others of the sweep: ``width``, ``method``, ``rho``, ``seed``,
            ``label_noise``, ``weight_decay``, ``learning_rate``. May be left out where the sweep has one value.

    Raises:
        UsageError: if the folder holds no sweep, or not exactly one such network.
        SweepError: if its parameters were not kept or are damaged.

    Example:
        >>> network = load_network("results/overparam", width=64, method="sam", rho=0.2, seed=0)  # doctest: +SKIP
        >>> logits = jax.vmap(network.model)(inputs)  # doctest: +SKIP
    """
    folder = ResultsFolder(Path(path))
    grid = cells(resolve(folder.spec()))
    found = [
        (cell, number, position, group)
        for cell in grid
        for number, group in enumerate(Plan(**folder.run_record()["plans"][cell.name]).groups(cell.replicates))
        for position, replicate in enumerate(group)
        if all(_attribute(cell, replicate, name) == value for name, value in which.items())
    ]
    if len(found) != 1:
        raise UsageError(
            "network", which, f"must name one network of {path}; {len(found)} are like that. {_choice(grid)}"
        )
    ((cell, number, position, group),) = found
    task = cell.task()
    abstract = eqx.filter_eval_shape(task.build, jax.random.key(0))
    is_parameter = lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct)  # noqa: E731
    shapes, static = eqx.partition(abstract, is_parameter)
    like = jax.tree.map(lambda leaf: np.zeros((len(group), *leaf.shape), leaf.dtype), shapes)
    params = Checkpoints(folder.group(cell.name, number, "parameters")).restore(like)
    if params is None:
        raise SweepError(f"{path} keeps no parameters of this network; train it with --keep-parameters")
    replicate = group[position]
    split_key = key_for(jax.random.key(replicate.seed), "split")
    return TrainedNetwork(
        model=eqx.combine(jax.tree.map(lambda leaf: leaf[position], params), static),
        cell=cell,
        replicate=replicate,
        split=split_examples(split_key, len(task.dataset), task.sizes, task.dataset.fixed_test),
    )


def _choice(grid: list[Cell]) -> str:
    """What tells the networks of a sweep apart, and its values."""
    names = ("width", "method", "rho", "seed", "label_noise", "weight_decay", "learning_rate")
    networks = [(cell, replicate) for cell in grid for replicate in cell.replicates]
    values = {name: dict.fromkeys(_attribute(*network, name) for network in networks) for name in names}
    return "There are " + "; ".join(f"{name} {' '.join(map(str, several))}" for name, several in values.items()) + "."


def _attribute(cell: Cell, replicate: Replicate, name: str) -> float | int | str:
    """A property of a network by its name."""
    for owner in (cell, replicate):
        if hasattr(owner, name):
            return getattr(owner, name)
    raise UsageError("network", name, "is no property; give width, method, rho, seed, label_noise, ...")
