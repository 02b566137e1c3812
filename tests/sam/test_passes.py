"""What a step costs, counted while it runs."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sam.family import BATCH, FAMILY, KEY, ONE_OF_EACH, each_compiled, network, problem
from together import together

from widebasin import sam

COUNTED = {"forward": 0.0, "backward": 0.0}


def count(which, examples):
    COUNTED[which] += len(examples) / BATCH


@jax.custom_vjp
def probe(per_example):
    """The identity, which counts the examples that pass it forward and the cotangents that pass it backward."""
    jax.debug.callback(lambda examples: count("forward", examples), per_example)
    return per_example


def _forward(per_example):
    return probe(per_example), None


def _backward(_, cotangent):
    jax.debug.callback(lambda examples: count("backward", examples), cotangent)
    return (cotangent,)


probe.defvjp(_forward, _backward)


def counted_loss(params, inputs, targets):
    return jnp.mean((probe(network(params, inputs)) - targets) ** 2)


def passes_of(method, steps):
    """Forward and backward passes per step of a compiled program, averaged over steps."""
    start = problem()
    function, state = jax.jit(method.value_and_grad(counted_loss)), method.init(start.params)
    COUNTED.update(forward=0.0, backward=0.0)
    for t in range(steps):
        key = jax.random.fold_in(jax.random.key(KEY), t)
        value, gradients, state = function(start.params, state, *start.batches[t % 6], key=key)
    jax.block_until_ready((value, gradients, state))
    jax.effects_barrier()
    return sam.Passes(COUNTED["forward"] / steps, COUNTED["backward"] / steps)


# ``custom_vjp`` knows no forward mode, by which the linearized methods take their Hessian-vector products.
COUNTABLE = {name: method for name, method in ONE_OF_EACH.items() if not isinstance(method, sam.LinearizedSAM)}
PERIOD = 6  # common to k = 3 and every = 2


@each_compiled(
    COUNTABLE
    | {"LookSAM at every step": sam.LookSAM(k=1), "ESAM on all examples": sam.ESAM(gamma=1.0)}
    | {f"{name} in groups": dataclasses.replace(FAMILY[name], m=4) for name in ("LookSAM", "ESAM")}
)
def test_the_passes_counted_are_the_passes_made(method):
    forward, backward = method.passes_per_step
    if isinstance(method, sam.ESAM) and method.gamma < 1:
        forward += 1  # without example_losses it selects by another pass at the parameters
    np.testing.assert_allclose(passes_of(method, PERIOD), (forward, backward), rtol=1e-12)


@together(
    ("method", "gradients"),
    [
        (sam.SGD(), 1),
        (sam.SAM(), 2),
        (sam.MultiStepSAM(), 3),
        (sam.LookSAM(), 1.2),
        (sam.SAMEveryK(), 1.2),
        (sam.SSAM(), 2.01),
        (sam.SSAM(scores="random"), 2),
        (sam.RandomPerturbation(), 4 / 3),
        (sam.ESAM(), (2.5 + 2 * 1.5) / 3),
        (sam.ESAM(gamma=1.0), 2),
    ],
)
def test_a_step_costs_as_many_gradients_by_default(method, gradients):
    """A backward pass counts as two forward passes."""
    np.testing.assert_allclose(method.gradients_per_step, gradients, rtol=1e-12)


# Without a probe: floating-point operations of the compiled program, of a loss that is little but matrix products.

LAYERS, WIDTH, EXAMPLES = 8, 64, 128


def per_example(params, inputs):
    for weights in params:
        inputs = jnp.tanh(inputs @ weights)
    return jnp.sum(inputs**2, axis=-1)


def deep_loss(params, inputs):
    return jnp.mean(per_example(params, inputs))


def operations(function, *args):
    return jax.jit(function).lower(*args).compile().cost_analysis()["flops"]


@pytest.fixture(scope="module")
def deep():
    keys = jax.random.split(jax.random.key(0), LAYERS + 1)
    params = [jax.random.normal(key, (WIDTH, WIDTH)) / WIDTH**0.5 for key in keys[1:]]
    inputs = jax.random.normal(keys[0], (EXAMPLES, WIDTH))
    return params, inputs, operations(jax.grad(deep_loss), params, inputs)


@pytest.mark.slow
@together("method", [sam.SGD(), sam.SAM(), sam.LinearizedSAM(), sam.ESAM()])
def test_the_operations_of_the_compiled_program_are_those_of_the_gradients_counted(method, deep):
    """Within 5%: the first layer's inputs need no derivative, and what is no matrix product counts as well."""
    params, inputs, gradient = deep

    def one(params, center, inputs, key):
        function = method.value_and_grad(deep_loss, example_losses=per_example)
        return function(params, method.init(center), inputs, key=key)[:2]

    found = operations(one, params, [1.1 * weights for weights in params], inputs, jax.random.key(0))
    np.testing.assert_allclose(found / gradient, method.gradients_per_step, rtol=0.05)
