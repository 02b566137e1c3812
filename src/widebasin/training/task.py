"""What is trained (a task) and the ways in which networks of one task differ (a replicate)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

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
class Point:
    """One network of a grid. The seed decides split, initialization, batch order and noisy labels.

    Attributes:
        seed: of everything random.
        axes: name of an axis -> value, in the order of the table of axes.
    """

    seed: int
    axes: tuple[tuple[str, float | str], ...]

    def __getitem__(self, name: str) -> Any:
        return dict(self.axes)[name]

    def get(self, name: str, default: float | str) -> Any:
        """The value of an axis, or a default where the grid has no such axis."""
        return dict(self.axes).get(name, default)

    @classmethod
    def of(cls, seed: int, **axes: float | str) -> "Point":
        """A point from its axes by name."""
        return cls(seed, tuple(axes.items()))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "axes":
            raise AttributeError(name)
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


class Replicate(Point):
    """A point by its axes in a fixed order."""

    def __init__(
        self,
        rho: float,
        seed: int,
        label_noise: float,
        weight_decay: float,
        learning_rate: float,
        sparsity: float = 0.0,
        pruner: str = "none",
        output_scale: float = 1.0,
    ) -> None:
        names = ("rho", "sparsity", "pruner", "output_scale", "label_noise", "weight_decay", "learning_rate")
        values = (rho, sparsity, pruner, output_scale, label_noise, weight_decay, learning_rate)
        super().__init__(seed, tuple(zip(names, values, strict=True)))
