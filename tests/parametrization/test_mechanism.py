"""What each layer's perturbation alone does to the outputs as perceptrons widen: it stays under muP^2, else it drifts.

A few steps of gradient descent come first, each parametrization by its own rule. At initialization small networks have
random outputs, of size ``(base / width)^1/2``, from which they are still far from the limit.
"""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from optax import softmax_cross_entropy_with_integer_labels

from widebasin.data import digits
from widebasin.models import MLP
from widebasin.parametrization import MUP, MUP2, STANDARD, initialized, multipliers, perturbation
from widebasin.sam import SAM, ascent_point
from widebasin.sam._asam import adaptive_ascent_point

BASE, LAYERS, EXAMPLES = 32, 3, 100
RATE, STEPS, RADIUS, SEEDS = 0.1, 20, 0.1, 2
DIGITS = digits()
INPUTS, LABELS = jnp.asarray(DIGITS.prepared(DIGITS.inputs[:EXAMPLES])), jnp.asarray(DIGITS.targets[:EXAMPLES])


@functools.partial(jax.jit, static_argnums=0)
def network(width, key):
    return MLP((64, width, width, 10), key=key)


@functools.cache
def factors(width):
    return multipliers(*(eqx.filter_eval_shape(network, one, jax.random.key(0)) for one in (width, BASE)))


def outputs(model):
    return jax.vmap(model)(INPUTS)


@jax.jit
@jax.value_and_grad
def loss(model):
    return softmax_cross_entropy_with_integer_labels(outputs(model), LABELS).mean()


@jax.jit
def after_steps(model, rates):
    def step(_, model):
        return jax.tree.map(lambda w, g, rate: w - RATE * rate * g, model, loss(model)[1], rates)

    return jax.lax.fori_loop(0, STEPS, step, model)


@functools.cache
def scales_of(width, parametrization):
    return perturbation(factors(width)) if parametrization == MUP2 else None


@functools.partial(jax.jit, static_argnums=1)
def ascended(model, scales):
    return ascent_point(model, loss(model)[1], RADIUS, scales=scales)


def trained(width, parametrization, seed):
    """A network after a few steps, and the factors of its width."""
    model, of_layers = network(width, jax.random.key(seed)), factors(width)
    rates = of_layers.sgd
    if parametrization == STANDARD:
        rates = jax.tree.map(lambda _: 1.0, rates)
    else:
        model = initialized(model, of_layers)
    return after_steps(model, rates), of_layers


@jax.jit
def alone(model, other):
    """RMS change of the outputs if one layer is that of another network, for every layer."""

    def change(layer):
        weights, biases = list(model.weights), list(model.biases)
        weights[layer], biases[layer] = other.weights[layer], other.biases[layer]
        moved = eqx.tree_at(lambda one: (one.weights, one.biases), model, (weights, biases))
        return jnp.sqrt(jnp.mean((outputs(moved) - outputs(model)) ** 2))

    return jnp.stack([change(layer) for layer in range(LAYERS)])


def effects(width, parametrization):
    """The effect of each layer's perturbation, geometric means over seeds."""
    found = []
    for seed in range(SEEDS):
        model, _ = trained(width, parametrization, seed)
        point = ascended(model, scales_of(width, parametrization))
        found.append(alone(model, point))
    return np.exp(np.mean(np.log(found), axis=0))


def by_width(parametrization, widths):
    return np.array([effects(width, parametrization) for width in widths])


QUICK = (32, 128, 512)


@pytest.mark.parametrize("widths", [QUICK, pytest.param((32, 256, 2048), marks=pytest.mark.slow)], ids=max)
def test_under_mup2_the_effect_of_every_layer_stays_within_a_factor_of_two(widths):
    found = by_width(MUP2, widths)
    assert (found.max(0) / found.min(0)).max() < 2


@pytest.mark.parametrize("widths", [QUICK, pytest.param((32, 2048), marks=pytest.mark.slow)], ids=max)
def test_else_the_effects_of_layers_drift_apart(widths):
    """Of the first layer it vanishes, of the last it takes over: the ascent is that of the last layer alone."""
    grown = np.log(widths[-1] / widths[0])
    for parametrization in (STANDARD, MUP):
        found = by_width(parametrization, widths)
        powers = np.log(found[-1] / found[0]) / grown
        assert powers[0] < -0.2
        assert powers[2] > 0.2
        assert found[-1, 2] / found[-1, 0] > 4 * found[0, 2] / found[0, 0]


@pytest.mark.parametrize("eta", [pytest.param(0.0, marks=pytest.mark.slow), 0.1])
def test_adaptive_ascents_keep_the_effect_of_every_layer_with_what_is_left_of_the_scales(eta):
    """And without them it shrinks like ``width^-1/2``, or, with ``eta``, is that of the last layers alone."""
    plain, scaled = [], []
    for width in (64, 1024):
        model, of_layers = trained(width, MUP, seed=0)
        for scales, found in ((None, plain), (perturbation(of_layers, adaptive=True), scaled)):
            ascent = functools.partial(adaptive_ascent_point, rho=0.5, eta=eta, adaptive=None, mask=None, scales=scales)
            found.append(alone(model, jax.jit(ascent)(model, loss(model)[1])))
    grown = np.asarray(scaled[1]) / scaled[0]
    assert grown.max() < 2
    assert grown.min() > 1 / 2
    without = np.asarray(plain[1]) / plain[0]
    assert without[0] < 0.5


def test_sgd_under_mup2_is_plain_training_in_other_coordinates():
    """``w = T u`` with ``T`` the weights of the norm: SGD and SAM with one learning rate and one norm for ``u``."""
    width = 64
    model, of_layers = initialized(network(width, jax.random.key(0)), factors(width)), factors(width)
    own = jax.tree.map(lambda w, t: w / t, model, of_layers.norm)

    def of(own):
        return jax.tree.map(lambda u, t: u * t, own, of_layers.norm)

    scaled = jax.jit(SAM(RADIUS, scales=perturbation(of_layers)).value_and_grad(lambda one: loss(one)[0]))
    plain = jax.jit(SAM(RADIUS).value_and_grad(lambda own: loss(of(own))[0]))
    for _ in range(5):
        model = jax.tree.map(lambda w, g, rate: w - RATE * rate * g, model, scaled(model, ())[1], of_layers.sgd)
        own = jax.tree.map(lambda u, g: u - RATE * g, own, plain(own, ())[1])
    np.testing.assert_allclose(outputs(model), outputs(of(own)), rtol=1e-3, atol=1e-4)
