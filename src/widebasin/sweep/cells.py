"""Cells: parts of a grid whose networks share one compiled program."""

import dataclasses
import functools
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from widebasin.axis import Axis
from widebasin.models import is_convolutional
from widebasin.parametrization import MUP2, STANDARD, with_perturbation
from widebasin.sam import SAM, Method, Perturbing, method_named
from widebasin.sweep.axes import CELL_AXES, SEED, SEEDS, own_of
from widebasin.sweep.errors import UsageError
from widebasin.sweep.spec import RECIPE, Resolved
from widebasin.training import Point, Problem, Recipe
from widebasin.workloads import PARAMETRIZATION, WORKLOADS, Settings

DENSE = "none"
# Floating-point operations that take about as long on a CPU core as compiling a program of a dense network.
WORTH_A_PROGRAM = 6e10


@dataclass(frozen=True)
class Cell:
    """The networks that one program trains: one workload, width and method. Plain data, so it can be serialized.

    A SAM cell may include networks of the baseline: at radius 0 SAM equals the baseline to the last bit, and for small
    networks training them along is faster than compiling another program.

    Attributes:
        workload: its name.
        width: width of the model.
        method: name of the method that trains them; each point names the method it belongs to.
        recipe: the recipe given in the spec.
        m: examples per ascent; ``None`` is the whole batch.
        settings: other settings of the problem; ``settings.own`` are values of further axes that change the program.
        points: the networks.
        stage: number of the extension that added these networks to the sweep; 0 if they were there from the start.
    """

    workload: str
    width: int
    method: str
    recipe: Recipe
    m: int | None
    settings: Settings
    points: tuple[Point, ...]
    stage: int = 0

    @functools.cached_property
    def name(self) -> str:
        """Unique within a sweep; the name of the cell's folder."""
        return f"{self.title}-stage-{self.stage}" if self.stage else self.title

    @property
    def title(self) -> str:
        """Workload, width and methods: the name without the stage."""
        return title(self.workload, self.width, self.settings.own, self.methods)

    @functools.cached_property
    def methods(self) -> tuple[str, ...]:
        """The methods of its networks."""
        return tuple(dict.fromkeys(point["method"] for point in self.points))

    def problem(self) -> Problem:
        """The problem that the cell's networks are trained on."""
        return WORKLOADS[self.workload].problem(self.width, self.recipe, self.settings)

    def num_params(self, point: Point) -> int:
        """Number of unpruned parameters of a network."""
        return self._num_params(point["sparsity"], point["pruner"])

    @property
    def dense_params(self) -> int:
        """Number of parameters of an unpruned network."""
        return self._num_params(0.0, DENSE)

    def _num_params(self, sparsity: float, pruner: str) -> int:
        return WORKLOADS[self.workload].num_params(self.width, sparsity, pruner, self.settings)

    def with_radius(self, rho: Any) -> Method:
        """The cell's method at a radius."""
        method = method_named(self.method).with_radius(rho)
        if not isinstance(method, Perturbing):
            return method
        if self.m is not None:
            method = dataclasses.replace(method, m=self.m)
        if self.settings.parametrization != MUP2:
            return method
        layers = WORKLOADS[self.workload].multipliers(self.width, self.settings)
        return method if layers is None else with_perturbation(method, layers)


def title(workload: str, width: int, own: Sequence[tuple[str, Any]], methods: Sequence[str]) -> str:
    """The name of a cell without the stage; ``own`` holds the values of other axes that split cells."""
    shown = [one for one in own if one != (PARAMETRIZATION, STANDARD)]
    values = "".join(f"-{name}-{file_name(str(value))}" for name, value in shown)
    return f"{file_name(workload)}-width-{width}{values}-{'-and-'.join(map(file_name, methods))}"


def file_name(workload: str) -> str:
    """A workload's name made safe for file names, shortened; a user's own arrays lose their folder."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", Path(workload).name)[:100]


def epochs_of(method: str, epochs: int, budget: str) -> int:
    """Epochs that a method trains: ``epochs``, or enough to match SAM's number of gradients (at least one epoch)."""
    if budget == "epochs":
        return epochs
    return max(1, round(epochs * SAM().gradients_per_step / method_named(method).with_radius(0.0).gradients_per_step))


@dataclass(frozen=True)
class Part:
    """The part of a cell that follows from the spec alone, without loading the workload.

    Attributes:
        width: see ``Cell``.
        method: name of the method.
        own: values of other axes that split cells.
        epochs: number of epochs its networks train.
        points: the networks.
    """

    width: int
    method: str
    own: tuple[tuple[str, Any], ...]
    epochs: int
    points: tuple[Point, ...]


def parts(spec: Resolved) -> Iterator[Part]:
    """The parts of a grid in the order of widths, other axes that split cells, and methods."""
    splitting = [axis for axis in spec.axes if not axis.traced and axis.name not in CELL_AXES]
    for width, *own, method in itertools.product(spec.widths, *map(spec.values, splitting), spec.methods):
        yield Part(
            width=width,
            method=method,
            own=tuple((axis.name, value) for axis, value in zip(splitting, own, strict=True)),
            epochs=epochs_of(method, spec.epochs, spec.budget),
            points=tuple(_points(spec, width, method)),
        )


def _points(spec: Resolved, width: int, method: str) -> Iterator[Point]:
    """The networks of a part, each once. Networks that a study compares are adjacent: seeds, then radii."""
    inner = [axis for axis in spec.axes if axis.traced and axis != SEED]
    # The radius last, so that the networks of a radius are adjacent.
    slow = sorted(inner, key=lambda axis: axis.name == "rho")
    pruned = spec.prune == "all" or width == max(spec.widths)

    def values(axis: Axis) -> tuple[Any, ...]:
        given = spec.tried_by(method, axis)
        # Dense networks come first, and are there alone where this width is not pruned.
        return given if axis.name != "sparsity" else tuple(sorted(given, key=bool)) if pruned else (0.0,)

    seen = set()
    for *others, seed in itertools.product(*map(values, slow), spec.values(SEED)):
        chosen = dict(zip((axis.name for axis in slow), others, strict=True))
        if not chosen["sparsity"]:
            chosen["pruner"] = DENSE
        point = Point(seed, (("method", method), *((axis.name, chosen[axis.name]) for axis in inner)))
        if point not in seen:
            seen.add(point)
            yield point


def settings_of(spec: Resolved, own: tuple[tuple[str, Any], ...]) -> Settings:
    """The settings of a problem in a spec, besides width and recipe."""
    base = None if (PARAMETRIZATION, STANDARD) in own else spec.base_width
    return Settings(spec.train_examples, spec.label_noise_kind, spec.centered, spec.m is not None, own, base)


def cells_of(stages: Sequence[Resolved]) -> list[Cell]:
    """The cells of a sweep that was extended: those of its first spec, then what each later spec adds."""
    there: set[tuple[Any, ...]] = set()
    found = []
    for number, spec in enumerate(stages):
        grid = cells(spec)
        for cell in grid:
            new = tuple(point for point in cell.points if _network(cell, point) not in there) if there else cell.points
            if new:
                found.append(dataclasses.replace(cell, points=new, stage=number))
        if number < len(stages) - 1:
            there |= {_network(cell, point) for cell in grid for point in cell.points}
    return found


def contains(spec: Resolved, smaller: Resolved) -> bool:
    """Whether a spec contains every network of another one, trained in the same way."""
    if spec == smaller:
        return True
    varied = {"first_seed", "radii", *(axis.flag for axis in spec.axes)}
    # Standard networks are the same whatever the base width of others.
    varied |= {"base_width"} if None in (spec.base_width, smaller.base_width) else set()
    one, other = ({k: v for k, v in each.given().items() if k not in varied} for each in (spec, smaller))
    return (one, spec.centered) == (other, smaller.centered) and _networks(smaller) <= _networks(spec)


def _networks(spec: Resolved) -> set[tuple[Any, ...]]:
    return {(part.width, part.own, point) for part in parts(spec) for point in part.points}


def _network(cell: Cell, point: Point) -> tuple[Any, ...]:
    return (cell.width, cell.settings.own, point)


def _check_names(spec: Resolved) -> None:
    """Raises ``UsageError`` if two values of an axis, or two methods, give the same cell name."""
    if len(set(map(file_name, spec.methods))) < len(spec.methods):
        raise UsageError("methods", spec.methods, "has methods whose names differ only in signs; leave one out")
    for axis in own_of(spec.axes):
        names = [file_name(str(value)) for value in spec.values(axis)]
        if not axis.traced and len(set(names)) < len(names):
            raise UsageError(
                axis.flag,
                spec.values(axis),
                "has values that give the same file name; they must differ in letters, digits or dots in the first 100",
            )


def cells(spec: Resolved) -> list[Cell]:
    """The cells of a spec, in the order of its parts.

    Raises:
        UsageError: if two cells have the same name.
    """
    _check_names(spec)
    given = {name: getattr(spec, name) for name in RECIPE} | {"clip": spec.clip or None}
    recipe = dataclasses.replace(WORKLOADS[spec.workload].recipe, **given)
    found: list[Cell] = []
    for part in parts(spec):
        cell = Cell(
            workload=spec.workload,
            width=part.width,
            method=part.method,
            recipe=dataclasses.replace(recipe, epochs=part.epochs),
            m=spec.m,
            settings=settings_of(spec, part.own),
            points=part.points,
        )
        if found and _trains_along(found[-1], cell):
            cell = dataclasses.replace(cell, points=(*found.pop().points, *cell.points))
        found.append(cell)
    return found


def _trains_along(baseline: Cell, cell: Cell) -> bool:
    """Whether the baseline's networks are so small that training them with SAM's, with a second gradient, pays off."""
    alike = dataclasses.replace(baseline, method=cell.method, points=cell.points) == cell
    if not alike or (baseline.method, cell.method, cell.m) != ("sgd", "sam", None):
        return False
    workload = WORKLOADS[cell.workload]
    if is_convolutional(workload.structure(cell.width, cell.settings)):
        return False
    examples = cell.settings.train_examples or workload.train_examples
    # Of as many networks as a sweep usually has, not of those here: it may grow.
    return 6 * cell.dense_params * examples * cell.recipe.epochs * SEEDS <= WORTH_A_PROGRAM
