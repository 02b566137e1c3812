"""The class ``Study``: a question with its grid. Its answer is in ``studies.answers``."""

import importlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import isfinite
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Literal, get_args

import tyro

from widebasin.statistics import BASELINE
from widebasin.sweep import Resolved, Spec, UsageError, nearest_name, workload_named
from widebasin.sweep.axes import COMPARED

if TYPE_CHECKING:
    from widebasin.report.page import Answer
    from widebasin.studies.measuring import Instrument
    from widebasin.studies.tables import Tables
    from widebasin.workloads import Workload


ANSWERS = "widebasin.studies.answers"
Split = Literal["valid", "test"]
Epoch = Literal["final", "best"]
SPLITS, EPOCHS = get_args(Split), get_args(Epoch)


@dataclass(frozen=True)
class Options:
    """How results are analyzed; changing these options trains nothing."""

    select: Split = "valid"
    """Split on which rho* is chosen. test is the paper's protocol: it chooses and reports on the same data."""
    at: Epoch = "final"
    """Report the final epoch, or the best epoch on the validation split."""
    samples: int = 256
    """Number of training examples used to measure curvature; all, if there are fewer."""

    def check(self) -> None:
        """Raises ``UsageError`` if a value is invalid."""
        for argument, value, known in (("select", self.select, SPLITS), ("at", self.at, EPOCHS)):
            if value not in known:
                raise nearest_name(argument, str(value), known)
        check_samples(self.samples)


@dataclass(frozen=True)
class Measures:
    """How trained networks are measured."""

    samples: int = 256
    """Number of training examples used to measure curvature; all, if there are fewer."""
    multiples: Annotated[tuple[float, ...], tyro.conf.arg(metavar="FLOAT [FLOAT ...]")] = (1.0,)
    """Multiples of the training learning rate at which stability is tested."""
    sharpness_rho: float = 0.05
    """Radius of worst-case and average sharpness."""

    def check(self) -> None:
        """Raises ``UsageError`` if a value is invalid."""
        check_samples(self.samples)
        if not self.multiples or not all(isfinite(m) and m > 0 for m in self.multiples):
            raise UsageError("multiples", self.multiples, "must be finite numbers > 0")
        if len(set(self.multiples)) < len(self.multiples):
            raise UsageError("multiples", self.multiples, "must be different numbers")
        if not (isfinite(self.sharpness_rho) and self.sharpness_rho > 0):
            raise UsageError("sharpness_rho", self.sharpness_rho, "must be a finite number > 0")


@dataclass(frozen=True)
class Study:
    """A question with its grid.

    Attributes:
        question: one sentence.
        spec: the default grid.
        name: name on the command line; empty if it is not a separate study.
        order: its position in lists of studies.
        answered_by: module in ``studies.answers``, if not named like the study; with its package if it is elsewhere,
            such as your own study in one file with its question.
        compares: whether the answer needs the baseline and another method.
        gains: at which epochs the report shows the gains that the files have: ``chosen``, at that of the options,
            ``both``, at either, or ``none``; by default ``chosen`` if the study compares.
        example: flags of a second example in the help.
        measures: whether the trained networks are measured; if so, their parameters are kept.
        of_examples: whether it needs a data set of examples, as all studies do that measure.
        curvature: whether their curvature is measured.
        models: supported architectures; empty for all.
        input_shape: required shape of one example, if any.
        page: the file that shows the answer.
        check_setting: raises ``UsageError`` if the answer needs other settings in a resolved spec.
    """

    question: str
    spec: Spec
    name: str = ""
    order: int = 0
    answered_by: str = ""
    compares: bool = True
    gains: Literal["chosen", "both", "none"] | None = None
    example: str = "--widths 8 32 128 --seeds 10 --out results/more-seeds"
    measures: bool = False
    of_examples: bool = False
    curvature: bool = False
    models: tuple[str, ...] = ()
    input_shape: tuple[int, ...] | None = None
    page: str = "report.html"
    check_setting: Callable[[Resolved], None] = lambda spec: None

    def epochs_of_gains(self, options: "Options") -> tuple[str, ...]:
        """The epochs at which the report shows gains; none if it shows no gains."""
        return {"chosen": (options.at,), "both": EPOCHS, "none": ()}[
            self.gains or ("chosen" if self.compares else "none")
        ]

    @property
    def needs_examples(self) -> bool:
        """Whether its workload must be a data set of examples."""
        return self.measures or self.of_examples

    @property
    def module(self) -> str:
        """The name of the module in ``studies.answers``."""
        return self.answered_by or self.name.replace("-", "_")

    def answer(self, spec: Resolved, tables: "Tables", options: Options | Measures) -> "Answer":
        """The answer, from the tables of a finished sweep."""
        return self._answers().answer(spec, tables, options)

    def instruments(self, spec: Resolved, options: Options | Measures) -> "Sequence[Instrument]":
        """The instruments that measure the trained networks."""
        return self._answers().instruments(spec, options) if self.measures else ()

    def _answers(self) -> ModuleType:
        return importlib.import_module(self.module if "." in self.module else f"{ANSWERS}.{self.module}")

    def check_grid(self, spec: Resolved) -> None:
        """Raises ``UsageError`` if the answer needs another grid; the workload is not needed."""
        if self.measures and spec.tune:
            raise UsageError("tune", spec.tune, "must be left out: the study measures networks of given settings")
        self.check_setting(spec)
        if self.compares and (BASELINE not in spec.methods or len(spec.methods) < 2):
            raise UsageError(
                "methods", spec.methods, f"must include {BASELINE} and a method to compare with it, such as sam"
            )

    def check(self, spec: Resolved) -> None:
        """Raises ``UsageError`` if a resolved spec cannot be answered, before anything is trained."""
        workload, usual = workload_named(spec.workload), self.spec.workload
        if self.needs_examples and not workload.has_examples:
            raise UsageError("workload", spec.workload, f"must be a data set of examples, such as {usual}")
        self.check_grid(spec)
        if self.curvature:
            check_curvature(spec, streamed=workload.streamed, sparsities=spec.sparsity)
        if self.models and workload.model not in self.models:
            raise UsageError("workload", spec.workload, f"must have a {' or '.join(self.models)}, such as {usual}")
        if self.input_shape is not None and _input_shape(workload) != self.input_shape:
            raise UsageError(
                "workload", spec.workload, f"must have inputs of shape {self.input_shape}, such as {usual}"
            )


def _input_shape(workload: "Workload") -> tuple[int, ...] | None:
    """The shape of one example, if it is one array."""
    from widebasin.workloads import SupervisedWorkload

    inputs = workload.load().inputs if isinstance(workload, SupervisedWorkload) else None
    return getattr(inputs, "shape", (None,))[1:] if inputs is not None else None


def check_samples(samples: int) -> None:
    """Raises ``UsageError`` if curvature cannot be measured on so few examples."""
    if isinstance(samples, bool) or not isinstance(samples, int) or samples < 2:
        raise UsageError("samples", samples, "must be a whole number of at least 2: non-uniformity needs two examples")


def check_curvature(spec: Resolved, *, streamed: bool, sparsities: Iterable[float]) -> None:
    """Raises ``UsageError`` if the curvature of ``f(w)`` cannot be measured, or is not that of the trained function.

    Args:
        spec: the resolved spec.
        streamed: whether examples are read from disk.
        sparsities: sparsities of the networks to measure.
    """
    if spec.centered:
        raise UsageError(
            "output_scale",
            spec.output_scale,
            "must be left out: it trains alpha (f(w) - f(w0)), but curvature is measured for f(w)",
        )
    if streamed:
        remedy = "must have its data in memory: curvature is not measured on streamed images"
        raise UsageError("workload", spec.workload, remedy)
    pruned = tuple(sorted(set(sparsities) - {0.0}))
    if pruned:
        remedy = "must be 0, because curvature would include the pruned weights; --sparsity 0 leaves these networks out"
        raise UsageError("sparsity", pruned, remedy)


def check_constant(spec: Resolved, why: str) -> None:
    """Raises ``UsageError`` unless the learning rate of a resolved spec is constant."""
    if spec.schedule != "constant":
        raise UsageError("schedule", spec.schedule, f"must be constant: {why}")


def check_one_setting(
    spec: Resolved, compares: str, *, varied: Sequence[str] = (), besides: Sequence[str] = ()
) -> None:
    """Raises ``UsageError`` if an argument of a resolved spec has several values that the study does not compare.

    Of a tuned setting one value is left for every method, so it may have several, unless the study compares them.

    Args:
        spec: the resolved spec.
        compares: what the study compares, for the message.
        varied: flags of axes that may have several values.
        besides: other arguments that must have one value.
    """
    compared = tuple(axis.flag for axis in spec.tuned if axis.flag in varied)
    if compared:
        raise UsageError("tune", spec.tune, f"must leave out {', '.join(compared)}: the study compares {compares}")
    settings = (axis.flag for axis in spec.axes if axis.name not in COMPARED and axis not in spec.tuned)
    for argument in (*besides, *settings):
        values = getattr(spec, argument)
        if argument not in varied and len(values) > 1:
            raise UsageError(argument, values, f"must be one value: the study compares {compares} in one setting")
