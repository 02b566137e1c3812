"""What a workload is."""

import abc
import dataclasses
import functools
import inspect
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from widebasin.axis import Axis
from widebasin.data import Buckets, DataError, Dataset, SplitSizes, split_fits
from widebasin.data.splits import parts_of_every_split
from widebasin.models import count_parameters
from widebasin.parametrization import STANDARD, Multipliers, initialized, multipliers
from widebasin.shown import shown
from widebasin.statistics import ACCURACY, Metric
from widebasin.statistics.design import COLUMNS, PREFIXES
from widebasin.statistics.ranking import mean_average_precision, mean_roc_auc
from widebasin.training import (
    BINARY_TASKS,
    CLASSIFICATION,
    REGRESSION,
    SQUARED_CLASSIFICATION,
    TAGGING,
    Bucketed,
    Centered,
    Cut,
    Network,
    Objective,
    Problem,
    Recipe,
    Streamed,
    Supervised,
    computing_in,
    pruned_parameters,
    shortened,
)

LOGGER = logging.getLogger("widebasin")
PARAMETRIZATION = "parametrization"
"""Name of the axis of parametrizations."""
# Examples to validate or to test on, below which a warning is due.
FEW_TO_JUDGE = 30
# To which share of each other numbers of parameters are matched by pruning.
MATCH = 0.005
# Numbers of one array; XLA counts to 2**63, over all networks of a program and their batches.
LARGEST_ARRAY = 2**56


@dataclass(frozen=True)
class Settings:
    """What networks of one program have in common besides width and recipe.

    Attributes:
        train_examples: how many are trained on; ``None`` is all that the workload has.
        label_noise_kind: of the noise on training labels.
        centered: whether ``alpha (f(w) - f(w0))`` is trained, see ``training.Centered``.
        grouped: whether a method computes ascents on groups of a batch (``m``).
        own: values on axes that change what is compiled: the parametrization, and the workload's own, such as a depth.
        base_width: width at which all parametrizations are the same; by default the smallest of the workload's.
    """

    train_examples: int | None = None
    label_noise_kind: str = "symmetric"
    centered: bool = False
    grouped: bool = False
    own: tuple[tuple[str, Any], ...] = ()
    base_width: int | None = None

    @property
    def parametrization(self) -> str:
        """How layers follow the width, by name."""
        return str(dict(self.own).get(PARAMETRIZATION, STANDARD))

    @property
    def standard(self) -> "Settings":
        """The same settings in the standard parametrization."""
        return dataclasses.replace(
            self, own=tuple(one for one in self.own if one[0] != PARAMETRIZATION), base_width=None
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class Workload(abc.ABC):
    """A problem of every width, with its recipe, under one name.

    Attributes:
        name: on the command line and in tables.
        model: name of the architecture, for tables.
        description: one line.
        recipe: defaults; any of it can be overridden by a spec.
        widths: the ladder that a study climbs.
        rhos: radii to choose from.
        label_noise: default share of wrong training labels.
        output_scales: default scales of the lazy regime, see ``training.Centered``; empty where nothing is centered.
        quick: fields of a spec that the preset ``quick`` sets, for a few CPU cores.
        published: number of parameters -> SAM's gain as read off the paper's figure; empty if it has none.
        axes: what a grid of this workload may vary besides what all may, such as dropout.
        references: () -> what simple models reach in the metric that judges, on the test part, learnt from true labels;
            by name. They stand beside every result.
    """

    name: str
    model: str
    description: str
    recipe: Recipe
    widths: tuple[int, ...]
    rhos: tuple[float, ...]
    label_noise: float = 0.0
    output_scales: tuple[float, ...] = ()
    quick: Mapping[str, Any] = field(default_factory=dict)
    published: Mapping[int, float] = field(default_factory=dict)
    axes: tuple[Axis, ...] = ()
    references: Callable[[], Mapping[str, float]] = dict

    def __post_init__(self) -> None:
        """Raises ``ValueError`` for an attribute that is not what it must be."""
        refuse_unless("recipe", self.recipe, isinstance(self.recipe, Recipe), "a Recipe(epochs=, batch_size=, ...)")
        for name, kinds, wanted in (
            ("widths", int, "a tuple of different whole numbers of at least 1, such as (4, 16)"),
            ("rhos", int | float, "a tuple of different numbers of at least 0, such as (0.05, 0.2)"),
        ):
            values = getattr(self, name)
            holds = isinstance(values, tuple) and values and all(isinstance(value, kinds) for value in values)
            holds = bool(holds) and len(set(values)) == len(values) and min(values) >= (1 if kinds is int else 0)
            refuse_unless(name, values, holds, wanted)
        for axis in self.axes:
            if axis.name in COLUMNS or axis.name.startswith(PREFIXES):
                raise ValueError(f"axis {axis.name} of {self.name}: tables have a column of that name; choose another")

    @property
    @abc.abstractmethod
    def metrics(self) -> tuple[Metric, ...]:
        """What networks are judged by; the first one chooses epochs and radii."""

    @property
    @abc.abstractmethod
    def train_examples(self) -> int:
        """How many examples are trained on."""

    @abc.abstractmethod
    def new_problem(self, width: int, recipe: Recipe, settings: Settings) -> Problem:
        """What is trained at a width.

        Raises:
            DataError: if the data are not here, or not all of them.
            ValueError: if there is no such model.
        """

    @abc.abstractmethod
    def data_record(self) -> dict[str, str]:
        """``name`` and ``sha256`` of the data."""

    @property
    def has_layers(self) -> bool:
        """Whether the layers of its models can follow the width by other rules than the standard ones."""
        return False

    @property
    def has_classes(self) -> bool:
        """Whether training labels can be made wrong."""
        return False

    @property
    def has_examples(self) -> bool:
        """Whether it is a data set of examples, on which trained networks can be measured."""
        return False

    @property
    def chance(self) -> float | None:
        """What guessing the most frequent class reaches in the metric that judges; ``None`` where that is not known."""
        return None

    @property
    def streamed(self) -> bool:
        """Whether examples are read from the disk while networks train."""
        return False

    def refusals(self, spec: Any) -> Iterator[tuple[str, str]]:
        """What a resolved spec must be for this workload and is not: name of the argument, and what it must be."""
        del spec
        yield from ()

    def can_be_centered(self, width: int) -> bool:
        """Whether networks of a width have a lazy regime."""
        del width
        return False

    @functools.lru_cache(maxsize=4)  # noqa: B019 (a workload lives as long as the process)
    def problem(self, width: int, recipe: Recipe, settings: Settings = Settings()) -> Problem:
        """``new_problem``, one object for all methods, so that they share its data."""
        return self.new_problem(width, recipe, settings)

    def check_width(self, width: int, settings: Settings = Settings()) -> None:
        """Raises ``ValueError`` if there is no model of this width, or none that could be trained; builds none."""
        shapes = jax.tree.leaves(self.structure(width, settings))
        sizes = [math.prod(leaf.shape) for leaf in shapes if isinstance(leaf, jax.ShapeDtypeStruct)]
        if (largest := max(sizes, default=0)) > LARGEST_ARRAY:
            raise ValueError(f"it has an array of {largest:.1e} numbers, and an array can have {LARGEST_ARRAY:.1e}")

    @functools.lru_cache(maxsize=64)  # noqa: B019 (a workload lives as long as the process)
    def structure(self, width: int, settings: Settings = Settings()) -> Any:
        """The model of a width with shapes for arrays; none is built."""
        return self.new_problem(width, self.recipe, settings).structure

    @functools.lru_cache(maxsize=64)  # noqa: B019 (a workload lives as long as the process)
    def multipliers(self, width: int, settings: Settings) -> Multipliers | None:
        """The factors of the layers of a width; ``None`` in the standard parametrization.

        Raises:
            ValueError: if there is no model of the base width, or it has other parameters.
        """
        if settings.parametrization == STANDARD:
            return None
        base = min(self.widths) if settings.base_width is None else settings.base_width
        return multipliers(*(self.structure(one, settings.standard) for one in (width, base)))

    @functools.lru_cache(maxsize=256)  # noqa: B019 (a workload lives as long as the process)
    def num_params(
        self, width: int, sparsity: float = 0.0, pruner: str = "none", settings: Settings = Settings()
    ) -> int:
        """Number of parameters at a width, less those that are pruned."""
        shapes = eqx.filter(self.structure(width, settings), lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct))
        return count_parameters(shapes) - pruned_parameters(shapes, sparsity, pruner)

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


@dataclass(frozen=True, eq=False, kw_only=True)
class SupervisedWorkload(Workload):
    """A data set, a model of one example and an objective.

    Attributes:
        load: the data set.
        build: ``(width, key, **values) -> model`` of one example, with the values of own axes that change what is
            compiled.
        sizes: of the split.
        objective: loss and metrics.
        augment: see ``training.Supervised``.
        given: see ``training.Supervised``.
        input_shape: of one image as bytes, where costs are to be known without the data.
        buckets: the sizes of examples that have different ones, such as sentences, see ``training.Bucketed``.
        cut: how such examples are shortened, see ``training.Bucketed``.
    """

    load: Callable[[], Dataset]
    build: Callable[..., eqx.Module]
    sizes: SplitSizes
    objective: Objective
    augment: Callable[[Key[Array, ""], Array], Array] | None = None
    given: tuple[str, ...] = ()
    input_shape: tuple[int, ...] | None = None
    buckets: Callable[[], Buckets] | None = None
    cut: Cut = shortened

    def __post_init__(self) -> None:
        """Raises ``ValueError`` for an attribute that is not as it must be, or an axis whose values reach no model."""
        super().__post_init__()
        refuse_unless("sizes", self.sizes, isinstance(self.sizes, SplitSizes), "SplitSizes(train=, valid=, test=)")
        wanted = "CLASSIFICATION, REGRESSION or an Objective(loss=, ...)"
        refuse_unless("objective", self.objective, isinstance(self.objective, Objective), wanted)
        wanted = "a function without arguments that returns a Dataset"
        refuse_unless("load", self.load, takes(self.load), wanted)
        wanted = "a tuple of names of axes, such as ('dropout',)"
        refuse_unless("given", self.given, isinstance(self.given, tuple), wanted)
        own = {axis.name: None for axis in self.axes if not axis.traced}
        wanted = f"a function of {', '.join(('width', 'key', *own))} that returns a model"
        refuse_unless("build", self.build, takes(self.build, 1, None, **own), wanted)
        for axis in self.axes:
            if axis.traced and (axis.name not in self.given or axis.kind is str):
                raise ValueError(
                    f"axis {axis.name} of {self.name}: numbers that share a program are given to the model by name, so "
                    f"put it into given=; or take Axis(traced=False), which hands its values to build"
                )

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Those of the objective."""
        return self.objective.all_metrics

    @property
    def train_examples(self) -> int:
        """See ``Workload``."""
        return self.sizes.train

    @property
    def has_examples(self) -> bool:
        """See ``Workload``."""
        return True

    @property
    def has_layers(self) -> bool:
        """See ``Workload``."""
        return True

    @property
    def dataset(self) -> Dataset:
        """What ``load`` gives.

        Raises:
            DataError: if it is no ``Dataset``.
        """
        dataset = self.load()
        if not isinstance(dataset, Dataset):
            line = getattr(getattr(inspect.unwrap(self.load), "__code__", None), "co_firstlineno", None)
            where = f" (from line {line} on)" if line else ""
            given = "None: end it with return" if dataset is None else f"one of type {type(dataset).__name__}"
            raise DataError(f"load of {self.name}{where} must return a Dataset, and returns {given}")
        return dataset

    @property
    def has_classes(self) -> bool:
        """See ``Workload``."""
        return self.dataset.num_classes is not None

    @property
    def chance(self) -> float | None:
        """See ``Workload``."""
        if not self.has_classes or self.metrics[0].name != ACCURACY.name:
            return None
        known = _labels_to_train_on(self.dataset)
        return float(np.bincount(known).max() / len(known))

    @property
    def streamed(self) -> bool:
        """See ``Workload``."""
        return self.dataset.files is not None

    def can_be_centered(self, width: int) -> bool:
        """Where the model has no state."""
        return not self.network(width).stateful

    def data_record(self) -> dict[str, str]:
        """See ``Workload``."""
        dataset = self.dataset
        return {"name": dataset.name, "sha256": dataset.digest()}

    def structure(self, width: int, settings: Settings = Settings()) -> Any:
        """See ``Workload``; without the data."""
        return self.network(width, settings).structure

    @functools.lru_cache(maxsize=64)  # noqa: B019 (a workload lives as long as the process)
    def network(self, width: int, settings: Settings = Settings()) -> Network:
        """What the networks of a width have in common, in float32; none is built."""
        return Network(self._build(width, settings))

    def _build(self, width: int, settings: Settings) -> Callable[[Key[Array, ""]], eqx.Module]:
        usual = {axis.name: axis.single_value(self) for axis in self.axes if not axis.traced}
        own = usual | dict(settings.standard.own)
        factors = self.multipliers(width, settings)
        if factors is None:
            return lambda key: self.build(width, key, **own)
        return lambda key: initialized(self.build(width, key, **own), factors)

    def new_problem(self, width: int, recipe: Recipe, settings: Settings) -> Problem:
        """See ``Workload``."""
        dataset = self.dataset
        sizes = self.sizes
        if settings.train_examples is not None:
            sizes = dataclasses.replace(sizes, train=settings.train_examples)
        self._check_examples(dataset, sizes)
        self._check_outputs(width, settings)
        self._check_parts(dataset, sizes)
        self._say_if_not_finite()
        of_problem: dict[str, Any] = {
            "build": self._build(width, settings),
            "dataset": dataset,
            "sizes": sizes,
            "objective": self.objective,
            "recipe": recipe,
            "label_noise_kind": settings.label_noise_kind,
            "augment": self.augment,
            "given": self.given,
            "layers": self.multipliers(width, settings),
        }
        if self.buckets is not None:
            supervised = Bucketed(buckets=self.buckets(), cut=self.cut, grouped=settings.grouped, **of_problem)
        else:
            supervised = (Supervised if dataset.files is None else Streamed)(**of_problem)
        return Centered(supervised) if settings.centered else supervised

    def _check_examples(self, dataset: Dataset, sizes: SplitSizes) -> None:
        if not split_fits(len(dataset), sizes, dataset.fixed_test, dataset.fixed_valid):
            raise DataError(
                f"{self.name} trains on {sizes.train:,}, validates on {sizes.valid:,} and tests on {sizes.test:,} "
                f"examples; of {dataset.name} there are {len(dataset):,} here"
                + f", {dataset.fixed_test:,} of them to test on" * (dataset.fixed_test > 0)
                + ": complete the data, or take smaller sizes"
            )
        if dataset.num_classes is not None:
            known = _labels_to_train_on(dataset)
            if not len(known) or np.min(known) == np.max(known):
                which = f"are of class {known[0]}" if len(known) else "are missing"
                training = "training " * (dataset.fixed_valid + dataset.fixed_test > 0)
                raise DataError(f"all {training}targets of {dataset.name} {which}: nothing to learn")

    def _check_parts(self, dataset: Dataset, sizes: SplitSizes) -> None:
        """Raises ``DataError`` if no example of a part has a label or, where tasks are ranked, no task both classes.

        For a part that a seed draws, all examples that it may be drawn from are looked at.
        """
        if dataset.num_classes is None and self.objective not in (TAGGING, BINARY_TASKS):
            return
        targets, judge = np.asarray(dataset.targets), self.metrics[0]
        ranked = self.objective.of_dataset.get(judge) in (mean_average_precision, mean_roc_auc)
        drawn = np.arange(len(dataset) - dataset.fixed_valid - dataset.fixed_test)
        fixed = parts_of_every_split(len(dataset), sizes, dataset.fixed_test, dataset.shuffled, dataset.fixed_valid)
        for part, words in (("train", "training "), ("valid", "validation "), ("test", "test ")):
            own = targets[fixed.get(part, drawn)]
            which = f"the {len(own):,} {words if part in fixed else ''}examples of {dataset.name}"
            if (own < 0).all():
                raise DataError(f"none of {which} has a label: add labels, or split the examples otherwise")
            if ranked and part != "train" and not ((own == 0).any(0) & (own == 1).any(0)).any():
                raise DataError(
                    f"no task has both 0 and 1 among {which}, and {judge.title} needs both: take more examples, or "
                    "split them otherwise"
                )

    @functools.lru_cache(maxsize=64)  # noqa: B019 (a workload lives as long as the process)
    def _check_outputs(self, width: int, settings: Settings) -> None:
        """Raises ``DataError`` where a loss takes outputs for what they are not, in silence, or gives no number."""
        dataset, network = self.dataset, self.network(width, settings)
        classifies = self.objective in (CLASSIFICATION, SQUARED_CLASSIFICATION, TAGGING)
        inputs = np.zeros((1, *(dataset.image_size,) * 2, 3), np.uint8) if dataset.files else _one(dataset.inputs)

        def outputs(params: Any, state: Any, inputs: Any) -> Any:
            given = {name: jnp.zeros(()) for name in self.given}
            return network.outputs(params, state, dataset.prepared(inputs), training=False, given=given)[0]

        with computing_in("float32"):
            found = jax.eval_shape(outputs, network.shapes, network.state_shapes, inputs)
            if not classifies and self.objective not in (REGRESSION, BINARY_TASKS):
                self._check_own_objective(found)
                return
        shape = found.shape[1:] if isinstance(found, jax.ShapeDtypeStruct) else ()
        wanted = np.shape(_one(dataset.targets))[1:]
        which = f"the model of width {width} of {self.name} gives outputs of shape {shape} for an example"
        if self.objective is BINARY_TASKS and not np.isin(dataset.targets, (-1, 0, 1)).all():
            wrong = np.setdiff1d(dataset.targets, (-1, 0, 1))[0]
            raise DataError(f"targets of {dataset.name} must be 0, 1, or -1 where one is missing, got {wrong}")
        if not classifies and shape != wanted:
            raise DataError(f"{which}, and targets of {dataset.name} have shape {wanted}; they must be alike")
        if classifies:
            classes = dataset.num_classes or int(np.max(dataset.targets)) + 1
            several = self.objective is TAGGING
            if len(wanted) != several or not np.issubdtype(np.asarray(dataset.targets).dtype, np.integer):
                of = "every position of an example, and all examples as many" if several else "each example"
                raise DataError(f"targets of {dataset.name} must be one integer for {of}, its class")
            if (lowest := int(np.min(dataset.targets))) < -several:
                remedy = ", or -1 where there is none" if several else ": use numpy.unique(..., return_inverse=True)[1]"
                raise DataError(
                    f"targets of {dataset.name} run from {lowest} to {np.max(dataset.targets)}; they must be 0 to the "
                    f"number of classes - 1{remedy}"
                )
            if shape[:-1] != wanted or not shape or shape[-1] < classes:
                raise DataError(
                    f"{which}, and {dataset.name} has {classes} classes; give it an output for each, shape "
                    f"{(*wanted, classes)}"
                )

    def _check_own_objective(self, outputs: Any) -> None:
        """Raises ``DataError`` where the loss or a metric of an example is no number."""
        from widebasin.workloads.files import line_of

        try:
            jax.eval_shape(self.objective.of_examples, outputs, _one(self.dataset.targets))
        except ValueError as error:
            if line_of(error):  # their own, which is shown with its line
                raise
            raise DataError(f"{self.name}: {error}") from error

    @functools.lru_cache(maxsize=1)  # noqa: B019 (a workload lives as long as the process)
    def _say_if_not_finite(self) -> None:
        """Logs a warning if inputs or targets are NaN or infinite: a network then diverges with the first of them."""
        dataset = self.dataset
        for what, tree, remedy in (
            ("inputs", dataset.inputs, "unless the model replaces them"),
            ("targets", dataset.targets, "unless the objective leaves them out"),
        ):
            wrong = np.zeros(len(dataset), bool)
            for leaf in jax.tree.leaves(tree):
                if np.issubdtype(leaf.dtype, np.floating):
                    wrong |= ~np.isfinite(leaf).reshape(len(leaf), -1).all(1)
            if wrong.any():
                first, others = int(wrong.argmax()), int(wrong.sum()) - 1
                LOGGER.warning(
                    shown(
                        f"{dataset.name}: {what} of example {first} (and {others:,} others) are NaN or infinite; "
                        f"networks that train on them diverge, {remedy}"
                    )
                )


def say_if_few(dataset: Dataset, sizes: SplitSizes) -> None:
    """Logs a warning if there are fewer than 30 examples to validate or to test on: one is more than 3 points."""
    if min(sizes.valid, sizes.test) < FEW_TO_JUDGE:
        LOGGER.warning(
            shown(
                f"{dataset.name}: of {len(dataset):,} examples, {sizes.valid:,} for validation and {sizes.test:,} for "
                "test; with so few, only large differences between methods are visible"
            )
        )


def _labels_to_train_on(dataset: Dataset) -> np.ndarray:
    """The known labels of all examples that training examples are drawn from."""
    targets = np.asarray(dataset.targets)[: len(dataset) - dataset.fixed_valid - dataset.fixed_test]
    return targets[targets >= 0]


def _one(tree: Any) -> Any:
    """The first example, as a batch."""
    return jax.tree.map(lambda leaf: leaf[:1], tree)


def refuse_unless(name: str, value: Any, holds: bool, wanted: str) -> None:
    """Raises ``ValueError`` if an attribute of a workload is not what it must be."""
    if not holds:
        raise ValueError(
            f"{name} of a workload must be {wanted}, got {getattr(value, '__name__', None) or repr(value)}"
        )


def takes(function: Any, *arguments: Any, **keywords: Any) -> bool:
    """Whether this is a function of such arguments."""
    if not callable(function):
        return False
    try:
        inspect.signature(function).bind(*arguments, **keywords)
    except TypeError:
        return False
    except ValueError:  # of a function that does not say what it takes
        return True
    return True
