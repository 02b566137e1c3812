"""The cost of one step of SAM, in SGD steps and in gradients."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

from widebasin import sam
from widebasin.benchmarks.benchmark import Benchmark, Measured
from widebasin.benchmarks.synthetic import CLASSES, FEATURES, mnist_shaped
from widebasin.benchmarks.timing import interleave
from widebasin.models import MLP
from widebasin.training import CLASSIFICATION, Recipe

WIDTH, BATCH_SIZE, RHO = 100, 128, 0.05
# A small learning rate: hundreds of steps on one batch must not end in a network with nothing left to learn.
RECIPE = Recipe(1, BATCH_SIZE, learning_rate=1e-3, schedule="constant", momentum=0.9, weight_decay=1e-4)
# In one sample, dispatched one after the other: each waits for the one before, as in training.
STEPS_PER_SAMPLE = 20
TARGET = 2.1

Step = Callable[[Any], tuple[Any, Any]]


def loss_fn(model: PyTree, inputs: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean cross entropy of a batch; ``model`` maps one example to logits."""
    return jnp.mean(jax.vmap(CLASSIFICATION.loss)(jax.vmap(model)(inputs), labels))


def measure(rounds: int) -> Benchmark:
    """Times a gradient, SAM's gradient, a step of SGD and a step of SAM."""
    data = mnist_shaped(BATCH_SIZE)
    batch = (jnp.asarray(data.inputs), jnp.asarray(data.targets))
    timings = interleave(
        {
            "gradient": _repeated(*_gradient(jax.value_and_grad(loss_fn), batch)),
            "SAM gradient": _repeated(*_gradient(sam.value_and_grad(loss_fn, rho=RHO), batch)),
            "SGD step": _repeated(*_update(sam.SGD(), batch)),
            "SAM step": _repeated(*_update(sam.SAM(rho=RHO), batch)),
        },
        rounds,
        units=STEPS_PER_SAMPLE,
    )
    gradient, sam_gradient, sgd_step, sam_step = timings.values()
    return Benchmark(
        name="step",
        title=f"one step, MLP {FEATURES}-{3 * WIDTH}-{WIDTH}-{CLASSES}, batch {BATCH_SIZE}, momentum, weight decay",
        rounds=rounds,
        rows=(
            Measured("gradient", gradient),
            Measured("SAM gradient", sam_gradient, sam_gradient.over(gradient) / 2, "2 gradients"),
            Measured("SGD step", sgd_step, sgd_step.over(gradient), "1 gradient"),
            Measured("SAM step", sam_step, sam_step.over(sgd_step), "SGD step", TARGET),
            Measured("SAM step", sam_step, sam_step.over(gradient) / 2, "2 gradients"),
        ),
        note=f"Each round runs {STEPS_PER_SAMPLE} jitted steps dispatched from the host and waits for the last. "
        "A gradient is only jax.value_and_grad; a step also updates momentum and parameters.",
    )


def initial_model() -> MLP:
    """The network of this benchmark, always the same."""
    return MLP.ladder(FEATURES, CLASSES, WIDTH, key=jax.random.key(0))


def _gradient(differentiate: Callable[..., Any], batch: tuple[jax.Array, jax.Array]) -> tuple[Step, Any]:
    # The donated parameters come back as they are: that makes each gradient wait for the one before, without a copy.
    compiled = jax.jit(lambda params, *batch: (params, differentiate(params, *batch)), donate_argnums=0)
    return lambda params: compiled(params, *batch), initial_model()


def _update(method: sam.Method, batch: tuple[jax.Array, jax.Array]) -> tuple[Step, Any]:
    optimizer = RECIPE.optimizer_at(1, RECIPE.learning_rate, RECIPE.weight_decay)

    def step(state: Any, inputs: jax.Array, labels: jax.Array) -> tuple[Any, jax.Array]:
        params, optimizer_state, method_state = state
        value, gradients, method_state = method.value_and_grad(loss_fn)(params, method_state, inputs, labels)
        updates, optimizer_state = optimizer.update(gradients, optimizer_state, params)
        return (optax.apply_updates(params, updates), optimizer_state, method_state), value

    compiled = jax.jit(step, donate_argnums=0)
    params: Any = initial_model()
    return lambda state: compiled(state, *batch), (params, optimizer.init(params), method.init(params))


def _repeated(step: Step, state: Any) -> Callable[[], Any]:
    def run() -> Any:
        nonlocal state
        result = None
        for _ in range(STEPS_PER_SAMPLE):
            state, result = step(state)
        return state, result

    return run
