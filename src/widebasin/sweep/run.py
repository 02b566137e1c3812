"""Running a sweep from its spec to its table of results, continuing where an interrupted run stopped."""

import dataclasses
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

from widebasin.sweep.cells import Cell, cells
from widebasin.sweep.errors import UsageError
from widebasin.sweep.execution import Execution
from widebasin.sweep.executor import Executor, LocalExecutor
from widebasin.sweep.folder import ResultsFolder
from widebasin.sweep.progress import Progress, SilentProgress
from widebasin.sweep.spec import Spec, resolve
from widebasin.training import Plan, choose_plan
from widebasin.training.plan import COPIES_OF_PARAMETERS
from widebasin.workloads import WORKLOADS

RECORD_FORMAT = 1


def run(
    spec: Spec,
    path: Path,
    *,
    execution: Execution | None = None,
    executor: Executor | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
) -> ResultsFolder:
    """Trains every network of a spec and returns the folder with the results.

    Continues a sweep of the same spec that is in the folder: finished groups of networks are kept, an unfinished one
    goes on from its checkpoint. The values are those of an uninterrupted run bit for bit (``seconds`` apart).

    Args:
        spec: what to train; checked and resolved here.
        path: the results folder; created if need be.
        execution: how.
        executor: where; here by default.
        progress: is told of every epoch; silent by default.
        overwrite: delete results of another spec.

    Raises:
        UsageError: for a bad spec or folder, before anything is trained.
        SweepError: if the folder is in use, damaged or its disk is full.
        CheckpointError: if a checkpoint is damaged.
    """
    spec = resolve(spec)
    execution = execution or Execution()
    execution.check()
    progress = progress or SilentProgress()
    grid = cells(spec)
    folder = ResultsFolder(path)
    with folder.locked():
        if folder.holds_sweep() and overwrite:
            folder.clear()
        if folder.holds_sweep():
            folder.check_same(spec)
            plans = {name: Plan(**plan) for name, plan in folder.run_record()["plans"].items()}
            _check_plans(grid, plans, execution)
        else:
            folder.check_empty()
            plans = {cell.name: plan_for(cell, execution) for cell in grid}
            folder.check_space(max(checkpoint_bytes(cell, plans[cell.name]) for cell in grid))
            folder.begin(spec, _record(plans))
        groups = [
            (cell.name, number) for cell in grid for number, _ in enumerate(plans[cell.name].groups(cell.replicates))
        ]
        if not all(folder.finished(*group) for group in groups):
            try:
                progress.start(grid)
                (executor or LocalExecutor()).run(grid, plans, folder, execution, progress)
            finally:
                progress.stop()
        folder.merge(groups)
    return folder


def plan_for(cell: Cell, execution: Execution) -> Plan:
    """The plan of a cell: chosen from platform and model, with the execution's overrides."""
    plan = choose_plan(cell.task(), len(cell.replicates))
    at_once = execution.replicates_at_once or plan.replicates_at_once
    return dataclasses.replace(
        plan, replicates_at_once=min(at_once, len(cell.replicates)), loop=execution.loop or plan.loop
    )


def checkpoint_bytes(cell: Cell, plan: Plan) -> int:
    """Upper estimate of the size of a checkpoint of one group of a cell."""
    params = 4 * COPIES_OF_PARAMETERS * WORKLOADS[cell.workload].num_params(cell.width)
    return plan.replicates_at_once * (params + 4 * 16 * cell.recipe.epochs)


def _check_plans(grid: list[Cell], plans: dict[str, Plan], execution: Execution) -> None:
    """A sweep goes on as it was begun: groups cut otherwise would not fit those that are finished."""
    for cell in grid:
        used, asked = plans[cell.name], execution
        at_once = min(asked.replicates_at_once or used.replicates_at_once, len(cell.replicates))
        for argument, value, before in (
            ("replicates_at_once", at_once, used.replicates_at_once),
            ("loop", asked.loop or used.loop, used.loop),
        ):
            if value != before:
                raise UsageError(
                    argument,
                    value,
                    f"the sweep in this folder was begun with {before}; leave it out, or choose another --out",
                )


def _record(plans: dict[str, Plan]) -> dict[str, Any]:
    packages = ("widebasin", "jax", "jaxlib", "optax", "equinox", "orbax-checkpoint", "numpy", "scikit-learn")
    device = jax.devices()[0]
    return {
        "format": RECORD_FORMAT,
        "command": ["widebasin", *sys.argv[1:]],
        "versions": {"python": platform.python_version()} | {name: version(name) for name in packages},
        "platform": f"{platform.system()} {platform.machine()}",
        "device": f"{device.platform}: {device.device_kind} x {jax.device_count()}",
        "plans": {name: dataclasses.asdict(plan) for name, plan in plans.items()},
    }
