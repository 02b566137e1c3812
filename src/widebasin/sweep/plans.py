"""The plan of a cell: how its networks are trained on the devices here, as chosen and as asked for."""

import dataclasses
from collections.abc import Mapping, Sequence

import jax

from widebasin.sweep.cells import Cell
from widebasin.sweep.errors import UsageError
from widebasin.sweep.execution import Execution
from widebasin.training import Plan, Problem, choose_plan, devices_of_one
from widebasin.training.memory import COPIES_OF_PARAMETERS


def plan_for(cell: Cell, execution: Execution, problem: Problem | None = None) -> Plan:
    """The plan of a cell: chosen from platform and model, with the overrides of the execution.

    Args:
        cell: the cell.
        execution: how its networks are trained.
        problem: what they are trained on; the cell's own problem by default.
    """
    problem = cell.problem() if problem is None else problem
    plan = choose_plan(problem, len(cell.points))
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
    at_once = 1 if alone else at_once_of(execution, len(cell.points)) or plan.networks_at_once
    devices = execution.devices or (plan.devices if at_once > 1 else devices_of_one(cell.recipe.batch_size))
    _check_available(devices)
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


def devices_that_split(cell: Cell, execution: Execution, sharded: bool) -> int:
    """The devices of each host that split the batches of one network.

    Raises:
        UsageError: if they cannot.
    """
    devices, hosts = execution.devices or devices_of_one(cell.recipe.batch_size, sharded), jax.process_count()
    _check_available(devices)
    if cell.recipe.batch_size % (devices * hosts):
        examples = f"the {cell.recipe.batch_size} examples of a batch"
        if execution.devices:
            of_all = f", times {hosts} hosts," if hosts > 1 else ""
            raise UsageError("devices", devices, f"must{of_all} divide {examples}")
        raise UsageError("hosts", execution.hosts, f"{hosts} must divide {examples}; give another --batch-size")
    if execution.shard_parameters and devices * hosts == 1:
        raise UsageError("shard_parameters", True, "needs several devices, and here is one; leave it out")
    return devices


def _check_available(devices: int) -> None:
    """Raises ``UsageError`` if this host has fewer devices."""
    available = jax.local_device_count()
    if devices > available:
        raise UsageError("devices", devices, f"must be at most {available}, the devices that this process has")


def plan_here(cell: Cell, plan: Plan, execution: Execution) -> Plan:
    """A plan started elsewhere, with the workers requested now, on as many devices here as divide its work evenly."""
    # Several networks at once are never on several hosts: they are trained already.
    hosts = 1 if plan.networks_at_once > 1 else jax.process_count()
    sharded = plan.networks_at_once == 1 and (execution.shard_parameters or plan.sharded)
    if hosts == plan.hosts == 1 and not sharded:
        available = range(1, jax.local_device_count() + 1)
        devices = max(count for count in available if plan.devices % count == 0)
    else:
        devices = devices_that_split(cell, execution, sharded)
    return dataclasses.replace(
        plan,
        devices=devices,
        workers=plan.workers if execution.workers is None else execution.workers,
        hosts=hosts,
        sharded=sharded and devices * hosts > 1,
    )


def at_once_of(execution: Execution, networks: int) -> int | None:
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
