"""Networks of examples of different sizes, timed in turn: here, padded to the longest, and in PyTorch."""

import abc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import equinox as eqx
import jax
import numpy as np

from widebasin.benchmarks.benchmark import Benchmark, Measured
from widebasin.benchmarks.epoch import ProgramSAM, point_of
from widebasin.benchmarks.timing import Timing, interleave
from widebasin.benchmarks.torch_sam import TorchSAM, torch_threads, torch_version
from widebasin.data import Buckets, Dataset, SplitSizes
from widebasin.sam import METHODS
from widebasin.training import Bucketed, Objective, Plan, Program, Recipe, choose_plan, shortened
from widebasin.training.compilation import without_compilation_cache

RHO = 0.05
METHODS_TIMED = ("sgd", "sam")
OURS, ONE, PADDED = "widebasin", "widebasin, one network", "widebasin, padded to the longest"
# Seconds after which no further round of a network begins.
LONGEST = 90.0


@dataclass(frozen=True, eq=False)
class Case(abc.ABC):
    """A network, a recipe, and made examples.

    Attributes:
        width: of the network.
        batch_size: examples per step.
        steps: in an epoch, the unit that is timed.
        rates: of dropout, by the names that the model takes them under.
        name: of the network.
        unit: what is counted per second.
        objective: of the training.
    """

    width: int
    batch_size: int
    steps: int
    rates: Mapping[str, float]
    name: ClassVar[str]
    unit: ClassVar[str]
    objective: ClassVar[Objective]

    @property
    @abc.abstractmethod
    def recipe(self) -> Recipe:
        """With a constant learning rate."""

    @property
    @abc.abstractmethod
    def dataset(self) -> Dataset:
        """All examples: those that train, and two more."""

    @property
    @abc.abstractmethod
    def sizes(self) -> np.ndarray:
        """Size of every example."""

    @abc.abstractmethod
    def counts(self) -> np.ndarray:
        """Of every example, how much it adds to what is counted per second."""

    @abc.abstractmethod
    def buckets(self) -> Buckets:
        """Those that the workload has."""

    @abc.abstractmethod
    def model(self, key: Any) -> eqx.Module:
        """The network before training."""

    @abc.abstractmethod
    def torch_parts(self, model: Any) -> tuple[Any, Callable[[Any], Any], Callable[[Any, Any], Any] | None]:
        """Of PyTorch's training: the network, what prepares its batches, and its loss."""

    def cut(self, buckets: Buckets) -> Callable[[Any, int], Any]:
        """How examples are shortened."""
        del buckets
        return shortened

    def variants(self) -> dict[str, Bucketed]:
        """Name -> the same training, computed otherwise."""
        sizes = self.sizes
        return {PADDED: self.problem(Buckets.of(sizes, (int(sizes.max()),)))}

    @property
    def examples(self) -> int:
        """In all."""
        return self.steps * self.batch_size + 2

    def problem(self, buckets: Buckets | None = None, kind: type[Bucketed] = Bucketed, **more: Any) -> Bucketed:
        """The training. One example validates and one tests: nearly all of an epoch is training."""
        buckets = buckets or self.buckets()
        return kind(
            build=self.model,
            dataset=self.dataset,
            sizes=SplitSizes(train=self.steps * self.batch_size, valid=1, test=1),
            objective=self.objective,
            recipe=self.recipe,
            given=tuple(self.rates),
            buckets=buckets,
            cut=self.cut(buckets),
            **more,
        )

    @cached_property
    def default(self) -> Bucketed:
        """As the workload would be trained."""
        return self.problem()

    def program(self, method: str, problem: Bucketed | None = None, plan: Plan | None = None) -> ProgramSAM:
        """Networks about to be trained, as many as the plan has at once; by default the one that is chosen."""
        problem = problem or self.default
        program = Program(problem, METHODS[method].with_radius, plan or choose_plan(problem, 1))
        point = point_of(problem.recipe, 0, 0.0 if method == "sgd" else RHO).moved(**self.rates)
        return ProgramSAM(program, *program.start([point]))

    def torch_training(self, ours: ProgramSAM, threads: int) -> TorchSAM:
        """The same training in PyTorch, from the same parameters, on the same examples."""
        train = np.asarray(ours.examples.train[0])
        inputs = jax.tree.map(lambda leaf: np.asarray(leaf)[train], self.dataset.inputs)
        labels = np.asarray(ours.examples.train_targets[0])
        network, prepare, loss_fn = self.torch_parts(eqx.combine(ours.params, self.default.network.static))
        rho = float(ours.hyperparameters.point["rho"][0])
        return TorchSAM(network, inputs, labels, self.recipe, rho, threads, prepare, loss_fn)


def measure(name: str, title: str, note: str, cases: Sequence[Case], rounds: int) -> Benchmark:
    """Times an epoch of every case and contender by the base optimizer and by SAM; variants by the former alone."""
    rows = tuple(row for case in cases for method in METHODS_TIMED for row in _measure_case(case, method, rounds))
    return Benchmark(
        name=name,
        title=title,
        rounds=min(len(row.timing.seconds) for row in rows if row.timing),
        rows=rows,
        note=f"{note} Times are per network, of which a program may train several at once. Included for all: "
        "shuffling, gathering and cutting batches, dropout, the gradients, the update, the mean training loss. "
        "widebasin's also computes the metrics of training and the gradient's norm, and evaluates two examples per "
        "epoch. First epoch: seconds of the first epoch, which compiles, without any cache of compiled programs. "
        "PyTorch's threads wait for each other in every operation: where other programs keep the cores busy, one "
        "thread is faster.",
    )


def _measure_case(case: Case, method: str, rounds: int) -> Iterator[Measured]:
    title = f"{case.name}, h = {case.width}, {METHODS[method].title if method != 'sgd' else _base(case)}"
    chosen = choose_plan(case.default, 1)
    programs: dict[str, tuple[Bucketed, Plan]] = {OURS: (case.default, chosen)}
    if chosen.networks_at_once > 1:
        programs[ONE] = case.default, replace(chosen, networks_at_once=1, devices=1)
    if method == METHODS_TIMED[0]:
        programs |= {name: (problem, chosen) for name, problem in case.variants().items()}
    contenders: dict[str, Callable[[], Any]] = {}
    first_epochs: dict[str, float] = {}
    rivals: dict[str, Callable[[], Any]] = {}
    count = 0.0
    for name, (problem, plan) in programs.items():
        ours = case.program(method, problem, plan)
        if name == OURS:
            count = case.counts()[np.asarray(ours.examples.train[0])].sum() / case.steps
            rivals = {
                theirs: _torch_epoch(case.torch_training(ours, threads), case.batch_size)
                for theirs, threads in _torch_contenders().items()
            }
        contenders[name] = ours.epoch
        with without_compilation_cache():
            started = time.perf_counter()
            ours.epoch()
            first_epochs[name] = time.perf_counter() - started
    at_once = {name: plan.networks_at_once for name, (_, plan) in programs.items()}
    timings = {
        name: Timing(tuple(one / at_once.get(name, 1) for one in timing.seconds))
        for name, timing in interleave(contenders | rivals, rounds, units=case.steps, seconds=LONGEST).items()
    }
    for name, timing in timings.items():
        yield Measured(
            f"{title}, {name}",
            timing,
            timing.over(timings[OURS]),
            OURS,
            more=(
                ("batch", str(case.batch_size)),
                ("parameters", f"{case.default.network.num_params:,}"),
                ("at once", str(at_once.get(name, 1))),
                (f"{case.unit}/s", f"{count / timing.median:,.0f}"),
                ("first epoch s", f"{first_epochs[name]:.3g}" if name in first_epochs else ""),
            ),
        )
    if not torch_version():
        yield Measured(f"{title}, PyTorch", None, missing="torch not installed")


def _base(case: Case) -> str:
    return {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW"}[case.recipe.optimizer]


def _torch_contenders() -> dict[str, int]:
    """Name -> threads: the default number and one, as threads that wait for each other suffer from others."""
    if not torch_version():
        return {}
    return {f"PyTorch, {count} thread{'s' * (count != 1)}": count for count in dict.fromkeys((torch_threads(), 1))}


def _torch_epoch(rival: TorchSAM, batch_size: int) -> Callable[[], Any]:
    return lambda: rival.epoch(rival.shuffled(batch_size))
