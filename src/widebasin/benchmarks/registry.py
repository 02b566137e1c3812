"""The benchmarks by name."""

from collections.abc import Callable
from dataclasses import dataclass

from widebasin.benchmarks import (
    agents,
    curvature,
    epoch,
    graphs,
    images,
    methods,
    networks,
    plans,
    sequences,
    step,
    study,
    sweeps,
)
from widebasin.benchmarks.benchmark import Benchmark


@dataclass(frozen=True)
class NamedBenchmark:
    """A benchmark whose only argument is the number of rounds.

    Attributes:
        question: the question it answers.
        rounds: how often each contender is timed by default.
        measure: rounds -> results.
    """

    question: str
    rounds: int
    measure: Callable[[int], Benchmark]


BENCHMARKS: dict[str, NamedBenchmark] = {
    "study": NamedBenchmark("What does the main job cost here, and written by hand?", 3, study.measure),
    "step": NamedBenchmark("What does a step of SAM cost, in SGD steps and in gradients?", 40, step.measure),
    "methods": NamedBenchmark("What does a step of every method cost, in time and memory?", 11, methods.measure),
    "epoch": NamedBenchmark("What does an epoch of SAM cost here, in optax and in PyTorch?", 11, epoch.measure),
    "networks": NamedBenchmark("How much faster is training 35 networks in one program?", 3, networks.measure),
    "images": NamedBenchmark("How many images per second train here and in PyTorch?", 5, images.measure),
    "sequences": NamedBenchmark("How many words per second train here and in PyTorch?", 7, sequences.measure),
    "graphs": NamedBenchmark("How many graphs per second train here and in PyTorch?", 7, graphs.measure),
    "agents": NamedBenchmark("How many steps per second do agents train on?", 3, agents.measure),
    "plans": NamedBenchmark("Is the chosen plan of execution the fastest?", 3, plans.measure),
    "sweeps": NamedBenchmark("How large can a sweep be, in processes, workers and networks?", 3, sweeps.measure),
    "curvature": NamedBenchmark(
        "What do Hessian-vector products and eigenvalues cost, here and elsewhere?", 15, curvature.measure
    ),
}
