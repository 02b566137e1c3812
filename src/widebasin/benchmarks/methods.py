"""The cost of one step of every method, in SGD steps, gradients and memory."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from widebasin import sam
from widebasin.benchmarks.benchmark import Benchmark, Measured
from widebasin.benchmarks.conv_net import ConvNet
from widebasin.benchmarks.step import BATCH_SIZE, RECIPE, RHO, WIDTH, initial_model, loss_fn
from widebasin.benchmarks.synthetic import CLASSES, FEATURES, mnist_shaped
from widebasin.benchmarks.timing import Timing, interleave
from widebasin.training import CLASSIFICATION

FILTERS = (16, 32)
# SAM's own cost beyond its two gradients.
TARGET = 1.05
GRADIENT, SAM_GRADIENT = "gradient", "SAM gradient"
# What follows the title of a method.
CHOOSING, TWO_PROGRAMS, ALONE = ", choosing", ", 2 programs", ", no losses"

Batch = tuple[jax.Array, jax.Array]
Columns = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Network:
    """A network to train.

    Attributes:
        name: name in the table.
        build: returns the same initial parameters every time, in new memory, because steps overwrite their inputs.
        periods: number of periods of ``PERIOD`` steps in one sample.
    """

    name: str
    build: Callable[[], Any]
    periods: int


NETWORKS = (
    Network("MLP", initial_model, periods=4),
    Network("conv net", lambda: ConvNet(FILTERS, CLASSES, key=jax.random.key(0)), periods=1),
)
# A sample runs whole periods of the methods that take a second gradient every k steps.
PERIOD = 5


@dataclass(frozen=True)
class Program:
    """A compiled step.

    Attributes:
        call: ``(state, number of the step) -> (state, value)``; the state is donated.
        bytes: the memory that it needs; ``None`` if the backend does not report it.
    """

    call: Callable[[Any, Int[Array, ""]], tuple[Any, Any]]
    bytes: int | None


@dataclass(frozen=True, eq=False)
class Contender:
    """The steps of one sample.

    Attributes:
        what: name in the table.
        steps: pairs of a program and the step number it is called with.
        state: state before the first step.
        method: the method, if the steps occur in the same proportion as in training; ``None`` otherwise.
    """

    what: str
    steps: Sequence[tuple[Program, int]]
    state: Any
    method: sam.Method | None = None

    @property
    def bytes(self) -> int | None:
        """The memory that the largest program needs."""
        sizes = [program.bytes for program, _ in self.steps]
        return max((size for size in sizes if size is not None), default=None)

    def sample(self) -> Callable[[], Any]:
        """Dispatches the steps one after the other; each waits for the previous one, as in training."""
        calls = [(program.call, jnp.asarray(number, jnp.int32)) for program, number in self.steps]
        state = self.state

        def run() -> Any:
            nonlocal state
            value = None
            for call, number in calls:
                state, value = call(state, number)
            return state, value

        return run


def measure(rounds: int) -> Benchmark:
    """Times a step of every method on both networks."""
    data = mnist_shaped(BATCH_SIZE)
    batch = (jnp.asarray(data.inputs), jnp.asarray(data.targets))
    return Benchmark(
        name="methods",
        title=f"one step, batch {BATCH_SIZE}, momentum, weight decay; MLP {FEATURES}-{3 * WIDTH}-{WIDTH}-{CLASSES}; "
        f"conv net of {FILTERS[0]} and {FILTERS[1]} filters 3 x 3 on 28 x 28 pixels",
        rounds=rounds,
        rows=tuple(row for network in NETWORKS for row in _measure_network(network, batch, rounds)),
        note="'gradients': gradients per step (gradients_per_step). 'of limit': time of a step divided by the time of "
        "these gradients. 'memory': relative to SGD; arguments, outputs and temporaries of the compiled step, with "
        "donated memory counted once. Times are averages over whole periods of a method; those of SSAM are combined "
        "from its steps, one in 100 of which is 'choosing' the parameters. '2 programs': both kinds of steps compiled "
        "separately, not as branches. 'no losses': ESAM without the losses of the examples.",
    )


def _measure_network(network: Network, batch: Batch, rounds: int) -> Iterator[Measured]:
    contenders = {contender.what: contender for contender in _contenders(network, batch)}
    measured = interleave({what: contender.sample() for what, contender in contenders.items()}, rounds)
    timings = {
        what: Timing(tuple(seconds / len(contenders[what].steps) for seconds in timing.seconds))
        for what, timing in measured.items()
    }
    for what, contender in contenders.items():
        if isinstance(contender.method, sam.SSAM):
            timings[what] = amortized(timings[what], timings[what + CHOOSING], contender.method.every)
    gradient, sgd = timings[GRADIENT], timings["SGD"]

    def row(what: str, more: Columns, over: float | None, against: str, target: float | None = None) -> Measured:
        return Measured(f"{network.name}, {what}", timings[what], over, against, target, more)

    for what, contender in contenders.items():
        size = _memory(contender.bytes, contenders["SGD"].bytes)
        counted = () if contender.method is None else _counted(contender.method, timings[what], gradient)
        if what == GRADIENT:
            yield row(what, size, None, "")
        if what in (SAM_GRADIENT, "SAM"):
            yield row(what, size, timings[what].over(gradient) / 2, "2 gradients", TARGET)
        if what not in (GRADIENT, SAM_GRADIENT):
            yield row(what, counted + size, timings[what].over(sgd), "SGD")


def _contenders(network: Network, batch: Batch) -> Iterator[Contender]:
    """A gradient, SAM's gradient, and a step of every method on the command line."""
    period = range(PERIOD * network.periods)
    for what, differentiate in (
        (GRADIENT, jax.value_and_grad(loss_fn)),
        (SAM_GRADIENT, sam.value_and_grad(loss_fn, rho=RHO)),
    ):
        program = gradient_program(differentiate, network.build(), batch)
        yield Contender(what, [(program, number) for number in period], network.build())
    for named in sam.METHODS.values():
        what, method = named.title, named.with_radius(RHO)
        program, state = step_program(method, network.build(), batch), initial_state(method, network.build())
        if isinstance(method, sam.SSAM):
            # Step 0 of so many chooses the parameters: too few to show in a median.
            yield Contender(what, [(program, 1) for _ in period], state, method)
            yield Contender(what + CHOOSING, [(program, 0)], initial_state(method, network.build()))
        else:
            yield Contender(what, [(program, number) for number in period], state, method)
        if isinstance(method, sam.SAMEveryK | sam.LookSAM):
            kinds = [step_program(method, network.build(), batch, number) for number in (0, 1)]
            steps, state = [(kinds[i % method.k > 0], i) for i in period], initial_state(method, network.build())
            yield Contender(what + TWO_PROGRAMS, steps, state, method)
        if isinstance(method, sam.ESAM):
            program, state = (
                step_program(method, network.build(), batch, losses=None),
                initial_state(method, network.build()),
            )
            yield Contender(what + ALONE, [(program, number) for number in period], state, method)


def example_losses(model: Any, inputs: jax.Array, labels: jax.Array) -> Float[Array, " examples"]:
    """The losses whose mean is ``loss_fn``."""
    return jax.vmap(CLASSIFICATION.loss)(jax.vmap(model)(inputs), labels)


def gradient_program(differentiate: Callable[..., Any], params: Any, batch: Batch) -> Program:
    """A program for a gradient only."""

    # The donated parameters come back as they are: that makes each gradient wait for the one before, without a copy.
    def gradient(params: Any, inputs: jax.Array, labels: jax.Array, number: Array) -> tuple[Any, Any]:
        del number
        return params, differentiate(params, inputs, labels)

    return _compiled(gradient, params, batch)


def step_program(
    method: sam.Method,
    params: Any,
    batch: Batch,
    fixed: int | None = None,
    losses: Callable[..., Float[Array, " examples"]] | None = example_losses,
) -> Program:
    """A training step: a method's gradient and an update with momentum and weight decay.

    Args:
        method: the method of the gradient.
        params: parameters of the network.
        batch: inputs and labels.
        fixed: the number of the step, if known at compile time; otherwise it is an argument of the step.
        losses: losses of the examples, for methods that compare them.
    """
    optimizer = RECIPE.optimizer_at(1, RECIPE.learning_rate, RECIPE.weight_decay)

    def step(state: Any, inputs: jax.Array, labels: jax.Array, number: Array) -> tuple[Any, Any]:
        params, optimizer_state, method_state = state
        value, gradients, method_state = method.value_and_grad(loss_fn, example_losses=losses)(
            params,
            method_state,
            inputs,
            labels,
            key=jax.random.fold_in(jax.random.key(0), number),
            step=number if fixed is None else fixed,
        )
        updates, optimizer_state = optimizer.update(gradients, optimizer_state, params)
        return (optax.apply_updates(params, updates), optimizer_state, method_state), value

    return _compiled(step, initial_state(method, params), batch)


def initial_state(method: sam.Method, params: Any) -> Any:
    """The state for the first step of ``step_program``, including the parameters."""
    optimizer = RECIPE.optimizer_at(1, RECIPE.learning_rate, RECIPE.weight_decay)
    return params, optimizer.init(params), method.init(params)


def amortized(usual: Timing, rare: Timing, every: int) -> Timing:
    """The average time of a step, round by round, if one in ``every`` steps is of the rare kind."""
    return Timing(tuple(u + (r - u) / every for u, r in zip(usual.seconds, rare.seconds, strict=True)))


def _compiled(step: Callable[..., Any], state: Any, batch: Batch) -> Program:
    compiled = jax.jit(step, donate_argnums=0).lower(state, *batch, jnp.zeros((), jnp.int32)).compile()
    return Program(lambda state, number: compiled(state, *batch, number), memory(compiled))


def memory(compiled: Any) -> int | None:
    """Bytes of arguments, outputs and temporaries of a compiled program; outputs that reuse arguments do not count."""
    found = compiled.memory_analysis()
    if found is None:
        return None
    return (
        found.argument_size_in_bytes + found.output_size_in_bytes + found.temp_size_in_bytes - found.alias_size_in_bytes
    )


def _counted(method: sam.Method, timing: Timing, gradient: Timing) -> Columns:
    count = method.gradients_per_step
    return ("gradients", f"{count:.3g}"), ("of limit", f"{timing.median / (count * gradient.median):.2f}")


def _memory(size: int | None, of_sgd: int | None) -> Columns:
    return () if size is None or of_sgd is None else (("memory", f"{size / of_sgd:.2f}"),)
