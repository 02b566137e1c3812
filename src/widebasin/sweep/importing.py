"""Imports a network trained elsewhere as a results folder with one network: evaluated and ready to be measured."""

import contextlib
import dataclasses
import logging
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from widebasin.data.npz import read_npz
from widebasin.sweep.beginning import environment
from widebasin.sweep.cells import cells
from widebasin.sweep.describing import description_of
from widebasin.sweep.errors import SweepError, UsageError
from widebasin.sweep.folder import RECORD_FILES, ResultsFolder
from widebasin.sweep.networks import supervised
from widebasin.sweep.rows import groups_of, history_rows, results_rows
from widebasin.sweep.spec import Resolved
from widebasin.training import Checkpoints, Plan, Program, Trained, computing_in

ENDING = ".npz"
_PARTS = ("train", "valid", "test")
LOGGER = logging.getLogger("widebasin")


def import_network(spec: Resolved, given: Path | PyTree, path: Path, state: PyTree = None) -> ResultsFolder:
    """Writes a results folder with one network whose parameters are given, and evaluates it.

    Args:
        spec: the spec of one network: its workload, which builds the model and loads the data, its width, and the
            recipe it was trained with; stability depends on its batch size and learning rate.
        given: its parameters: a pytree of arrays, such as an Equinox model or the variables of Flax; or an npz file.
            Arrays are matched by name (the path in the tree, joined by dots, with or without the first part if all of
            the model's have the same) if all names are those of the model, otherwise by order; shapes must match.
        path: the folder; must not contain a sweep.
        state: likewise, arrays that are not parameters: running statistics of batch normalization. Required if the
            model has any.

    Raises:
        UsageError: if the arrays do not match the model, the workload is not a data set of examples, or the folder is
            in use.
        DataError: if the file cannot be read.
    """
    (cell,) = cells(spec)
    (point,) = cell.points
    if any(spec.sparsity):
        raise UsageError("sparsity", spec.sparsity, "must be left out: the network is evaluated as given")
    problem = supervised(cell)
    name = str(given) if isinstance(given, Path) else "a pytree"
    folder = ResultsFolder(path)
    _check_no_sweep(folder)
    with computing_in(cell.recipe.precision):
        network = problem.network
        params = _fitted("network", name, _read(given), network.shapes, "parameters")
        kept = _fitted("state", "a pytree", _read(state), network.state_shapes, "arrays of state")
        started = time.perf_counter()
        program = Program(cell.problem(), cell.with_radius, Plan(1, "step", jax.default_backend()))
        params, kept = (jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], tree) for tree in (params, kept))
        metrics = program.judged((point,), params, kept)
    with folder.locked():
        _check_no_sweep(folder)  # which may have begun while the network was evaluated
        if folder.holds_sweep():
            folder.clear()
        folder.check_foreign(RECORD_FILES)
        epochs = cell.recipe.epochs
        history = {
            f"{part}_{one}": np.full((1, epochs), np.nan, np.float32) for part in _PARTS for one in problem.names
        }
        history["gradient_norm"] = np.full((1, epochs), np.nan, np.float32)
        for key, values in metrics.items():
            if key in history:
                history[key][:, -1] = values
        trained = Trained(
            points=(point,),
            params=params,
            model=kept,
            history=history,
            final={f"train_{one}": metrics[f"final_train_{one}"] for one in problem.names},
            diverged_epoch=np.zeros(1, np.int32),
            seconds=time.perf_counter() - started,
        )
        description = description_of(spec)
        description = dataclasses.replace(description, recipe=(*description.recipe, f"parameters of {name}"))
        plans = {cell.name: dataclasses.asdict(program.plan)}
        folder.begin(spec, description, plans, [environment(spec)], keep_parameters=True, imported=name)
        place = folder.group(cell.name, 0, "parameters")
        checkpoints = Checkpoints(place)
        checkpoints.save(epochs, (params, kept))
        checkpoints.close()
        folder.write_group(
            cell.name, 0, results_rows(cell, trained, folder.relative(place)), history_rows(cell, trained)
        )
        folder.merge([groups_of(cell, program.plan)])
    return folder


def _check_no_sweep(folder: ResultsFolder) -> None:
    """Raises ``UsageError`` if the folder contains more than an interrupted import."""
    if folder.holds_sweep() and not _interrupted(folder):
        raise UsageError("out", str(folder.path), "contains a sweep; choose another folder")


def _interrupted(folder: ResultsFolder) -> bool:
    """Whether the folder is from an interrupted import."""
    with contextlib.suppress(SweepError):  # a damaged one is not ours to delete
        return bool(folder.run_record().get("imported")) and not folder.is_finished()
    return False


def _read(given: Path | PyTree) -> list[tuple[str, Any]]:
    """(name, array) pairs, in order."""
    if isinstance(given, Path):
        if given.suffix != ENDING:
            remedy = f"must be a file {ENDING}: write it with numpy.savez, or give the arrays from Python"
            raise UsageError("network", str(given), remedy)
        if not given.exists():
            raise UsageError("network", str(given), "does not exist")
        return list(read_npz(given).items())
    arrays = eqx.filter(given, eqx.is_array)
    return [(jax.tree_util.keystr(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(arrays)]


def _plain(name: str) -> str:
    """A path in a tree in plain form: parts joined by dots."""
    return re.sub(r"[^A-Za-z0-9_]+", ".", name).strip(".")


def _fitted(argument: str, name: str, found: Sequence[tuple[str, Any]], shapes: PyTree, what: str) -> PyTree:
    """The given arrays in the structure of the model.

    Raises:
        UsageError: if their number or shapes differ.
    """
    paths, structure = jax.tree_util.tree_flatten_with_path(shapes)
    wanted = [(_plain(jax.tree_util.keystr(path)), leaf) for path, leaf in paths]
    if len(found) != len(wanted):
        listed = ", ".join(f"{place} {list(leaf.shape)}" for place, leaf in wanted[:8]) + ", ..." * (len(wanted) > 8)
        has = f"the model has {len(wanted)} ({listed})" if wanted else "the model has none"
        remedy = "give arrays of the same model and width"
        if argument == "state":
            remedy = "give its running statistics, in their order: import_network(..., state=...) from Python"
        raise UsageError(argument, name, f"has {len(found)} {what}, but {has}; {remedy}")
    places = [place for place, _ in wanted]
    first = {place.partition(".")[0] for place in places}
    shorter = {place.partition(".")[2]: place for place in places}
    # The attribute that has all of them, as params of Applied, need not be named.
    common = shorter if len(first) == 1 and all(shorter) else {}
    found = [(common.get(_plain(one), one), array) for one, array in found]
    by_name: Mapping[str, Any] = {_plain(one): array for one, array in found}
    named = len(by_name) == len(found) and set(by_name) == set(places)
    if not named:
        moved = [
            own for place, (own, _) in zip(places, found, strict=True) if _plain(own) in places and _plain(own) != place
        ]
        if moved:
            remedy = f"has {moved[0]} in another position than the model, and lacks some names; name all or none"
            raise UsageError(argument, name, f"{remedy}: {', '.join(places[:8])}")
        if wanted and any(_plain(own) != place for place, (own, _) in zip(places, found, strict=True)):
            LOGGER.warning("the array names in %s differ from those of the model; arrays are matched by order", name)
    arrays = []
    for (place, leaf), (own, array) in zip(wanted, found, strict=True):
        chosen, source = (by_name[place], place) if named else (array, own)
        if tuple(np.shape(chosen)) != tuple(leaf.shape):
            remedy = f"has {source} of shape {list(np.shape(chosen))}, but {place} of the model has {list(leaf.shape)}"
            raise UsageError(argument, name, f"{remedy}; give arrays of the same model and width")
        if np.iscomplexobj(chosen):
            raise UsageError(argument, name, f"has {source} of complex numbers; the model has {leaf.dtype}")
        with np.errstate(over="ignore"):
            kept = np.asarray(chosen).astype(leaf.dtype)
        if not np.isfinite(kept).all():
            what = f"has {source} with values that are not finite in {leaf.dtype}: the network has diverged"
            raise UsageError(argument, name, what)
        arrays.append(kept)
    return jax.tree_util.tree_unflatten(structure, arrays)
