"""The lazy regime: what is trained is ``alpha (f(w) - f(w0))``, with the loss over ``alpha^2``."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training.tasks import DIGITS, NORMALIZED, leaves, point, program_of, trained

from widebasin.data import epoch_batches, key_for
from widebasin.statistics import Metric
from widebasin.training import SQUARED_CLASSIFICATION, Centered, Plan, computing_in

CENTERED = Centered(
    replace(DIGITS, objective=SQUARED_CLASSIFICATION, recipe=replace(DIGITS.recipe, precision="float64"))
)
SCALES = (0.5, 30.0, 1e4, 1e6)
GROUP = [point(rho=0.05, seed=3, label_noise=0.2, learning_rate=0.02, output_scale=scale) for scale in SCALES]
PLAN = Plan(len(GROUP), "scan", "cpu")


@pytest.fixture(scope="module")
def after_an_epoch():
    with computing_in("float64"):
        return trained(CENTERED, "sam", GROUP, PLAN, epochs=1)


@pytest.fixture(scope="module")
def beginning():
    with computing_in("float64"):
        return program_of(CENTERED, "sam", PLAN).start(GROUP)


@pytest.mark.slow
def test_an_epoch_equals_a_loop_written_by_hand(after_an_epoch, beginning):
    state, metrics = after_an_epoch
    _, (examples, *_), _ = beginning
    with computing_in("float64"):
        key = jax.random.key(3)
        origin = DIGITS.build(key_for(key, "initialization"))
        inputs = DIGITS.dataset.inputs[np.asarray(examples.train[0])].astype(np.float64)
        wanted = np.eye(10)[np.asarray(examples.train_targets[0])]

        def error(model, x, y, alpha):
            outputs = alpha * (jax.vmap(model)(x) - jax.vmap(origin)(x))
            return jnp.mean(jnp.sum((outputs - y) ** 2, axis=1))

        @jax.jit
        def step(model, velocity, x, y, alpha):
            def minimized(model):
                return error(model, x, y, alpha) / alpha**2

            value, gradient = jax.value_and_grad(minimized)(model)
            norm = jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(gradient)))
            there = jax.tree.map(lambda w, g: w + 0.05 * g / norm, model, gradient)
            gradient = jax.grad(minimized)(there)
            velocity = jax.tree.map(lambda v, g, w: 0.9 * v + g + 1e-4 * w, velocity, gradient, model)
            return jax.tree.map(lambda w, v: w - 0.02 * v, model, velocity), velocity, value * alpha**2

        batches = np.asarray(epoch_batches(key_for(key_for(key, "training"), "batch order"), 0, 300, 50))
        for position, alpha in enumerate(SCALES[:2]):
            model, velocity, losses = origin, jax.tree.map(jnp.zeros_like, origin), []
            for batch in batches:
                model, velocity, value = step(model, velocity, inputs[batch], wanted[batch], alpha)
                losses.append(float(value))
            for by_hand, ours in zip(jax.tree.leaves(model), leaves(state), strict=True):
                assert ours.dtype == np.float64
                np.testing.assert_allclose(ours[position], by_hand, rtol=0, atol=1e-13)
            assert metrics["train_loss"][position] == pytest.approx(np.mean(losses), rel=1e-12)
            final = float(error(model, inputs, wanted, alpha))
            assert metrics["final_train_loss"][position] == pytest.approx(final, rel=1e-11)


@pytest.mark.slow
def test_at_initialization_the_outputs_are_exactly_zero_at_every_scale():
    """The squared error to a unit vector is then exactly 1, also where alpha magnifies the least difference."""
    still = [one.moved(learning_rate=0.0) for one in GROUP]
    with computing_in("float64"):
        _, metrics = trained(CENTERED, "sam", still, PLAN, epochs=1)
    for name in ("train_loss", "valid_loss", "test_loss", "final_train_loss"):
        np.testing.assert_array_equal(metrics[name], 1.0)


def test_displacements_go_with_one_over_alpha_at_large_alpha():
    """Of SGD without decay: ``alpha (w - w0)`` converges as alpha grows, its error with one over alpha."""
    scales = (1e2, 1e3, 1e4, 1e6)
    group = [point(seed=3, weight_decay=0.0, learning_rate=0.02, output_scale=scale) for scale in scales]
    with computing_in("float64"):
        program = program_of(CENTERED, "sam", PLAN)
        state, examples, hyperparameters = program.start(group)
        before = leaves(state)
        state, metrics = program.epoch(state, examples, hyperparameters, last=False)
    moved = [
        np.concatenate([scale * np.ravel(a[i] - b[i]) for a, b in zip(leaves(state), before, strict=True)])
        for i, scale in enumerate(scales)
    ]
    limit = moved[-1]
    assert np.linalg.norm(limit) > 0.1
    errors = [np.linalg.norm(one - limit) / np.linalg.norm(limit) for one in moved[:-1]]
    assert errors[0] < 0.1
    for scale, earlier, later in zip(scales[1:], errors, errors[1:], strict=False):
        assert later < 0.3 * earlier, f"alpha = {scale}"
    np.testing.assert_allclose(metrics["test_loss"][2:], metrics["test_loss"][3], rtol=1e-3)


@pytest.mark.slow
def test_pruned_networks_are_measured_from_the_pruned_initialization():
    still = [GROUP[2].moved(learning_rate=0.0, sparsity=0.75, pruner=pruner) for pruner in ("random", "snip")]
    with computing_in("float64"):
        state, metrics = trained(CENTERED, "sam", still, Plan(2, "scan", "cpu"), epochs=1)
    np.testing.assert_array_equal(metrics["test_loss"], 1.0)
    assert [sum(np.sum(leaf[i] == 0) for leaf in leaves(state)[:2]) for i in (0, 1)] == [666, 666]  # of 888


def test_a_model_with_a_state_is_refused():
    with pytest.raises(ValueError, match="remove batch normalization"):
        Centered(NORMALIZED)


@pytest.mark.slow
def test_a_metric_of_the_whole_data_set_is_of_the_displaced_outputs():
    whole = {Metric("whole_accuracy", True): lambda outputs, labels: np.mean(outputs.argmax(1) == labels)}
    problem = Centered(replace(CENTERED.problem, objective=replace(SQUARED_CLASSIFICATION, of_dataset=whole)))
    with computing_in("float64"):
        _, metrics = trained(problem, "sgd", GROUP[:1], Plan(1, "scan", "cpu"), epochs=1)
    for part in ("valid", "test"):
        assert 0 < metrics[f"{part}_whole_accuracy"][0] == pytest.approx(metrics[f"{part}_accuracy"][0])
