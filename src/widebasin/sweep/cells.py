"""Cells: the parts of a grid with one compiled shape."""

import itertools
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from widebasin.sam import METHODS, SAM, SGD, Method
from widebasin.sweep.spec import Spec
from widebasin.training import Recipe, Replicate, Task
from widebasin.workloads import WORKLOADS


@dataclass(frozen=True)
class Cell:
    """All networks of one workload, width and method. Plain data: an executor may send it anywhere.

    Attributes:
        workload: name.
        width: of the model.
        method: name.
        recipe: as the spec has it.
        m: examples per ascent; ``None`` is the whole batch.
        label_noise_kind: symmetric or asymmetric.
        train_examples: how many are trained on.
        centered: whether outputs are measured from those at initialization and scaled, see ``Task``.
        replicates: the networks.
    """

    workload: str
    width: int
    method: str
    recipe: Recipe
    m: int | None
    label_noise_kind: str
    train_examples: int
    centered: bool
    replicates: tuple[Replicate, ...]

    @property
    def name(self) -> str:
        """Unique within a sweep; the name of the cell's folder."""
        return f"{file_name(self.workload)}-width-{self.width}-{self.method}"

    def task(self) -> Task:
        """The task that the cell's replicates share."""
        workload = WORKLOADS[self.workload]
        return workload.task(self.width, self.recipe, self.label_noise_kind, self.train_examples, self.centered)

    def num_params(self, replicate: Replicate) -> int:
        """Number of parameters of a network that are not pruned."""
        return WORKLOADS[self.workload].num_params(self.width, replicate.sparsity, replicate.pruner)

    def with_radius(self, rho: Any) -> Method:
        """The cell's method at a radius."""
        method = METHODS[self.method].with_radius(rho)
        return method if self.m is None or isinstance(method, SGD) else replace(method, m=self.m)  # pyright: ignore[reportArgumentType]


def file_name(workload: str) -> str:
    """A workload's name as part of the name of a file: that of a user's own arrays without their folder."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", Path(workload).name)


def epochs_of(method: str, epochs: int, budget: str) -> int:
    """How long a method trains: ``epochs``, or for as many gradients as SAM takes in these (at least one epoch)."""
    if budget == "epochs":
        return epochs
    return max(1, round(epochs * SAM().gradients_per_step / METHODS[method].with_radius(0.0).gradients_per_step))


def cells(spec: Spec) -> list[Cell]:
    """The cells of a resolved spec, in the order of widths and methods."""
    # A resolved spec has a value everywhere; a type checker has to be told.
    assert spec.widths is not None
    assert spec.rhos is not None
    assert spec.label_noise is not None
    assert spec.weight_decay is not None
    assert spec.learning_rate is not None
    assert spec.epochs is not None
    assert spec.batch_size is not None
    assert spec.schedule is not None
    assert spec.momentum is not None
    assert spec.precision is not None
    assert spec.sparsity is not None
    assert spec.train_examples is not None
    recipe = replace(
        WORKLOADS[spec.workload].recipe,
        batch_size=spec.batch_size,
        schedule=spec.schedule,
        momentum=spec.momentum,
        precision=spec.precision,
    )
    assert spec.seeds is not None
    dense = [("none", 0.0)]
    levels = dense if 0.0 in spec.sparsity else []
    levels = levels + [(pruner, sparsity) for sparsity in spec.sparsity if sparsity for pruner in spec.pruners]
    seeds = range(spec.first_seed, spec.first_seed + spec.seeds)
    return [
        Cell(
            workload=spec.workload,
            width=width,
            method=method,
            recipe=replace(recipe, epochs=epochs_of(method, spec.epochs, spec.budget)),
            m=spec.m,
            label_noise_kind=spec.label_noise_kind,
            train_examples=spec.train_examples,
            centered=spec.output_scale is not None,
            replicates=tuple(
                Replicate(
                    rho=rho,
                    seed=seed,
                    label_noise=noise,
                    weight_decay=decay,
                    learning_rate=rate,
                    sparsity=sparsity,
                    pruner=pruner,
                    output_scale=scale,
                )
                for (pruner, sparsity), scale, noise, decay, rate, rho, seed in itertools.product(
                    levels if spec.prune == "all" or width == max(spec.widths) else dense,
                    spec.output_scale or (1.0,),
                    spec.label_noise,
                    spec.weight_decay,
                    spec.learning_rate,
                    (0.0,) if method == "sgd" else spec.rhos,
                    seeds,
                )
            ),
        )
        for width, method in itertools.product(spec.widths, spec.methods)
    ]
