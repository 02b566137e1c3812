"""What is trained (a task) and the ways in which networks of one task differ (a replicate)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import equinox as eqx
from jaxtyping import Array, Key

from widebasin.data import Dataset, SplitSizes
from widebasin.training.network import Network
from widebasin.training.objective import Objective
from widebasin.training.recipe import Recipe


@dataclass(frozen=True, eq=False)
class Task:
    """Everything that networks trained in one program have in common.

    Attributes:
        build: key -> model of one example, see ``Network``.
        dataset: the examples.
        sizes: of the split, which each seed draws for itself.
        objective: loss and metrics.
        recipe: the training recipe; its learning rate and weight decay are the replicates' to override.
        label_noise_kind: of the noise on training labels.
        augment: (key, stored input of one example) -> the input as it is trained on this time; ``None`` changes none.
        centered: whether what is trained is ``output_scale (f(w, x) - f(w0, x))``, with the loss divided by
            ``output_scale^2``: the lazy regime of Chizat et al. 2019 at large scales.
    """

    build: Callable[[Key[Array, ""]], eqx.Module]
    dataset: Dataset
    sizes: SplitSizes
    objective: Objective
    recipe: Recipe
    label_noise_kind: str = "symmetric"
    augment: Callable[[Key[Array, ""], Array], Array] | None = None
    centered: bool = False

    @cached_property
    def network(self) -> Network:
        """The model as a function of parameters, state and batch."""
        return Network(self.build, self.recipe.precision)

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
        sparsity: share of the kernels' entries that are pruned at initialization.
        pruner: how they are chosen, one of ``PRUNERS``; ``none`` where the sparsity is 0.
        output_scale: see ``Task.centered``.
    """

    rho: float
    seed: int
    label_noise: float
    weight_decay: float
    learning_rate: float
    sparsity: float = 0.0
    pruner: str = "none"
    output_scale: float = 1.0
