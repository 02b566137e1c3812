"""What a workload is."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import equinox as eqx
import jax
from jaxtyping import Array, Key

from widebasin.data import Dataset, SplitSizes
from widebasin.models import count_parameters
from widebasin.training import Objective, Recipe, Task


@dataclass(frozen=True, eq=False)
class Workload:
    """Data, model and recipe under one name.

    Attributes:
        name: on the command line and in tables.
        model: name of the architecture, for tables.
        description: one line.
        load: the data set.
        build: (width, key) -> model of one example.
        sizes: of the split.
        objective: loss and metrics.
        recipe: defaults; any of it can be overridden by a spec.
        widths: the ladder that a study climbs.
        rhos: radii to choose from.
        label_noise: default share of wrong training labels.
        published: number of parameters -> SAM's gain as read off the paper's figure; empty if it has none.
    """

    name: str
    model: str
    description: str
    load: Callable[[], Dataset]
    build: Callable[[int, Key[Array, ""]], eqx.Module]
    sizes: SplitSizes
    objective: Objective
    recipe: Recipe
    widths: tuple[int, ...]
    rhos: tuple[float, ...]
    label_noise: float = 0.0
    published: Mapping[int, float] = field(default_factory=dict)

    @functools.lru_cache(maxsize=4)  # noqa: B019 (a workload lives as long as the process)
    def task(self, width: int, recipe: Recipe, label_noise_kind: str = "symmetric") -> Task:
        """The task of training networks of one width; one object for all its methods, so that they share programs."""
        return Task(
            build=lambda key: self.build(width, key),
            dataset=self.load(),
            sizes=self.sizes,
            objective=self.objective,
            recipe=recipe,
            label_noise_kind=label_noise_kind,
        )

    @functools.lru_cache(maxsize=256)  # noqa: B019 (a workload lives as long as the process)
    def num_params(self, width: int) -> int:
        """Number of parameters at a width, without building the network."""
        return count_parameters(eqx.filter_eval_shape(self.build, width, jax.random.key(0)))
