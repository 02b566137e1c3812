"""What a workload is."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import equinox as eqx
from jaxtyping import Array, Key

from widebasin.data import Dataset, SplitSizes
from widebasin.statistics import ACCURACY, LOSS, Metric
from widebasin.training import Network, Objective, Recipe, Task, pruned_parameters

# To which share of each other numbers of parameters are matched by pruning.
MATCH = 0.005


@dataclass(frozen=True)
class Settings:
    """What a sweep asks of a task besides width and recipe.

    Attributes:
        train_examples: how many are trained on; ``None`` is all that the workload has.
        label_noise_kind: symmetric or asymmetric.
        centered: see ``Task``.
        own: name -> value of a workload's own axes that change the shape of the program.
    """

    train_examples: int | None = None
    label_noise_kind: str = "symmetric"
    centered: bool = False
    own: tuple[tuple[str, Any], ...] = ()


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
        augment: see ``Task``.
        output_scales: default scales of the lazy regime, see ``Task.centered``; empty where nothing is centered.
        quick: fields of a spec that the preset ``quick`` sets, for a few CPU cores.
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
    augment: Callable[[Key[Array, ""], Array], Array] | None = None
    output_scales: tuple[float, ...] = ()
    quick: Mapping[str, Any] = field(default_factory=dict)
    published: Mapping[int, float] = field(default_factory=dict)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """What networks are judged by; the first one chooses epochs and radii."""
        known = {metric.name: metric for metric in (ACCURACY, LOSS)}
        names = dict.fromkeys((self.objective.best, *self.objective.names))
        return tuple(known.get(name, Metric(name, self.objective.best_is_highest)) for name in names)

    @property
    def train_examples(self) -> int:
        """How many examples are trained on."""
        return self.sizes.train

    @property
    def has_classes(self) -> bool:
        """Whether training labels can be made wrong."""
        return self.load().num_classes is not None

    @property
    def streamed(self) -> bool:
        """Whether examples are read from the disk while networks train."""
        return self.load().files is not None

    def data_record(self) -> dict[str, str]:
        """``name`` and ``sha256`` of the data."""
        dataset = self.load()
        return {"name": dataset.name, "sha256": dataset.digest()}

    def check_width(self, width: int, settings: Settings = Settings()) -> None:
        """Raises ``ValueError`` if there is no model of this width."""
        del settings
        self.network(width)

    @functools.lru_cache(maxsize=4)  # noqa: B019 (a workload lives as long as the process)
    def task(self, width: int, recipe: Recipe, settings: Settings = Settings()) -> Task:
        """The task of training networks of one width; one object for all its methods, so that they share programs."""
        train = settings.train_examples
        return Task(
            build=lambda key: self.build(width, key),
            dataset=self.load(),
            sizes=self.sizes if train is None else replace(self.sizes, train=train),
            objective=self.objective,
            recipe=recipe,
            label_noise_kind=settings.label_noise_kind,
            augment=self.augment,
            centered=settings.centered,
        )

    @functools.lru_cache(maxsize=64)  # noqa: B019 (a workload lives as long as the process)
    def network(self, width: int) -> Network:
        """What the networks of a width have in common, in float32; none is built."""
        return Network(lambda key: self.build(width, key))

    @functools.lru_cache(maxsize=256)  # noqa: B019 (a workload lives as long as the process)
    def num_params(
        self,
        width: int,
        sparsity: float = 0.0,
        pruner: str = "none",
        settings: Settings = Settings(),
    ) -> int:
        """Number of parameters at a width, less those that are pruned."""
        del settings
        network = self.network(width)
        return network.num_params - pruned_parameters(network.shapes, sparsity, pruner)

    def matching_sparsities(self, widths: Sequence[int]) -> tuple[float, ...]:
        """At which sparsities the largest of these widths has as many parameters as each of the others.

        To as few decimals, at least four, as leave the numbers within half a percent; widths are left out
        that have fewer parameters than the largest has biases, which stay.
        """
        largest = max(widths)
        everything = self.num_params(largest)
        kernels = everything - self.num_params(largest, 1.0, "random")

        def share(width: int) -> float:
            wanted = self.num_params(width)
            exact = (everything - wanted) / kernels
            rounded = (round(exact, decimals) for decimals in range(4, 16))
            close = (one for one in rounded if abs(everything - one * kernels - wanted) <= MATCH * wanted)
            return next(close, exact)

        smaller = sorted({width for width in widths if width < largest}, reverse=True)
        shares = [share(width) for width in smaller if everything - self.num_params(width) < kernels]
        return tuple(dict.fromkeys(shares))
