"""What is trained (a task) and the ways in which networks of one task differ (a replicate)."""

from collections.abc import Callable
from dataclasses import dataclass

import equinox as eqx
from jaxtyping import Array, Key

from widebasin.data import Dataset, SplitSizes
from widebasin.training.objective import Objective
from widebasin.training.recipe import Recipe


@dataclass(frozen=True, eq=False)
class Task:
    """Everything that networks trained in one program have in common.

    Attributes:
        build: key -> model of one example.
        dataset: the examples.
        sizes: of the split, which each seed draws for itself.
        objective: loss and metrics.
        recipe: the training recipe; its learning rate and weight decay are the replicates' to override.
        label_noise_kind: of the noise on training labels.
    """

    build: Callable[[Key[Array, ""]], eqx.Module]
    dataset: Dataset
    sizes: SplitSizes
    objective: Objective
    recipe: Recipe
    label_noise_kind: str = "symmetric"

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in the training set."""
        return self.sizes.train // self.recipe.batch_size


@dataclass(frozen=True, order=True)
class Replicate:
    """One network of a task. The seed decides split, initialization, batch order and noisy labels.

    Attributes:
        rho: radius of the method; 0 for SGD.
        seed: of everything random.
        label_noise: share of wrong training labels.
        weight_decay: see ``Recipe``.
        learning_rate: see ``Recipe``.
    """

    rho: float
    seed: int
    label_noise: float
    weight_decay: float
    learning_rate: float
