"""Base optimizers, schedules and clipping: against their definitions, and under SAM."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from training.tasks import DIGITS, leaves, point, trained

from widebasin.data import SplitSizes
from widebasin.parametrization import Multipliers
from widebasin.training import OPTIMIZERS, Plan, Recipe

RECIPE = Recipe(epochs=4, batch_size=10, learning_rate=0.1, schedule="constant")
RATE, DECAY, MOMENTUM = 0.1, 0.01, 0.9
GRADIENTS = (1.0, -0.5, 0.25)


def by_hand(name):
    """A parameter after three steps from 2, in double precision, from the papers' formulas."""
    w, first, second = 2.0, 0.0, 0.0
    for step, gradient in enumerate(GRADIENTS, start=1):
        coupled = gradient + DECAY * w
        if name == "sgd":
            first = MOMENTUM * first + coupled
            w -= RATE * first
        elif name == "nesterov":
            first = MOMENTUM * first + coupled
            w -= RATE * (coupled + MOMENTUM * first)
        elif name in ("adam", "adamw", "muon"):  # muon takes what is no matrix by AdamW
            g = coupled if name == "adam" else gradient
            first, second = 0.9 * first + 0.1 * g, 0.999 * second + 0.001 * g**2
            mean = first / (1 - 0.9**step)
            if name == "muon":  # with Nesterov's momentum
                mean = 0.9 * first / (1 - 0.9 ** (step + 1)) + 0.1 * g / (1 - 0.9**step)
            move = mean / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
            w -= RATE * (move + (0 if name == "adam" else DECAY * w))
        elif name == "lion":
            move = np.sign(0.9 * first + 0.1 * gradient)
            first = 0.99 * first + 0.01 * gradient
            w -= RATE * (move + DECAY * w)
    return w


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_three_steps_follow_the_papers(name):
    optimizer = replace(RECIPE, optimizer=name, momentum=MOMENTUM).optimizer_at(
        10, jnp.float32(RATE), jnp.float32(DECAY)
    )
    params = {"vector": jnp.array([2.0])}
    state = optimizer.init(params)
    for gradient in GRADIENTS:
        updates, state = optimizer.update({"vector": jnp.array([gradient])}, state, params)
        params = optax.apply_updates(params, updates)
    assert float(params["vector"][0]) == pytest.approx(by_hand(name), rel=2e-5)


# Factors of two layers; the norm is of the gradients together.
FACTORS = Multipliers(
    initial={"a": 1.0, "b": 1.0},
    sgd={"a": 4.0, "b": 0.25},
    adam={"a": 1.0, "b": 0.5},
    ascent={"a": 4.0, "b": 0.25},
    norm={"a": 2.0, "b": 0.5},
    size={"a": 1.0, "b": 0.5},
)


def two_layers(name, layers, decay=DECAY, **recipe):
    """Both parameters after three steps from 2, and what the first step changed."""
    optimizer = replace(RECIPE, optimizer=name, momentum=MOMENTUM, **recipe).optimizer_at(10, RATE, decay, layers)
    params = {"a": jnp.array([2.0]), "b": jnp.array([2.0])}
    state, first = optimizer.init(params), None
    for gradient in GRADIENTS:
        updates, state = optimizer.update(dict.fromkeys(params, jnp.array([gradient])), state, params)
        first = updates if first is None else first
        params = optax.apply_updates(params, updates)
    return params, first


LAYERED = [name for name, one in OPTIMIZERS.items() if one.layered]


@pytest.mark.parametrize("name", LAYERED)
def test_layers_with_factors_of_one_are_as_without(name):
    ones = Multipliers(*(dict.fromkeys(FACTORS.sgd, 1.0) for _ in Multipliers._fields))
    for clip in (None, 0.3):
        plain, layered = (two_layers(name, layers, clip=clip)[0] for layers in (None, ones))
        for layer in ("a", "b"):
            np.testing.assert_allclose(plain[layer], layered[layer], rtol=1e-6)


@pytest.mark.parametrize("name", LAYERED)
def test_every_layer_has_its_own_learning_rate(name):
    """Without weight decay a layer moves its factor times as far: the optimizers are linear in the learning rate."""
    moved, plain = (two_layers(name, layers, decay=0.0)[0] for layers in (FACTORS, None))
    of = FACTORS.sgd if name in ("sgd", "nesterov") else FACTORS.adam
    for layer in ("a", "b"):
        np.testing.assert_allclose(moved[layer] - 2, of[layer] * (plain[layer] - 2), rtol=1e-5)


@pytest.mark.parametrize("name", sorted({*LAYERED} - {"adam"}))
def test_weight_decay_shrinks_all_layers_alike(name):
    """The first step with decay less that without it; Adam normalizes what is added to the gradient."""
    with_decay, without = (two_layers(name, FACTORS, decay=decay)[1] for decay in (0.5, 0.0))
    shrunk = [float((with_decay[layer] - without[layer])[0]) for layer in ("a", "b")]
    kick = 1 + MOMENTUM if name == "nesterov" else 1
    np.testing.assert_allclose(shrunk, -kick * RATE * 0.5 * 2.0, rtol=1e-5)


def test_adam_with_layers_normalizes_the_decay_that_belongs_to_each():
    """Added to the gradient is the coefficient over the layer's factor, as in the rule of muP's authors."""
    of_layers = two_layers("adam", FACTORS)[0]
    w, first, second = 2.0, 0.0, 0.0
    for step, gradient in enumerate(GRADIENTS, start=1):
        g = gradient + DECAY / FACTORS.adam["b"] * w
        first, second = 0.9 * first + 0.1 * g, 0.999 * second + 0.001 * g**2
        w -= RATE * FACTORS.adam["b"] * first / (1 - 0.9**step) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
    assert float(of_layers["b"][0]) == pytest.approx(w, rel=2e-5)


def test_clipping_with_layers_is_by_the_norm_with_their_weights():
    """Of gradients 1 and 1 it is ``(2^2 + 0.5^2)^1/2``."""
    _, first = two_layers("sgd", FACTORS, decay=0.0, clip=0.5)
    clipped = 0.5 / np.hypot(2.0, 0.5)
    found = [float(first[layer][0]) for layer in ("a", "b")]
    np.testing.assert_allclose(found, [-RATE * clipped * 4.0, -RATE * clipped * 0.25], rtol=1e-5)


def test_an_optimizer_without_a_rule_for_layers_is_refused():
    with pytest.raises(ValueError, match="muon has no rule for learning rates of single layers"):
        two_layers("muon", FACTORS)


def test_muon_moves_matrices_by_an_orthogonal_one():
    optimizer = replace(RECIPE, optimizer="muon").optimizer_at(10, 1.0, 0.0)
    params = {"matrix": jnp.zeros((3, 3))}
    gradient = {"matrix": jax.random.normal(jax.random.key(0), (3, 3))}
    updates, _ = optimizer.update(gradient, optimizer.init(params), params)
    singular = np.linalg.svd(updates["matrix"], compute_uv=False)
    assert singular.min() > 0.6
    assert singular.max() < 1.3


def test_clipping_shortens_the_gradient_and_nothing_else():
    optimizer = replace(RECIPE, momentum=0.0, clip=1.0).optimizer_at(10, 1.0, 0.0)
    params = jnp.zeros(2)
    for gradient, expected in (((3.0, 4.0), (-0.6, -0.8)), ((0.3, 0.4), (-0.3, -0.4))):
        updates, _ = optimizer.update(jnp.array(gradient), optimizer.init(params), params)
        np.testing.assert_allclose(updates, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("schedule", "warmup", "expected"),
    [
        ("linear", 0, lambda step: 1 - step / 40),
        ("linear", 4, lambda step: (1 - step / 40) * min(1, (step + 1) / 4)),
        ("rsqrt", 0, lambda step: (step + 1) ** -0.5),
        ("rsqrt", 4, lambda step: min(1, (step + 1) / 4) * (4 / max(step + 1, 4)) ** 0.5),
    ],
)
def test_schedules_follow_their_formulas(schedule, warmup, expected):
    relative = replace(RECIPE, schedule=schedule, warmup_steps=warmup).relative_learning_rate(10)
    for step in (0, 1, 3, 4, 10, 39):
        assert float(relative(step)) == pytest.approx(expected(step), abs=1e-6)


SMALL = replace(DIGITS, sizes=SplitSizes(train=120, valid=20, test=20))
ZERO = [point(seed=seed, label_noise=0.2, learning_rate=0.01) for seed in range(2)]


@pytest.mark.slow
@pytest.mark.usefixtures("compiled_as_usual")
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_sam_at_radius_zero_is_the_base_optimizer_bit_for_bit_and_accumulated_equals_whole(name):
    problem = replace(SMALL, recipe=replace(DIGITS.recipe, optimizer=name, batch_size=40, clip=0.5))
    plan = Plan(len(ZERO), "scan", "cpu")
    base, base_metrics = trained(problem, "sgd", ZERO, plan)
    at_zero, metrics = trained(problem, "sam", ZERO, plan)
    for one, other in zip(leaves(base), leaves(at_zero), strict=True):
        np.testing.assert_array_equal(one, other)
    for key, values in base_metrics.items():
        np.testing.assert_array_equal(values, metrics[key])
    group = [one.moved(rho=0.1) for one in ZERO]
    whole, whole_metrics = trained(problem, "sam", group, plan, epochs=1)
    parts, metrics = trained(problem, "sam", group, replace(plan, microbatch=10), epochs=1)
    # The sign of a number that is nearly 0 is Lion's step; Adam's first step is nearly a sign.
    tolerance = {"sgd": 1e-6, "nesterov": 1e-6}.get(name, 2.5 * 3 * 0.01)
    for one, other in zip(leaves(whole), leaves(parts), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance)
        assert np.quantile(np.abs(one - other), 0.9) < 1e-5
    np.testing.assert_allclose(metrics["train_loss"], whole_metrics["train_loss"], rtol=1e-4)
