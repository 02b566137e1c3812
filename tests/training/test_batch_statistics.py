"""Networks with batch normalization, against a loop written with Equinox and NumPy."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from training.tasks import NORMALIZED, leaves, point, program_of, trained

from widebasin.data import epoch_batches, key_for
from widebasin.models import BATCH_AXIS
from widebasin.training import Plan, train

ONE = point(rho=0.5, seed=7, label_noise=0.3, weight_decay=0.01, learning_rate=0.05)
EPOCHS = 2


def over_batch(model, state, inputs):
    return jax.vmap(model, axis_name=BATCH_AXIS, in_axes=(0, None), out_axes=(0, None))(inputs, state)


@eqx.filter_jit
def step_by_hand(model, state, velocity, inputs, labels, rho):
    def loss(model):
        logits, moved = over_batch(model, state, inputs)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), moved

    (value, moved), gradient = eqx.filter_value_and_grad(loss, has_aux=True)(model)
    norm = jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(gradient)))
    there = eqx.apply_updates(model, jax.tree.map(lambda g: rho * g / norm, gradient))
    (_, moved_there), gradient = eqx.filter_value_and_grad(loss, has_aux=True)(there)
    params = eqx.filter(model, eqx.is_inexact_array)
    velocity = jax.tree.map(lambda v, g, w: 0.9 * v + g + 0.01 * w, velocity, gradient, params)
    model = eqx.apply_updates(model, jax.tree.map(lambda v: -0.05 * v, velocity))
    return model, moved, moved_there, velocity, value


def train_by_hand(examples, rho):
    """Model and state after the epochs, the statistics of the last ascent point, and the last epoch's mean loss."""
    key = jax.random.key(7)
    model, state = eqx.nn.make_with_state(NORMALIZED.build)(key_for(key, "initialization"))
    inputs = NORMALIZED.dataset.inputs[np.asarray(examples.train[0])]
    labels = np.asarray(examples.train_targets[0])
    velocity = jax.tree.map(jnp.zeros_like, eqx.filter(model, eqx.is_inexact_array))
    losses, there = [], state
    for epoch in range(EPOCHS):
        for batch in np.asarray(epoch_batches(key_for(key_for(key, "training"), "batch order"), epoch, 300, 50)):
            model, state, there, velocity, value = step_by_hand(
                model, state, velocity, inputs[batch], labels[batch], jnp.float32(rho)
            )
            losses.append(float(value))
    return model, state, there, np.mean(losses[-6:])


@pytest.mark.slow
@pytest.mark.parametrize(("method", "rho", "loop"), [("sgd", 0.0, "scan"), ("sam", 0.5, "scan"), ("sam", 0.5, "step")])
def test_epochs_equal_a_loop_written_by_hand(method, rho, loop):
    plan = Plan(1, loop, "cpu")
    _, examples, _ = program_of(NORMALIZED, method, plan).start([ONE])
    model, statistics, statistics_there, train_loss = train_by_hand(examples, rho)
    state, metrics = trained(NORMALIZED, method, [ONE], plan, EPOCHS)

    for by_hand, ours in zip(jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array)), leaves(state), strict=True):
        np.testing.assert_allclose(ours[0], by_hand, rtol=0, atol=2e-5)
    mean, variance = statistics.get(model.normalization.running)
    np.testing.assert_allclose(state.model[0][0], mean, rtol=0, atol=1e-5)
    np.testing.assert_allclose(state.model[1][0], variance, rtol=0, atol=1e-5)
    if rho:  # the tolerance tells the clean passes from those at the ascent point
        there, _ = statistics_there.get(model.normalization.running)
        assert np.abs(there - mean).max() > 1e-3
    assert metrics["train_loss"][0] == pytest.approx(train_loss, rel=1e-5)

    # What is measured at the end is in inference mode, by the running statistics and not those of the examples.
    for part, positions, labels in (
        ("test", examples.test[0], NORMALIZED.dataset.targets[np.asarray(examples.test[0])]),
        ("final_train", examples.train[0], np.asarray(examples.train_targets[0])),
    ):
        inputs = NORMALIZED.dataset.inputs[np.asarray(positions)]
        logits, _ = over_batch(eqx.nn.inference_mode(model), statistics, inputs)
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
        assert metrics[f"{part}_loss"][0] == pytest.approx(float(loss), rel=1e-4)
        assert metrics[f"{part}_accuracy"][0] == pytest.approx(np.mean(np.asarray(logits).argmax(1) == labels))
        of_the_examples, _ = over_batch(model, statistics, inputs)
        other = optax.softmax_cross_entropy_with_integer_labels(of_the_examples, labels).mean()
        assert abs(float(loss - other)) > 1e-3


@pytest.mark.slow
def test_the_clean_passes_move_the_statistics_in_numpy():
    """At a learning rate of 0 the parameters stay, and the statistics are those of the first layer's outputs."""
    still = point(rho=0.5, seed=3, learning_rate=0.0)
    program = program_of(NORMALIZED, "sam", Plan(1, "scan", "cpu"))
    state, examples, hyperparameters = program.start([still])
    weight, bias = (np.asarray(leaf[0], np.float64) for leaf in jax.tree.leaves(state.params.first))
    order = key_for(key_for(jax.random.key(3), "training"), "batch order")
    inputs = NORMALIZED.dataset.inputs[np.asarray(examples.train[0])]
    mean, variance = np.zeros(12), np.ones(12)
    for batch in np.asarray(epoch_batches(order, 0, 300, 50)):
        hidden = inputs[batch] @ weight.T + bias
        mean, variance = 0.9 * mean + 0.1 * hidden.mean(0), 0.9 * variance + 0.1 * hidden.var(0)
    state, _ = program.epoch(state, examples, hyperparameters, last=False)
    np.testing.assert_allclose(state.model[0][0], mean, rtol=0, atol=1e-6)
    np.testing.assert_allclose(state.model[1][0], variance, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_a_network_in_a_batch_has_the_statistics_of_the_same_network_alone():
    others = [ONE, ONE.moved(rho=0.1), ONE.moved(seed=2)]
    together, _ = trained(NORMALIZED, "sam", others, Plan(3, "scan", "cpu"))
    for position, one in enumerate(others):
        alone, _ = trained(NORMALIZED, "sam", [one], Plan(1, "scan", "cpu"))
        for batched, single in zip(together.model, alone.model, strict=True):
            np.testing.assert_allclose(batched[position], single[0], rtol=0, atol=1e-5)


@pytest.mark.slow
def test_the_parameters_alone_are_trained_and_the_statistics_are_handed_out():
    """Mean and variance are no parameters: neither counted nor differentiated, decayed or perturbed."""
    assert NORMALIZED.network.num_params == 64 * 12 + 12 + 12 + 12 + 12 * 10 + 10
    result = train(program_of(NORMALIZED, "sgd", Plan(1, "scan", "cpu")), [ONE])
    assert sum(leaf[0].size for leaf in jax.tree.leaves(result.params)) == NORMALIZED.network.num_params
    assert [leaf.shape for leaf in result.model] == [(1, 12), (1, 12)]
    assert (np.asarray(result.model[1]) > 0).all()
