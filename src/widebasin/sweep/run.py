"""Runs a sweep from its spec to its table of results, continuing where an interrupted run stopped."""

import dataclasses
import hashlib
import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import pandas as pd

from widebasin.sweep.axes import own_of
from widebasin.sweep.cells import Cell, cells, cells_of
from widebasin.sweep.describing import description_of
from widebasin.sweep.errors import DamagedResults, OtherResults, SweepError, UsageError
from widebasin.sweep.events import Failed, Finished, Listener, Started, to_all
from widebasin.sweep.execution import Execution
from widebasin.sweep.executor import (
    Executor,
    LocalExecutor,
    SharingExecutor,
    check_available,
    devices_that_split,
    plan_here,
)
from widebasin.sweep.folder import LOOKED_AT, OWN_FOLDERS, RECORD_FILES, RESULT_FILES, ResultsFolder
from widebasin.sweep.leases import Leases
from widebasin.sweep.processes import ProcessesExecutor
from widebasin.sweep.rows import rows_of_group
from widebasin.sweep.spec import Resolved, Spec, resolve
from widebasin.sweep.spec_file import differences
from widebasin.sweep.trackers import ALWAYS
from widebasin.training import Plan, Problem, choose_plan, devices_of_one
from widebasin.training.plan import COPIES_OF_PARAMETERS
from widebasin.workloads import WORKLOADS
from widebasin.workloads.files import code_digest, names_file

# Seconds to wait for others that share the folder, which begin, merge or write a report.
OTHERS = 600.0
# Flags of XLA that decide no result: a sweep may go on with other ones.
DECIDING_NOTHING = ("--xla_force_host_platform_device_count", "--xla_dump")


def run(
    spec: Spec | Resolved,
    path: Path,
    *,
    execution: Execution | None = None,
    executor: Executor | None = None,
    listeners: Sequence[Listener] = (),
    overwrite: bool = False,
) -> ResultsFolder:
    """Trains every network of a spec and returns the folder with the results.

    If the folder has a sweep with the same spec, it is continued: finished groups of networks are kept, an unfinished
    group continues from its checkpoint. A sweep whose networks are all in this spec is extended by the others. The
    values equal those of one uninterrupted run bit for bit (except ``seconds``, and ``parameters`` in an extended
    sweep); an extended sweep on accelerators, or with ``networks_at_once``, to float tolerance.

    Args:
        spec: what to train; it is checked and resolved here.
        path: the results folder; created if necessary.
        execution: how to train.
        executor: where to train; here by default.
        listeners: receive the events, see ``widebasin.sweep.events``; include those of ``trackers.listeners_of``.
        overwrite: delete results in the folder that have a different spec or plan, or damaged records. Results of this
            spec are continued anyway.

    Raises:
        UsageError: for a bad spec or folder, before anything is trained.
        DataError: if the workload's data are missing or incomplete.
        SweepError: if the folder is in use or damaged, or its disk is full.
        CheckpointError: if a checkpoint is damaged.
    """
    spec = resolve(spec)
    execution = execution or Execution()
    execution.check()
    shard = execution.place
    folder = ResultsFolder(path, patience=LOOKED_AT if shard is None else OTHERS)
    leases = Leases(folder, execution.lease_seconds)
    if shard is not None and overwrite:
        raise UsageError("overwrite", True, "must be left out with --shard: it would delete what the others train")
    if execution.processes > 1 and jax.default_backend() != "cpu":
        remedy = (
            "must be 1 with accelerators, of which this process has taken all: start one process for each with --shard"
        )
        raise UsageError("processes", execution.processes, remedy)
    cells(spec)[0].problem()  # data that are not here, or too few, are an error before there is a folder
    if not folder.holds_sweep():
        for cell in cells(spec):
            plan_for(cell, execution)  # what cannot be is said before there is a folder
    with folder.locked():
        others = leases.holders()
        if shard is None and others:
            raise SweepError(f"{path} is in use by {' and '.join(others)}; wait until they have ended, or give --shard")
        if others and folder.holds_sweep() and (different := differences(folder.spec(), spec)):
            raise SweepError(f"{path} is in use by {' and '.join(others)} for another spec ({'; '.join(different)})")
        plans = _continue_or_begin(folder, spec, execution, overwrite)
        if shard is None:
            alone = LocalExecutor() if execution.processes == 1 else ProcessesExecutor(execution.processes)
            folder.merge(_train_missing(folder, plans, execution, executor or alone, listeners))
            leases.tidy()
    if shard is not None:
        groups = _train_missing(folder, plans, execution, executor or SharingExecutor(shard), listeners)
        with folder.locked():
            if not folder.is_finished():
                folder.merge(groups)
    return folder


def _train_missing(
    folder: ResultsFolder,
    plans: dict[str, Plan],
    execution: Execution,
    executor: Executor,
    listeners: Sequence[Listener],
) -> list[tuple[str, int, pd.DataFrame]]:
    """Trains what is missing, after a look at what is there; returns all groups, see ``_groups``."""
    grid = cells_of(folder.stages())
    groups = _groups(grid, plans)
    finished = [group for group in groups if folder.finished(*group[:2], execution.keep_parameters)]
    for group in finished:
        folder.verify_group(*group)
    if len(finished) < len(groups):
        kept = [tracker.listener(folder.path / name) for name, tracker in ALWAYS.items()]
        _carry_out(grid, plans, folder, execution, executor, to_all([*kept, *listeners]))
    return groups


def _groups(grid: Sequence[Cell], plans: Mapping[str, Plan]) -> list[tuple[str, int, pd.DataFrame]]:
    """Cell, number and expected rows of every group of networks."""
    return [
        (cell.name, number, rows_of_group(cell, points))
        for cell in grid
        for number, points in enumerate(plans[cell.name].groups(cell.points))
    ]


def _carry_out(
    grid: list[Cell],
    plans: dict[str, Plan],
    folder: ResultsFolder,
    execution: Execution,
    executor: Executor,
    tell: Listener,
) -> None:
    try:
        tell(Started(tuple(grid)))
        executor.run(grid, plans, folder, execution, tell)
    except BaseException as error:
        tell(Failed((str(error).splitlines() or [type(error).__name__])[0]))
        raise
    tell(Finished())


def _continue_or_begin(folder: ResultsFolder, spec: Resolved, execution: Execution, overwrite: bool) -> dict[str, Plan]:
    """The plan of every cell: continues or extends the sweep in the folder if it fits the spec, else begins one."""
    if folder.holds_sweep():
        try:
            return _continue(folder, spec, execution)
        except (OtherResults, DamagedResults):
            # Where nothing was trained yet, as after an error in the first step, there is nothing to lose.
            if not overwrite and (folder.holds_work() or folder.is_finished()):
                raise
    folder.check_foreign((*RESULT_FILES, *OWN_FOLDERS, *RECORD_FILES) if folder.holds_sweep() else RECORD_FILES)
    grid = cells(spec)
    plans = {cell.name: plan_for(cell, execution) for cell in grid}
    folder.check_space(bytes_needed(grid, plans, execution))
    if folder.holds_sweep():
        folder.clear()
    environments, keep = [environment(spec)], execution.keep_parameters
    folder.begin(spec, description_of(spec), _records(plans), environments, keep)
    return plans


def _continue(folder: ResultsFolder, spec: Resolved, execution: Execution) -> dict[str, Plan]:
    """The plans of the sweep in the folder, which is extended if the spec is larger."""
    folder.check_grows_to(spec)
    stages = folder.stages()
    grows = bool(differences(stages[-1], spec))
    before, after = cells_of(stages), cells_of([*stages, spec] if grows else stages)
    record = folder.run_record()
    if record.get("imported"):
        raise folder.refused(f"of a network that was not trained here ({record['imported']})")
    description = folder.description()  # damaged, it would be noticed only when all is trained
    used = {name: Plan(**plan) for name, plan in record["plans"].items()}
    if missing := {cell.name for cell in before} - set(used):
        raise DamagedResults(f"{folder.path / 'run.json'} has no plan of {', '.join(sorted(missing))}; {folder.remedy}")
    used = {cell.name: used[cell.name] for cell in before}
    _check_microbatch(used, execution)
    # What is trained in a sweep that grows stays as it is, whatever is asked for now.
    several = grows or len(stages) > 1
    _check_plans(
        [cell for cell in before if not (several and _trained(folder, cell, used, execution))], used, execution
    )
    new = {cell.name: _plan_beside(cell, before, used, execution) for cell in after[len(before) :]}
    environments = _continue_record(folder, record, spec, execution.keep_parameters)
    if grows:
        folder.check_space(bytes_needed(after[len(before) :], new, execution))
        description = description_of(spec, description.references)
        folder.begin(spec, description, _records(used | new), environments, execution.keep_parameters)
    return {cell.name: plan_here(cell, (used | new)[cell.name], execution) for cell in after}


def _trained(folder: ResultsFolder, cell: Cell, plans: Mapping[str, Plan], execution: Execution) -> bool:
    """Whether all networks of a cell are trained."""
    groups = range(len(list(plans[cell.name].groups(cell.points))))
    return all(folder.finished(cell.name, number, execution.keep_parameters) for number in groups)


def _plan_beside(cell: Cell, before: Sequence[Cell], plans: Mapping[str, Plan], execution: Execution) -> Plan:
    """The plan of a cell added to a sweep: like that of the earlier networks, with the options of this run.

    This keeps the numbers equal to those of one sweep: the number of networks in a program affects the last bits.
    """
    (microbatch,) = {plan.microbatch for plan in plans.values()}
    chosen = plan_for(cell, dataclasses.replace(execution, microbatch=microbatch))
    for other in before:
        if other.title == cell.title:
            like = plans[other.name]
            if execution.loop is None:
                chosen = dataclasses.replace(chosen, loop=like.loop)
            alone = chosen.hosts > 1 or chosen.sharded
            if execution.networks_at_once is execution.devices is None and not alone:
                chosen = dataclasses.replace(chosen, networks_at_once=like.networks_at_once, devices=like.devices)
            break
    return chosen


def _check_microbatch(plans: Mapping[str, Plan], execution: Execution) -> None:
    """Checks that a sweep has one microbatch: batch normalization uses the statistics of each part of a batch."""
    (before,) = {plan.microbatch for plan in plans.values()}
    if (execution.microbatch or before) != before:
        remedy = f"the sweep in this folder was started with {before}; leave it out, or choose another --out"
        raise OtherResults("microbatch", execution.microbatch, remedy)


def _records(plans: Mapping[str, Plan]) -> dict[str, dict[str, Any]]:
    return {name: dataclasses.asdict(plan) for name, plan in plans.items()}


def _continue_record(
    folder: ResultsFolder, record: dict[str, Any], spec: Resolved, keep_parameters: bool
) -> list[dict[str, Any]]:
    """Records the environment of this process, and whether parameters are kept.

    Recipes are tied to the version of widebasin.

    Returns:
        The environments in the record.
    """
    here = environment(spec)
    for there in record["environments"]:
        if there["versions"].get("widebasin") != here["versions"]["widebasin"]:
            theirs, ours = there["versions"].get("widebasin"), here["versions"]["widebasin"]
            raise folder.refused(f"of widebasin {theirs}, but this is {ours}", "continue with that version")
        for name, ours in here["settings"].items():
            theirs = there.get("settings", {}).get(name, ours)
            if theirs != ours:
                which = f"with {name} = {theirs!r}, but here it is {ours!r}, which may change results"
                raise folder.refused(which, "restore the old value")
        if there["data"] != here["data"]:
            theirs, ours = (f"{one['data']['name']}, SHA-256 {one['data']['sha256'][:16]}" for one in (there, here))
            which = f"of data ({theirs}) that differ from the data here ({ours})"
            raise folder.refused(which, "use the data (or --data-dir) of those results")
    environments = record["environments"]
    if here not in environments:
        environments = [*environments, here]
    now = record | {"environments": environments, "keep_parameters": keep_parameters}
    if now != record:
        folder.write_run_record(now)
    return environments


def plan_for(cell: Cell, execution: Execution, problem: Problem | None = None) -> Plan:
    """The plan of a cell: chosen from platform and model, with the overrides of the execution.

    Args:
        cell: the cell.
        execution: how its networks are trained.
        problem: what they are trained on; the cell's own problem by default.
    """
    problem = cell.problem() if problem is None else problem
    plan = choose_plan(problem, len(cell.points), max(1, jax.local_device_count() // execution.processes))
    if problem.from_disk:
        for argument, value, only in (
            ("networks_at_once", execution.networks_at_once, 1),
            ("loop", execution.loop, "step"),
        ):
            if value not in (None, only):
                raise UsageError(argument, value, f"must be {only}: {cell.workload} streams its images")
    if plan.hosts > 1 and problem.on_host:
        remedy = f"must be left out: {cell.workload} is played by one host; give --shard instead"
        raise UsageError("hosts", execution.hosts, remedy)
    alone = plan.hosts > 1 or execution.shard_parameters
    at_once = 1 if alone else _at_once(execution, len(cell.points)) or plan.networks_at_once
    devices = execution.devices or (plan.devices if at_once > 1 else devices_of_one(cell.recipe.batch_size))
    check_available(devices)
    if alone:
        devices = devices_that_split(cell, execution, plan.sharded or execution.shard_parameters)
    # Groups of several networks are filled up to a multiple of the devices; a batch must be one.
    fits = devices <= at_once if at_once > 1 else cell.recipe.batch_size % devices == 0
    if execution.devices and not fits:
        if at_once > 1:
            raise UsageError("devices", devices, f"must be at most {at_once}, the networks in one program")
        raise UsageError("devices", devices, f"must divide the {cell.recipe.batch_size} examples of a batch")
    group = cell.m or cell.recipe.batch_size
    if execution.microbatch is not None and group % execution.microbatch:
        raise UsageError("microbatch", execution.microbatch, f"must divide the {group} examples of an ascent")
    devices = devices if fits else 1
    return dataclasses.replace(
        plan,
        networks_at_once=at_once,
        microbatch=execution.microbatch,
        loop=execution.loop or plan.loop,
        devices=devices,
        sharded=at_once == 1 and devices * plan.hosts > 1 and (plan.sharded or execution.shard_parameters),
        workers=plan.workers if execution.workers is None else execution.workers,
    )


def _at_once(execution: Execution, networks: int) -> int | None:
    """The requested number of networks at once, at most ``networks``; ``None`` if not requested."""
    return None if execution.networks_at_once is None else min(execution.networks_at_once, networks)


def bytes_needed(grid: Sequence[Cell], plans: Mapping[str, Plan], execution: Execution) -> int:
    """Upper estimate of the disk space for checkpoints and kept parameters of a sweep at any time."""
    size = {cell.name: 8 if cell.recipe.precision == "float64" else 4 for cell in grid}
    params = {cell.name: size[cell.name] * cell.dense_params for cell in grid}
    # Two checkpoints are kept, and the next is written beside them.
    of_cells = (
        plans[cell.name].networks_at_once * (COPIES_OF_PARAMETERS * params[cell.name] + 64 * cell.recipe.epochs)
        for cell in grid
    )
    checkpoints = 3 * max(of_cells, default=0)
    kept = sum(len(cell.points) * params[cell.name] for cell in grid) if execution.keep_parameters else 0
    return checkpoints + kept


def _check_plans(grid: Sequence[Cell], plans: Mapping[str, Plan], execution: Execution) -> None:
    """Checks that a sweep continues as it was started: groups of another size would not fit the finished ones."""
    for cell in grid:
        used, asked = plans[cell.name], execution
        if used.networks_at_once > 1 and (asked.hosts is not None or asked.shard_parameters):
            argument, value = ("hosts", asked.hosts) if asked.hosts is not None else ("shard_parameters", True)
            remedy = f"the sweep in this folder trains {used.networks_at_once} networks at once; choose another --out"
            raise OtherResults(argument, value, remedy)
        at_once = _at_once(asked, len(cell.points)) or used.networks_at_once
        for argument, value, before in (
            ("networks_at_once", at_once, used.networks_at_once),
            ("loop", asked.loop or used.loop, used.loop),
            ("devices", asked.devices or used.devices, used.devices),
            ("microbatch", asked.microbatch or used.microbatch, used.microbatch),
        ):
            if value != before:
                raise OtherResults(
                    argument,
                    value,
                    f"the sweep in this folder was started with {before}; leave it out, or choose another --out",
                )


def environment(spec: Resolved) -> dict[str, Any]:
    """What is recorded about this process and machine with a sweep."""
    packages = ("widebasin", "jax", "jaxlib", "optax", "equinox", "orbax-checkpoint", "numpy", "scikit-learn", "pillow")
    device = jax.devices()[0]
    return {
        "versions": {"python": platform.python_version()} | {name: version(name) for name in packages},
        "platform": f"{platform.system()} {platform.machine()}",
        "device": f"{device.platform}: {device.device_kind} x {jax.device_count()}",
        "settings": _settings() | _code(spec.workload) | _files(spec),
        "data": WORKLOADS[spec.workload].data_record(),
    }


def _code(workload: str) -> dict[str, str]:
    """The digest of the code of a workload in a user's own file: changed code may be a different problem."""
    return {f"the code of {workload}": code_digest(workload)} if names_file(workload) else {}


def _files(spec: Resolved) -> dict[str, str]:
    """The digests of files that are values on the workload's own axes, such as pretrained embeddings."""
    found = {}
    for axis in own_of(spec.axes):
        for path in map(Path, spec.values(axis)) if axis.kind is str else ():
            if path.is_file():
                with path.open("rb") as file:
                    found[f"the content of {path}"] = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    return found


def _settings() -> dict[str, str]:
    """Environment settings that affect results. The user sets them; they must stay the same for a whole sweep."""
    flags = os.environ.get("XLA_FLAGS", "").split()
    precision = jax.config.jax_default_matmul_precision  # pyright: ignore[reportAttributeAccessIssue]
    return {
        "JAX_DEFAULT_MATMUL_PRECISION": str(precision or ""),
        "XLA_FLAGS": " ".join(sorted(flag for flag in flags if not flag.startswith(DECIDING_NOTHING))),
    }
