"""Images per second in training of the vision workloads, here and in PyTorch with channels last."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import equinox as eqx
import jax

from widebasin.benchmarks.benchmark import Benchmark, Measured
from widebasin.benchmarks.epoch import ProgramSAM, point_of
from widebasin.benchmarks.synthetic import on_random_images, supervised
from widebasin.benchmarks.timing import interleave
from widebasin.benchmarks.torch_sam import TorchSAM, torch_threads, torch_version
from widebasin.data import SplitSizes
from widebasin.sam import METHODS
from widebasin.training import Program, Supervised, choose_plan
from widebasin.workloads import WORKLOADS

RHO = 0.05
METHODS_TIMED = ("sgd", "sam")
OURS = "widebasin"
# Seconds after which no further round of a network begins.
LONGEST = 60.0


@dataclass(frozen=True)
class Case:
    """A network and its images.

    Attributes:
        workload: the workload with the network, the recipe and the augmentation.
        width: width of the network.
        shape: shape of an image.
        classes: number of labels.
        batch_size: examples per step.
        steps: number of steps in an epoch, the unit that is timed.
    """

    workload: str
    width: int
    shape: tuple[int, int, int] = (32, 32, 3)
    classes: int = 10
    batch_size: int = 128
    steps: int = 4

    def program(self, method: str, precision: str) -> ProgramSAM:
        """One network ready to train on random images, with its chosen plan.

        Validation and test have one example each: nearly all of an epoch is training.
        """
        workload = supervised(self.workload)
        recipe = replace(
            workload.recipe,
            batch_size=self.batch_size,
            schedule="constant",
            warmup_steps=0,
            precision=precision,
        )
        sizes = SplitSizes(train=self.steps * self.batch_size, valid=1, test=1)
        problem = on_random_images(workload, self.width, recipe, sizes, self.shape, self.classes)
        program = Program(problem, METHODS[method].with_radius, choose_plan(problem, 1))
        rho = 0.0 if method == "sgd" else RHO
        return ProgramSAM(program, *program.start([point_of(recipe, 0, rho)]))


CASES = {
    "cpu": (
        Case("mnist-mlp", 100, (28, 28, 1), steps=50),
        Case("digits-resnet", 8, (8, 8, 1), steps=20),
        Case("cifar10-resnet18", 8),
        Case("cifar10-resnet18", 16),
        Case("cifar10-vit", 64),
        Case("cifar10-vgg11-lazy", 16),
        Case("imagenet-resnet50", 16, (224, 224, 3), 1_000, batch_size=16, steps=2),
    )
}
CASES_ELSEWHERE = (
    Case("mnist-mlp", 1_000, (28, 28, 1), steps=100),
    Case("digits-resnet", 16, (8, 8, 1), steps=100),
    Case("cifar10-resnet18", 64, steps=50),
    Case("cifar10-vit", 128, steps=50),
    Case("cifar10-vgg11-lazy", 64, steps=50),
    Case("imagenet-resnet50", 64, (224, 224, 3), 1_000, steps=10),
)
PRECISIONS = {"cpu": ("float32",)}
PRECISIONS_ELSEWHERE = ("float32", "bfloat16")


def torch_missing() -> str:
    """Why PyTorch cannot use the device that JAX uses; empty if it can."""
    if not torch_version():
        return "torch not installed"
    import torch  # pyright: ignore[reportMissingImports]

    return "" if jax.default_backend() == "cpu" or torch.cuda.is_available() else "torch without CUDA"


def torch_training(ours: ProgramSAM, threads: int) -> TorchSAM:
    """The same training in PyTorch, from the same parameters, on the same images."""
    from widebasin.benchmarks import torch_images

    problem = ours.program.problem.plain
    assert isinstance(problem, Supervised)
    model = eqx.combine(ours.params, problem.network.static)
    prepare = torch_images.normalized if problem.augment is None else torch_images.cropped_and_flipped
    network = torch_images.network_of(model, "cpu" if jax.default_backend() == "cpu" else "cuda")
    inputs, labels = (jax.device_get(part) for part in ours.train_data)
    return TorchSAM(
        network, inputs, labels, problem.recipe, float(ours.hyperparameters.point["rho"][0]), threads, prepare
    )


def measure(rounds: int) -> Benchmark:
    """Times a step of SGD and of SAM for every network, precision and framework."""
    backend = jax.default_backend()
    rows = tuple(
        row
        for case in CASES.get(backend, CASES_ELSEWHERE)
        for precision in PRECISIONS.get(backend, PRECISIONS_ELSEWHERE)
        for row in _measure_case(case, precision, rounds)
    )
    return Benchmark(
        name="images",
        title="one step of the vision workloads' networks, random images",
        rounds=min(len(row.timing.seconds) for row in rows if row.timing),
        rows=rows,
        note="Included for both: shuffling, gathering bytes from memory, augmentation if the workload has it, the "
        "gradients, the update, the mean training loss. widebasin's also computes training accuracy and the "
        "gradient's norm, and evaluates two examples per epoch. PyTorch's threads wait for each other in every "
        "operation: if other programs keep the cores busy, one thread is faster.",
    )


def _measure_case(case: Case, precision: str, rounds: int) -> Iterator[Measured]:
    parameters = WORKLOADS[case.workload].num_params(case.width)
    columns = (("precision", precision), ("batch", str(case.batch_size)), ("parameters", f"{parameters:,}"))
    missing = torch_missing()
    contenders: dict[str, Callable[[], Any]] = {}
    for method in METHODS_TIMED:
        ours = case.program(method, precision)
        contenders[_named(case, method, OURS)] = ours.epoch
        for name, threads in _torch_contenders().items() if not missing else ():
            contenders[_named(case, method, name)] = _torch_epoch(torch_training(ours, threads), case.batch_size)
    timings = interleave(contenders, rounds, units=case.steps, seconds=LONGEST)
    for method in METHODS_TIMED:
        own = timings[_named(case, method, OURS)]
        for what, timing in timings.items():
            if what.startswith(_named(case, method, "")):
                rate = ("images/s", f"{case.batch_size / timing.median:,.1f}")
                yield Measured(what, timing, timing.over(own), OURS, more=(*columns, rate))
        if missing:
            yield Measured(_named(case, method, "PyTorch"), None, more=columns, missing=missing)


def _named(case: Case, method: str, framework: str) -> str:
    return f"{case.workload}, h = {case.width}, {METHODS[method].title}, {framework}"


def _torch_contenders() -> dict[str, int]:
    """Name -> threads: on a CPU the default number and one, because waiting threads suffer from other programs."""
    if jax.default_backend() != "cpu":
        return {"PyTorch": torch_threads()}
    return {f"PyTorch, {count} thread{'s' * (count != 1)}": count for count in (torch_threads(), 1)}


def _torch_epoch(rival: TorchSAM, batch_size: int) -> Callable[[], Any]:
    return lambda: rival.epoch(rival.shuffled(batch_size))
