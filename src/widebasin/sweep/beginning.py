"""How a sweep begins or goes on in its folder: checks, the plan of every cell, and the record of what trains it."""

import dataclasses
import hashlib
import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

from widebasin.sweep.axes import own_of
from widebasin.sweep.cells import Cell, cells, cells_of
from widebasin.sweep.describing import description_of
from widebasin.sweep.errors import DamagedResults, OtherResults
from widebasin.sweep.execution import Execution
from widebasin.sweep.folder import OWN_FOLDERS, RECORD_FILES, RESULT_FILES, WORKERS, ResultsFolder
from widebasin.sweep.plans import at_once_of, bytes_needed, plan_for, plan_here
from widebasin.sweep.spec import Resolved
from widebasin.sweep.spec_file import differences
from widebasin.training import Plan
from widebasin.workloads import WORKLOADS
from widebasin.workloads.files import code_digest, names_file

# Flags of XLA that decide no result: a sweep may go on with other ones.
DECIDING_NOTHING = ("--xla_force_host_platform_device_count", "--xla_dump")

# Settings that were not recorded once -> what they then were.
NOT_RECORDED = {"JAX_RANDOM_SEED_OFFSET": "0"}


def begin_or_continue(
    folder: ResultsFolder,
    spec: Resolved,
    execution: Execution,
    overwrite: bool,
    plans: Mapping[str, Plan] | None = None,
) -> Mapping[str, Plan]:
    """Continues or extends the sweep in a locked folder if it fits the spec, else begins one.

    Args:
        folder: the results folder.
        spec: what to train.
        execution: how to train.
        overwrite: whether results of another spec or plan, or damaged records, are deleted.
        plans: name of a cell -> its plan, if the sweep begins; they are made here if not given.

    Returns:
        Name of a cell -> its plan.

    Raises:
        UsageError: if the folder has other results or files, or the spec cannot be trained.
        SweepError: if the sweep in the folder is damaged.
    """
    if folder.holds_sweep():
        try:
            return _continue(folder, spec, execution)
        except (OtherResults, DamagedResults):
            if not _may_delete(folder, overwrite):
                raise
    _check_foreign(folder)
    grid = cells(spec)
    plans = plans or {cell.name: plan_for(cell, execution) for cell in grid}
    folder.check_space(bytes_needed(grid, plans, execution))
    if folder.holds_sweep():
        folder.clear()
    environments, keep = [environment(spec)], execution.keep_parameters
    folder.begin(spec, description_of(spec), _records(plans), environments, keep)
    return plans


def join(folder: ResultsFolder, spec: Resolved, execution: Execution) -> dict[str, Plan] | None:
    """The plans, if the sweep was begun in a way that leaves this process nothing to write, so that it needs no lock.

    Many processes then begin at the same time instead of one after the other.
    """
    if not folder.holds_sweep() or folder.spec() != spec or folder.is_finished():
        return None
    if folder.holder():  # one that trains it alone leases nothing
        return None
    record = folder.run_record()
    if environment(spec) not in record["environments"] or record["keep_parameters"] != execution.keep_parameters:
        return None
    return _continue(folder, spec, execution)


def check_or_clear(folder: ResultsFolder, spec: Resolved, execution: Execution, overwrite: bool) -> None:
    """What ``begin_or_continue`` would refuse or delete, for the process that starts those which train.

    These choose the plans, as they have the devices.

    Raises:
        UsageError: if the folder has other results or files.
        SweepError: if the sweep in the folder is damaged.
    """
    if folder.holds_sweep():
        try:
            _, after, used = _check_fits(folder, spec, execution)
            if len(after) == len(used):
                _reopen(folder, after, used, execution)
            return
        except (OtherResults, DamagedResults):
            if not _may_delete(folder, overwrite):
                raise
    _check_foreign(folder)
    folder.clear()


def _check_foreign(folder: ResultsFolder) -> None:
    """Raises ``UsageError`` if a folder that a sweep will begin in contains files of others."""
    own = (*RESULT_FILES, *OWN_FOLDERS, *RECORD_FILES) if folder.holds_sweep() else (*RECORD_FILES, WORKERS)
    folder.check_foreign(own)


def _may_delete(folder: ResultsFolder, overwrite: bool) -> bool:
    """Whether results that do not fit may be deleted."""
    # Where nothing was trained yet, as after an error in the first step, there is nothing to lose.
    return overwrite or not (folder.holds_work() or folder.is_finished())


def _check_fits(
    folder: ResultsFolder, spec: Resolved, execution: Execution
) -> tuple[list[Cell], list[Cell], dict[str, Plan]]:
    """Checks that the sweep in the folder can go on as this spec, trained so.

    Returns:
        The cells that it has, those that it will have, and name of a cell that it has -> the plan it began with.
    """
    folder.check_grows_to(spec)
    stages = folder.stages()
    grows = bool(differences(stages[-1], spec))
    before = cells_of(stages)
    after = cells_of([*stages, spec]) if grows else before
    record = folder.run_record()
    if record.get("imported"):
        raise folder.refused(f"of a network that was not trained here ({record['imported']})")
    folder.description()  # damaged, it would be noticed only when all is trained
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
    return before, after, used


def _continue(folder: ResultsFolder, spec: Resolved, execution: Execution) -> dict[str, Plan]:
    """The plans of the sweep in the folder, which is extended if the spec is larger."""
    before, after, used = _check_fits(folder, spec, execution)
    new = {cell.name: _plan_beside(cell, before, used, execution) for cell in after[len(before) :]}
    environments = _continue_record(folder, spec, execution.keep_parameters)
    if differences(folder.spec(), spec):
        folder.check_space(bytes_needed(after[len(before) :], new, execution))
        description = description_of(spec, folder.description().references)
        folder.begin(spec, description, _records(used | new), environments, execution.keep_parameters)
    _reopen(folder, after, used | new, execution)
    return {cell.name: plan_here(cell, (used | new)[cell.name], execution) for cell in after}


def _reopen(folder: ResultsFolder, grid: Sequence[Cell], plans: Mapping[str, Plan], execution: Execution) -> None:
    """Deletes the tables if networks are missing, as after a damaged file, or parameters that shall be kept now."""
    if folder.is_finished() and not all(_trained(folder, cell, plans, execution) for cell in grid):
        folder.remove_tables()


def _trained(folder: ResultsFolder, cell: Cell, plans: Mapping[str, Plan], execution: Execution) -> bool:
    """Whether all networks of a cell are trained."""
    groups = range(len(list(plans[cell.name].groups(cell.points))))
    return folder.look(cell.name, execution.keep_parameters).finished.issuperset(groups)


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


def _continue_record(folder: ResultsFolder, spec: Resolved, keep_parameters: bool) -> list[dict[str, Any]]:
    """Records the environment of this process, and whether parameters are kept.

    Recipes are tied to the version of widebasin.

    Returns:
        The environments in the record.
    """
    record, here = folder.run_record(), environment(spec)
    for there in record["environments"]:
        if there["versions"].get("widebasin") != here["versions"]["widebasin"]:
            theirs, ours = there["versions"].get("widebasin"), here["versions"]["widebasin"]
            raise folder.refused(f"of widebasin {theirs}, but this is {ours}", "continue with that version")
        for name, ours in here["settings"].items():
            theirs = there.get("settings", {}).get(name, NOT_RECORDED.get(name, ours))
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


def _check_plans(grid: Sequence[Cell], plans: Mapping[str, Plan], execution: Execution) -> None:
    """Checks that a sweep continues as it was started: groups of another size would not fit the finished ones."""
    for cell in grid:
        used, asked = plans[cell.name], execution
        if used.networks_at_once > 1 and (asked.hosts is not None or asked.shard_parameters):
            argument, value = ("hosts", asked.hosts) if asked.hosts is not None else ("shard_parameters", True)
            remedy = f"the sweep in this folder trains {used.networks_at_once} networks at once; choose another --out"
            raise OtherResults(argument, value, remedy)
        at_once = at_once_of(asked, len(cell.points)) or used.networks_at_once
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
    offset = jax.config.values["jax_random_seed_offset"]
    return {
        "JAX_RANDOM_SEED_OFFSET": str(offset),
        "JAX_DEFAULT_MATMUL_PRECISION": str(precision or ""),
        "XLA_FLAGS": " ".join(sorted(flag for flag in flags if not flag.startswith(DECIDING_NOTHING))),
    }
