"""Cells: the parts of a grid with one compiled shape."""

import itertools
from dataclasses import dataclass, replace

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
        label_noise_kind: symmetric or asymmetric.
        replicates: the networks.
    """

    workload: str
    width: int
    method: str
    recipe: Recipe
    label_noise_kind: str
    replicates: tuple[Replicate, ...]

    @property
    def name(self) -> str:
        """Unique within a sweep; the name of the cell's folder."""
        return f"{self.workload}-width-{self.width}-{self.method}"

    def task(self) -> Task:
        """The task that the cell's replicates share."""
        return WORKLOADS[self.workload].task(self.width, self.recipe, self.label_noise_kind)


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
    recipe = replace(
        WORKLOADS[spec.workload].recipe,
        epochs=spec.epochs,
        batch_size=spec.batch_size,
        schedule=spec.schedule,
        momentum=spec.momentum,
    )
    seeds = range(spec.first_seed, spec.first_seed + spec.seeds)
    return [
        Cell(
            workload=spec.workload,
            width=width,
            method=method,
            recipe=recipe,
            label_noise_kind=spec.label_noise_kind,
            replicates=tuple(
                Replicate(rho=rho, seed=seed, label_noise=noise, weight_decay=decay, learning_rate=rate)
                for noise, decay, rate, rho, seed in itertools.product(
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
