"""Answers a spec: trains missing networks, extends radii and writes the answer."""

import contextlib
import dataclasses
import itertools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from rich.console import Console

from widebasin.data.places import look_in
from widebasin.shown import say
from widebasin.statistics import BASELINE
from widebasin.statistics.gains import gain_table, radii_beyond
from widebasin.studies.answering import Answered, write_answer
from widebasin.studies.registry import STUDIES, study_of
from widebasin.studies.study import Options
from widebasin.sweep import Execution, Resolved, Spec, SweepError, UsageError, resolve
from widebasin.sweep.accelerators import Accelerators
from widebasin.sweep.axes import AXES, PARAMETRIZED, own_of
from widebasin.sweep.cells import contains, file_name, title
from widebasin.sweep.cost import Cost, cost_of
from widebasin.sweep.executors.registry import named
from widebasin.sweep.folder import ResultsFolder
from widebasin.sweep.hosts import check_alike, follow, leading
from widebasin.sweep.importing import import_network
from widebasin.sweep.progress import progress_for, tracker
from widebasin.sweep.run import run
from widebasin.sweep.spec import single_spec, workload_named
from widebasin.sweep.trackers import known_trackers, listeners_of
from widebasin.sweep.trials import entry_of, own_radii
from widebasin.training.compilation import check_platform, keep_compiled_programs, use_cpu_only, use_every_core
from widebasin.training.hosts import join

# Where results go by default.
RESULTS = Path("results")
# Radii are extended as far.
SMALLEST, LARGEST = 1e-5, 100.0


def train_and_answer(
    spec: Spec,
    options: Options,
    execution: Execution,
    path: Path,
    *,
    overwrite: bool,
    console: Console,
    quiet: bool,
    extend_radii: bool = False,
    track: Sequence[str] = (),
) -> tuple[Answered, ResultsFolder] | None:
    """Trains the missing networks of a spec and writes tables, figures and the page.

    Of several hosts, only host 0 has the answer and shows progress; the others return ``None``, as do processes that
    share a sweep if another one has written the report or does so now.

    Args:
        spec: what to train.
        options: how to analyze the results.
        execution: how to train it.
        path: path of the results folder.
        overwrite: see ``sweep.run.run``.
        console: where progress is shown.
        quiet: whether to show no progress.
        extend_radii: whether to add radii while a chosen one is at an edge of those tried.
        track: names of trackers, see ``sweep.trackers``.
    """
    check_arguments(options, execution, overwrite=overwrite, extend_radii=extend_radii, track=track)
    # Processes on this machine would all take the same accelerators: they refuse where there are any, see there.
    if named(execution).name not in ("local", "processes"):
        use_cpu_only()
    resolved, execution = _resolved(spec, execution)
    if extend_radii:
        _check_gains(resolved)
    if execution.hosts is not None:
        check_alike(resolved, path, execution)
    if execution.hosts is not None and jax.process_index() > 0:
        follow(path, execution)
        return None
    with leading() if execution.hosts is not None else contextlib.nullcontext() as executor:
        if extend_radii:
            resolved = _extended_before(resolved, path)
        while True:
            trained_before = ResultsFolder(path).is_finished()
            listeners = [*progress_for(console, quiet), *listeners_of(track, path)]
            folder = run(
                resolved, path, execution=execution, executor=executor, listeners=listeners, overwrite=overwrite
            )
            overwrite = False  # what is there now is this sweep
            shared = execution.place is not None and not trained_before
            if shared and (said := _left_to_others(folder)):
                say(console, said)
                return None
            answered = write_answer(folder, options, tracker(console, quiet))
            further = _further_radii(answered, options) if extend_radii else {}
            if not further:
                return answered, folder
            if not quiet:
                more = " and ".join(f"{radius:g}" for radius in sorted({*itertools.chain(*further.values())}))
                say(console, f"A chosen radius is at the edge of those tried; also training {more}", "dim")
            resolved = _with_radii(resolved, further)


def check_arguments(
    options: Options, execution: Execution, *, overwrite: bool, extend_radii: bool, track: Sequence[str]
) -> None:
    """Raises ``UsageError`` for arguments of ``train_and_answer`` that are wrong whatever is trained."""
    for name, flag in (("overwrite", overwrite), ("extend_radii", extend_radii)):
        if not isinstance(flag, bool):
            raise UsageError(name, flag, "must be True or False")
    options.check()
    execution.check()
    if extend_radii and execution.place is not None:
        remedy = "must be left out with --shard: give --processes, or run it again alone when all have ended"
        raise UsageError("extend_radii", True, remedy)
    known_trackers(track)


def _left_to_others(folder: ResultsFolder) -> str:
    """What to say if another process that shares the sweep has written its report, or does so now; else empty."""
    if holder := folder.holder():
        return f"All networks are trained; {holder} writes the report."
    page = folder.path / "report.html"
    with contextlib.suppress(FileNotFoundError):
        if page.stat().st_mtime >= (folder.path / "results.parquet").stat().st_mtime:
            return f"All networks are trained. Page: {page}"
    return ""


def meet(execution: Execution) -> None:
    """Waits for the other hosts, if there are any. Call it before JAX is used.

    Raises:
        UsageError: if JAX or the port is in use, or the hosts are not known.
    """
    if (hosts := execution.together) is None:
        return
    try:
        join(*hosts)
    except ValueError as error:
        raise UsageError("hosts", execution.hosts, str(error)) from error


def _resolved(spec: Spec, execution: Execution) -> tuple[Resolved, Execution]:
    """Checks the spec, resolves how it is trained, and sets up JAX for it; the execution has been checked.

    Raises:
        UsageError: if it cannot be trained or its study cannot be answered.
    """
    look_in(execution.data_dir)
    if execution.hosts is None:
        use_every_core()
    else:
        meet(execution)
    keep_compiled_programs()
    try:
        check_platform()
    except ValueError as error:
        raise UsageError("JAX_PLATFORMS", os.environ["JAX_PLATFORMS"], str(error)) from error
    resolved = resolve(spec)
    asked = study_of(resolved)
    asked.check(resolved)
    keep = execution.keep_parameters or asked.measures
    return resolved, dataclasses.replace(execution, keep_parameters=keep)


def cost(
    spec: Spec,
    execution: Execution,
    accelerators: Accelerators | None = None,
    *,
    calibrate: bool = True,
    extend_radii: bool = False,
) -> Cost:
    """Estimates the cost of ``train_and_answer`` without training or writing anything.

    Args:
        spec: what to train.
        execution: how to train it.
        accelerators: accelerators whose time will be estimated; checked before any work.
        calibrate: see ``sweep.cost.cost_of``.
        extend_radii: whether radii would be extended, whose cost is not known; the spec must have one to choose.
    """
    if execution.hosts is not None:
        raise UsageError("hosts", execution.hosts, "must be left out where nothing is trained")
    execution.check()
    resolved, execution = _resolved(spec, execution)
    if extend_radii:
        _check_gains(resolved)
    if accelerators is not None:
        accelerators.check(resolved.precision)
    return cost_of(resolved, execution, calibrate=calibrate)


def imported(
    given: Any,
    workload: str,
    shared: Mapping[str, Any],
    values: Mapping[str, Any],
    out: Path | None,
    state: Any = None,
) -> tuple[Answered, ResultsFolder]:
    """Imports a network trained elsewhere into a results folder and evaluates it.

    Args:
        given: its parameters, see ``sweep.importing.import_network``.
        workload: see ``single_network``, as for ``shared`` and ``values``.
        out: the folder; by default named after the file.
        state: arrays that are not parameters, see ``sweep.importing.import_network``.
    """
    keep_compiled_programs()
    spec, name = single_network(workload, shared, values)
    path = out or RESULTS / f"imported-{file_name(given.stem) if isinstance(given, Path) else name}"
    folder = import_network(resolve(spec), given, path, state)
    return write_answer(folder, Options()), folder


def _check_gains(spec: Resolved) -> None:
    """Raises ``UsageError`` if a sweep has no radius to choose."""
    if BASELINE not in spec.methods or len(spec.methods) < 2:
        raise UsageError("extend_radii", True, f"needs {BASELINE} and another method, so that a radius can be chosen")


def _extended_before(spec: Resolved, path: Path) -> Resolved:
    """The spec with the radii added earlier to the sweep in the folder, if that sweep matches or is extended by it."""
    folder = ResultsFolder(path)
    if not folder.holds_sweep():
        return spec
    try:
        there = folder.spec()
    except SweepError:
        return spec  # of a damaged folder another says what to do
    own = own_radii(there.radii)
    together = _with_radii(spec, {"": there.rhos} | {name: own[name] for name in own_radii(spec.radii) if name in own})
    return together if contains(together, there) else spec


def _further_radii(answered: Answered, options: Options) -> dict[str, tuple[float, ...]]:
    """The next radii beyond an edge at which one was chosen, within bounds far beyond usual values.

    Returns:
        Name of an entry of ``Spec.radii`` -> radii; the empty name is for ``rhos``.
    """
    gains = gain_table(answered.tables.results, answered.tables.design, options.select, options.at)
    own = own_radii(answered.spec.radii)
    entry = {
        method: next((n for n in (method, method.partition(":")[0]) if n in own), "") for method in gains["method"]
    }
    found = {}
    for name, rows in gains.groupby(gains["method"].map(entry)):
        beyond = radii_beyond(rows, own[str(name)] if name else answered.spec.rhos)
        if inside := tuple(radius for radius in beyond if SMALLEST <= radius <= LARGEST):
            found[str(name)] = inside
    return found


def _with_radii(spec: Resolved, further: Mapping[str, Sequence[float]]) -> Resolved:
    """The spec with further radii; see ``_further_radii``."""
    own = own_radii(spec.radii)
    entries = (entry_of(name, sorted({*radii, *further.get(name, ())})) for name, radii in own.items())
    return dataclasses.replace(spec, rhos=tuple(sorted({*spec.rhos, *further.get("", ())})), radii=tuple(entries))


def folder_name(spec: Spec) -> str:
    """The study's name, with the workload's name if it is not the study's default."""
    usual = STUDIES[spec.study].spec if spec.study else Spec()
    name = spec.study or "sweep"
    return name if spec.workload == usual.workload else f"{name}-{file_name(spec.workload)}"


def single_network(workload: str, shared: Mapping[str, Any], given: Mapping[str, Any]) -> tuple[Spec, str]:
    """The spec of one network, checked, and the name of its folder.

    Args:
        workload: name of the workload.
        shared: fields of ``Shared``.
        given: name of an axis -> value; ``None`` for the axis's default for a single network.

    Raises:
        UsageError: with the argument's name for a single network.
    """
    named = workload_named(workload)
    axes = (*AXES, *named.axes)
    if given.get("method") == "sgd" and given.get("rho") is not None:
        raise UsageError("rho", given["rho"], "must be left out: sgd has no radius")
    spec = single_spec(named, shared, given)
    try:
        resolved = resolve(spec)
    except UsageError as error:
        flags = {axis.flag: axis.name for axis in axes} | {f"first_{a.name}": a.name for a in axes if a.counted}
        raise UsageError(flags.get(error.argument, error.argument), error.value, error.remedy) from error
    (width,), (method,) = resolved.widths, resolved.methods
    radius = "" if method == "sgd" else f"-rho-{resolved.rhos[0]:g}"
    own = tuple((a.name, resolved.values(a)[0]) for a in (PARAMETRIZED, *own_of(axes)))
    return spec, f"{title(workload, width, own, resolved.methods)}{radius}-seed-{resolved.first_seed}"
