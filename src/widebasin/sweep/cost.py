"""Estimates the cost of a sweep without training: operations, memory, disk, and time here or on an accelerator."""

import dataclasses
import itertools
import logging
import math
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from widebasin.data import DataError, Dataset, Normalization, SplitSizes
from widebasin.statistics import LOSS
from widebasin.sweep.accelerators import EFFICIENCY, Accelerators
from widebasin.sweep.cells import Cell, cells
from widebasin.sweep.execution import Execution
from widebasin.sweep.plans import bytes_needed, plan_for
from widebasin.sweep.spec import Resolved
from widebasin.training import Centered, Plan, Problem, Program, ProximalPolicy, Supervised, computing_in
from widebasin.training.compilation import without_compilation_cache
from widebasin.training.memory import (
    COPIES_OF_PARAMETERS,
    bytes_of,
    bytes_of_residuals,
    minimized,
    step_shapes,
)
from widebasin.training.problem import Model
from widebasin.workloads import WORKLOADS, SupervisedWorkload

# Operations that an epoch of a calibration may take, about a second on one core.
CALIBRATED = 5e9
# Short epochs are repeated for so many seconds, and no further cell is timed after so many.
REPEATED, ENOUGH = 0.5, 15.0
LOGGER = logging.getLogger("widebasin")


@dataclass(frozen=True)
class OneStep:
    """The cost of one network.

    Attributes:
        gradient: floating-point operations of the gradient of one batch.
        judged: operations for the loss and metrics of one example.
        activations: bytes kept for the gradient of a batch, parameters included; an upper bound.
    """

    gradient: float
    judged: float
    activations: int


@dataclass(frozen=True)
class CellCost:
    """The cost of the networks of a cell.

    Attributes:
        width: width of the model.
        methods: methods of the networks.
        networks: number of networks.
        parameters: number of parameters of one network, including pruned ones.
        operations: floating-point operations for training and evaluating all networks.
        memory: bytes on a device, including data stored on it.
        seconds: time on this machine; NaN if not estimated, as where its networks do not fit in the memory.
    """

    width: int
    methods: tuple[str, ...]
    networks: int
    parameters: int
    operations: float
    memory: int
    seconds: float


@dataclass(frozen=True)
class Cost:
    """The cost of a sweep.

    Attributes:
        cells: the costs of its cells.
        disk: bytes at most.
        precision: the precision that networks compute in.
        calibrated: widths whose training was timed here; empty if none was.
        calibration_seconds: time that the calibration took.
    """

    cells: tuple[CellCost, ...]
    disk: int
    precision: str
    calibrated: tuple[int, ...] = ()
    calibration_seconds: float = 0.0

    @property
    def networks(self) -> int:
        """Number of networks to train."""
        return sum(one.networks for one in self.cells)

    @property
    def operations(self) -> float:
        """Floating-point operations for all cells."""
        return sum(one.operations for one in self.cells)

    @property
    def memory(self) -> int:
        """Bytes on a device for the largest cell."""
        return max(one.memory for one in self.cells)

    @property
    def seconds(self) -> float:
        """Time on this machine, compilation included; NaN if not estimated."""
        return sum(one.seconds for one in self.cells)

    def seconds_on(self, name: str, count: int = 1, efficiency: float = EFFICIENCY) -> float:
        """Estimated time on accelerators that share the networks: operations over ``count x efficiency x peak``.

        Args:
            name: a key of ``sweep.accelerators.ACCELERATORS``.
            count: number of accelerators, on one or more hosts.
            efficiency: fraction of the peak rate that is reached; an assumption, not measured by widebasin.

        Raises:
            UsageError: see ``Accelerators.check``.
        """
        accelerators = Accelerators(name, count, efficiency)
        accelerators.check(self.precision)
        return accelerators.seconds(self.operations, self.precision)


def cost_of(spec: Resolved, execution: Execution, *, calibrate: bool = True) -> Cost:
    """Estimates the cost of the networks of a spec without training them.

    Operations are XLA's counts for the gradient of a batch and the loss of a block, times how often the recipe computes
    them. For the time on this machine, compilation and a few epochs (or part of one) are timed for the smallest and the
    largest network of every plan; for the others, seconds per operation are interpolated.

    Args:
        spec: the spec of the sweep.
        execution: how the sweep would be trained.
        calibrate: whether to time training; needs the data.

    Raises:
        DataError: if the data are missing and the workload does not declare their shape.
    """
    execution.check()
    grid = cells(spec)
    problems, here = _problems(grid)
    plans = {cell.name: plan_for(cell, execution, problem) for cell, problem in zip(grid, problems, strict=True)}
    steps: dict[tuple[Any, ...], OneStep] = {}
    for cell, problem in zip(grid, problems, strict=True):
        if (key := (cell.width, cell.settings)) not in steps:
            with computing_in(cell.recipe.precision):
                steps[key] = _one_step(problem)
    of_cells = [
        _Counted(cell, problem, plans[cell.name], steps[cell.width, cell.settings], here and not problem.from_disk)
        for cell, problem in zip(grid, problems, strict=True)
    ]
    started, timed = time.perf_counter(), []
    calibrate = calibrate and here and all(one.operations_of_step > 0 for one in of_cells)
    memory = _memory_here()
    fits = [one.cost(()).memory < memory for one in of_cells]
    fitting = [*itertools.compress(of_cells, fits)] if calibrate else []
    if fitting:
        LOGGER.info("training the largest and the smallest network for a moment, to estimate the time here")
    for one in _chosen(fitting):
        if not timed or time.perf_counter() - started < ENOUGH:
            timed.append(_timed(one))
    return Cost(
        cells=tuple(one.cost(timed if fit else ()) for one, fit in zip(of_cells, fits, strict=True)),
        disk=bytes_needed(grid, plans, execution),
        precision=grid[0].recipe.precision,
        calibrated=tuple(sorted({one.of.cell.width for one in timed})),
        calibration_seconds=time.perf_counter() - started,
    )


def _problems(grid: Sequence[Cell]) -> tuple[list[Problem], bool]:
    """The problems of the cells, and whether the data are here; if not, the problems use arrays of the same shape."""
    try:
        return [cell.problem() for cell in grid], True
    except DataError:
        workload = WORKLOADS[grid[0].workload]
        if not isinstance(workload, SupervisedWorkload) or workload.input_shape is None:
            raise
    shape, examples = workload.input_shape, workload.sizes.train + workload.sizes.valid + workload.sizes.test
    dataset = Dataset(
        "data that are not here",
        np.broadcast_to(np.uint8(0), (examples, *shape)),
        np.broadcast_to(np.int32(0), (examples,)),
        None,
        normalization=Normalization(),
    )
    like = dataclasses.replace(workload, load=lambda: dataset)
    return [like.problem(cell.width, cell.recipe, cell.settings) for cell in grid], False


def _memory_here() -> float:
    """Bytes of this machine's memory where networks train in it: XLA waits for ever for more. Infinite if not known."""
    if jax.default_backend() != "cpu" or not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return math.inf
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _in_memory(problem: Problem) -> Problem:
    """The problem with images instead of file numbers, so that a batch is traced as in training."""
    if not problem.from_disk or not isinstance(problem, Supervised):
        return problem
    size = problem.dataset.image_size
    dataset = dataclasses.replace(
        problem.dataset, inputs=np.broadcast_to(np.uint8(0), (len(problem.dataset), size, size, 3)), files=None
    )
    kept: dict[str, Any] = {field.name: getattr(problem, field.name) for field in dataclasses.fields(Supervised)}
    kept["dataset"] = dataset
    return Supervised(**kept)


def _one_step(problem: Problem) -> OneStep:
    """The cost of one step, from tracing only; no parameters are created."""
    problem = _in_memory(problem)
    shapes = step_shapes(problem)
    model, source, batch, block = *shapes[:3], shapes.blocks["valid"]

    def loss(params: Any, *rest: Any) -> Any:
        return minimized(problem, params, *rest)

    def metrics(model: Model, source: Any, batch: Any) -> Any:
        return problem.losses(model, source, batch, None, training=False)[0][LOSS.name]

    gradient = jax.jit(jax.value_and_grad(loss, has_aux=True)).lower(*model, source, batch)
    evaluation = jax.jit(metrics).lower(model, source, block)
    return OneStep(
        gradient=_operations(gradient),
        judged=_operations(evaluation) / jax.tree.leaves(block)[0].shape[0],
        activations=bytes_of_residuals(problem, shapes),
    )


def _operations(lowered: Any) -> float:
    return float((lowered.cost_analysis() or {}).get("flops", 0.0))


@dataclass(frozen=True)
class _Counted:
    """A cell with the cost of one step."""

    cell: Cell
    problem: Problem
    plan: Plan
    step: OneStep
    in_memory: bool

    @property
    def lanes(self) -> int:
        """Networks that a program trains, including padding."""
        devices = self.plan.devices if self.plan.networks_at_once > 1 else 1
        return -(-self.plan.networks_at_once // devices) * devices

    @property
    def groups(self) -> int:
        return len(list(self.plan.groups(self.cell.points)))

    @property
    def operations_of_step(self) -> float:
        """Operations of a step of one network."""
        return self.cell.with_radius(0.0).gradients_per_step * self.step.gradient

    def operations_of_epoch(self, problem: Problem) -> float:
        """Operations of an epoch of one network: the steps, then validation and test."""
        judged = sum(_examples(problem, part) for part in ("valid", "test"))
        return problem.steps_per_epoch * self.operations_of_step + judged * self.step.judged

    def cost(self, timed: Sequence["_Timed"]) -> CellCost:
        epochs = self.cell.recipe.epochs
        of_network = epochs * self.operations_of_epoch(self.problem)
        of_network += _examples(self.problem, "train") * self.step.judged
        size = 8 if self.cell.recipe.precision == "float64" else 4
        parameters = self.cell.dense_params
        # On several devices one network splits its batches, several are shared out.
        share = self.lanes // self.plan.devices if self.lanes > 1 else 1 / self.plan.devices
        part = (self.plan.microbatch or self.cell.recipe.batch_size) / self.cell.recipe.batch_size
        state = max(share, 1) * COPIES_OF_PARAMETERS * size * parameters
        state /= self.plan.devices_of_all if self.plan.sharded else 1
        memory = state + share * part * self.step.activations
        data = bytes_of(self.problem.data) if self.in_memory else 0
        seconds = float("nan")
        if timed:
            rate, compiling = (self._between(timed, name) for name in ("seconds_per_operation", "compiling"))
            seconds = self.groups * self.lanes * of_network * rate + compiling
        return CellCost(
            width=self.cell.width,
            methods=self.cell.methods,
            networks=len(self.cell.points),
            parameters=parameters,
            operations=len(self.cell.points) * of_network,
            memory=int(memory + data),
            seconds=seconds,
        )

    def _between(self, timed: Sequence["_Timed"], name: str) -> float:
        """Interpolates on logarithmic scales, among cells of the same plan if there are any."""
        alike = [one for one in timed if _kind(one.of.plan) == _kind(self.plan)] or timed
        known = sorted({one.of.operations_of_step: getattr(one, name) for one in alike}.items())
        sizes, values = np.log([one for one, _ in known]), np.log([value for _, value in known])
        return float(np.exp(np.interp(np.log(self.operations_of_step), sizes, values)))


@dataclass(frozen=True)
class _Timed:
    """Measured training time on this machine."""

    of: _Counted
    seconds_per_operation: float
    compiling: float


def _kind(plan: Plan) -> tuple[Any, ...]:
    return plan.networks_at_once, plan.loop, plan.devices


def _chosen(of_cells: Sequence[_Counted]) -> Iterator[_Counted]:
    """The largest and the smallest cell of every plan, slowest plans first."""
    plans: dict[tuple[Any, ...], list[_Counted]] = {}
    for one in of_cells:
        plans.setdefault(_kind(one.plan), []).append(one)
    ends = [sorted(alike, key=lambda one: one.operations_of_step) for alike in plans.values()]
    yield from sorted((alike[-1] for alike in ends), key=lambda one: -one.operations_of_step)
    yield from (alike[0] for alike in ends if alike[0].operations_of_step < alike[-1].operations_of_step)


def _timed(one: _Counted) -> _Timed:
    """Trains the first group for some epochs, or a part of one."""
    problem = _shorter(one)
    group = next(iter(one.plan.groups(one.cell.points)))
    with computing_in(one.cell.recipe.precision), without_compilation_cache():
        started = time.perf_counter()
        program = Program(problem, one.cell.with_radius, one.plan)
        program.prepare(group)
        state, source, hyperparameters = program.start(group)
        state, _ = program.epoch(state, source, hyperparameters, last=False)
        first, epochs = time.perf_counter() - started, []
        while not epochs or sum(epochs) < REPEATED:
            before = time.perf_counter()
            state, _ = program.epoch(state, source, hyperparameters, last=False)
            epochs.append(time.perf_counter() - before)
    epoch = float(np.median(epochs))
    return _Timed(
        one,
        seconds_per_operation=epoch / (one.lanes * one.operations_of_epoch(problem)),
        compiling=max(first - epoch, 1e-3),
    )


def _shorter(one: _Counted) -> Problem:
    """The problem with epochs shortened to the steps that a calibration may take."""
    steps = max(1, int(CALIBRATED / (one.lanes * one.operations_of_step)))
    plain = one.problem.plain
    if steps >= one.problem.steps_per_epoch:
        return one.problem
    if isinstance(plain, ProximalPolicy):
        rollouts = max(1, steps // plain.steps_per_round)
        share = rollouts / plain.ppo.rollouts
        shorter = dataclasses.replace(plain.ppo, rollouts=rollouts, longest=math.ceil(share * plain.ppo.longest))
        return dataclasses.replace(plain, ppo=shorter)
    if not isinstance(plain, Supervised):
        return one.problem
    batch = plain.recipe.batch_size
    sizes = SplitSizes(steps * batch, min(batch, plain.sizes.valid), min(batch, plain.sizes.test))
    shorter = dataclasses.replace(plain, sizes=sizes)
    return dataclasses.replace(one.problem, problem=shorter) if isinstance(one.problem, Centered) else shorter


def _examples(problem: Problem, part: str) -> int:
    """Number of examples in an evaluation."""
    return jax.tree.leaves(problem.blocks(part))[0].size
