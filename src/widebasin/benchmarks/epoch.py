"""The cost of an epoch of SAM here, by ``optax.contrib.sam`` and in PyTorch, and how close it is to the limit."""

import dataclasses
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from widebasin.benchmarks.benchmark import Benchmark, Measured
from widebasin.benchmarks.optax_sam import OptaxSAM
from widebasin.benchmarks.synthetic import CLASSES, FEATURES, mnist_shaped
from widebasin.benchmarks.timing import Timing, interleave
from widebasin.benchmarks.torch_sam import TorchSAM, torch_mlp, torch_threads, torch_version
from widebasin.data import SplitSizes, epoch_batches
from widebasin.models import MLP
from widebasin.sam import METHODS
from widebasin.training import CLASSIFICATION, Plan, Point, Program, Recipe, Supervised

WIDTH, RHO, EXAMPLES = 100, 0.05, 10_000
RECIPE = Recipe(1, 128, learning_rate=0.01, schedule="constant", momentum=0.9, weight_decay=1e-4)
# Side of the square matrices whose product tells the machine's rate.
MATMUL_SIZE = {"cpu": 2_048}
MATMUL_SIZE_ELSEWHERE = 8_192
# Seconds after which no further round begins.
LONGEST = 60.0


@dataclasses.dataclass(eq=False)
class ProgramSAM:
    """The package's own epoch of one network.

    Attributes:
        program: compiled for one network.
        state: state before the next epoch, with a leading axis of one.
        examples: the examples for training, validation and test.
        hyperparameters: radius, learning rate, weight decay.
    """

    program: Program
    state: Any
    examples: Any
    hyperparameters: Any

    def epoch(self) -> dict[str, np.ndarray]:
        """One epoch; returns its metrics."""
        self.state, metrics = self.program.epoch(self.state, self.examples, self.hyperparameters, last=False)
        return metrics

    @property
    def params(self) -> Any:
        """A copy of the parameters; the state's own are donated to the next epoch."""
        return jax.tree.map(lambda leaf: jnp.copy(leaf[0]), self.state.params)

    @property
    def train_data(self) -> tuple[jax.Array, jax.Array]:
        """The training inputs and labels of this network, in the order of its split."""
        return self.program.data[0][self.examples.train[0]], self.examples.train_targets[0]


def program_sam(examples: int = EXAMPLES, width: int = WIDTH, recipe: Recipe = RECIPE) -> ProgramSAM:
    """One network on data in the shape of MNIST. Validation and test have one example each: nearly all is training."""
    problem = Supervised(
        build=lambda key: MLP.ladder(FEATURES, CLASSES, width, key=key),
        dataset=mnist_shaped(examples + 2),
        sizes=SplitSizes(train=examples, valid=1, test=1),
        objective=CLASSIFICATION,
        recipe=recipe,
    )
    program = Program(problem, METHODS["sam"].with_radius, Plan(1, "scan", jax.default_backend()))
    return ProgramSAM(program, *program.start([point_of(recipe)]))


def point_of(recipe: Recipe, seed: int = 0, rho: float = RHO) -> Point:
    """A network without wrong labels, with the settings of a recipe."""
    return Point.of(
        seed, rho=rho, label_noise=0.0, weight_decay=recipe.weight_decay, learning_rate=recipe.learning_rate
    )


def optax_sam(ours: ProgramSAM) -> OptaxSAM:
    """The same training with optax, from the same parameters and data."""
    return OptaxSAM(ours.params, *ours.train_data, ours.program.problem.recipe, RHO)


def torch_sam(ours: ProgramSAM, threads: int) -> TorchSAM:
    """The same training with PyTorch, from the same parameters and data."""
    params = jax.tree.map(np.asarray, ours.params)
    inputs, labels = (np.asarray(part) for part in ours.train_data)
    model = torch_mlp(params.weights, params.biases)
    return TorchSAM(model, inputs, labels, ours.program.problem.recipe, RHO, threads)


def gradient_flops(sizes: tuple[int, ...], batch_size: int) -> int:
    """Minimum floating-point operations of the gradient of an MLP's loss on a batch.

    Two per weight and example forward, two for the weight's gradient, and two for the gradient of the layer's inputs,
    which the first layer does not need. Biases, activations and the loss are left out.
    """
    weights = [inputs * outputs for inputs, outputs in pairwise(sizes)]
    return 2 * batch_size * (3 * sum(weights) - weights[0])


def measure(rounds: int) -> Benchmark:
    """Times an epoch of every contender, and a matrix product for the machine's peak rate."""
    ours = program_sam()
    contenders: dict[str, Callable[[], Any]] = {
        "widebasin": ours.epoch,
        "optax.contrib.sam": _optax_epoch(optax_sam(ours)),
    }
    if torch_version():
        default = torch_threads()
        for threads in dict.fromkeys((default, 1)):
            name = f"PyTorch, {threads} thread{'s' * (threads != 1)}{' (default)' * (threads == default)}"
            contenders[name] = _torch_epoch(torch_sam(ours, threads))
    size = MATMUL_SIZE.get(jax.default_backend(), MATMUL_SIZE_ELSEWHERE)
    product = f"matrix product, {size:,} x {size:,}"
    contenders[product] = _matmul(size)
    timings = interleave(contenders, rounds, seconds=LONGEST)

    limit = 2 * size**3 / timings[product].median
    steps = EXAMPLES // RECIPE.batch_size
    sizes = (FEATURES, 3 * WIDTH, WIDTH, CLASSES)
    flops = steps * METHODS["sam"].with_radius(RHO).gradients_per_step * gradient_flops(sizes, RECIPE.batch_size)
    first = next(iter(timings.values()))

    def row(what: str, timing: Timing) -> Measured:
        if what == product:
            return Measured(what, timing, more=_rates(limit, limit))
        rates = _rates(flops / timing.median, limit)
        return Measured(what, timing, timing.over(first), "widebasin", more=rates)

    rows = [row(what, timing) for what, timing in timings.items()]
    if not torch_version():
        rows.insert(2, Measured("PyTorch", None, missing="torch not installed"))
    with_inputs = sum(a * b for a, b in pairwise(sizes)) * 6 * RECIPE.batch_size
    return Benchmark(
        name="epoch",
        title=f"one epoch of SAM, {EXAMPLES:,} x {FEATURES} floats, MLP {'-'.join(map(str, sizes))}, "
        f"batch {RECIPE.batch_size}, {steps} steps",
        rounds=len(first.seconds),
        rows=tuple(rows),
        note="widebasin runs an epoch as one program, the others step by step. Included for all: shuffling, gathering "
        "batches from memory, both gradients of every step, the update, the mean training loss. widebasin's also "
        "computes training accuracy and the gradient's norm, and evaluates one validation and one test example. "
        "The limit is the rate of jax.numpy's float32 matrix product. GFLOP/s counts the products with weight "
        "matrices; 6 x weights x batch, with the unneeded gradient of the inputs, would count "
        f"{with_inputs / gradient_flops(sizes, RECIPE.batch_size):.2f} times as much. PyTorch's threads wait for each "
        "other in every operation: if other programs keep the cores busy, one thread is faster.",
    )


def _optax_epoch(rival: OptaxSAM) -> Callable[[], Any]:
    order = jax.jit(lambda epoch: epoch_batches(jax.random.key(0), epoch, EXAMPLES, RECIPE.batch_size))
    epoch = 0

    def run() -> Any:
        nonlocal epoch
        epoch += 1
        # Rows of a host array: slicing on the device would dispatch one more program per step.
        return rival.epoch(np.asarray(order(epoch)))

    return run


def _torch_epoch(rival: TorchSAM) -> Callable[[], Any]:
    return lambda: rival.epoch(rival.shuffled(RECIPE.batch_size))


def _matmul(size: int) -> Callable[[], Any]:
    matrix = jax.random.normal(jax.random.key(0), (size, size))
    product = jax.jit(jnp.matmul)
    return lambda: product(matrix, matrix)


def _rates(rate: float, limit: float) -> tuple[tuple[str, str], ...]:
    return ("GFLOP/s", f"{rate / 1e9:,.1f}"), ("of the limit", f"{rate / limit:.0%}")
