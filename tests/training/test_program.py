"""What the compiled programs compute, against hand-written loops and against each other."""

import re
from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from training.tasks import CONVOLUTIONAL, DIGITS, REGRESSING, leaves, point, program_of, trained

from widebasin import sam
from widebasin.data import epoch_batches, key_for
from widebasin.training import Plan, Point, Program, supervised, train
from widebasin.training.placement import Placement

RADII = [point(rho=rho, seed=seed, label_noise=0.2) for rho in (0.0, 0.1, 0.3) for seed in (0, 1)]
BATCHED, ALONE = Plan(len(RADII), "scan", "cpu"), Plan(1, "scan", "cpu")


def test_sam_at_radius_zero_trains_bit_for_bit_like_sgd():
    zero = [point(seed=seed, label_noise=0.2) for seed in range(4)]
    plan = Plan(len(zero), "scan", "cpu")
    sgd, sgd_metrics = trained(DIGITS, "sgd", zero, plan)
    at_zero, sam_metrics = trained(DIGITS, "sam", zero, plan)
    for one, other in zip(leaves(sgd), leaves(at_zero), strict=True):
        np.testing.assert_array_equal(one, other)
    for name in sgd_metrics:
        np.testing.assert_array_equal(sgd_metrics[name], sam_metrics[name])


@pytest.mark.slow
@pytest.mark.parametrize("method", ["sgd", "sam", "looksam", "friendly-sam", "random-perturbation"])
def test_a_network_in_a_batch_equals_the_same_network_alone(method):
    together, metrics = trained(DIGITS, method, RADII, BATCHED)
    for position, one in enumerate(RADII):
        alone, alone_metrics = trained(DIGITS, method, [one], ALONE)
        for batched, single in zip(leaves(together), leaves(alone), strict=True):
            np.testing.assert_allclose(batched[position], single[0], rtol=0, atol=1e-5)
        np.testing.assert_allclose(metrics["train_loss"][position], alone_metrics["train_loss"][0], rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("task", [DIGITS, CONVOLUTIONAL], ids=["dense", "convolutional"])
def test_scanned_and_dispatched_epochs_agree(task):
    scanned, scan_metrics = trained(task, "sam", RADII[3:4], Plan(1, "scan", "cpu"))
    stepped, step_metrics = trained(task, "sam", RADII[3:4], Plan(1, "step", "cpu"))
    for one, other in zip(leaves(scanned), leaves(stepped), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)
    assert scan_metrics.keys() == step_metrics.keys()
    for name in scan_metrics:
        np.testing.assert_allclose(scan_metrics[name], step_metrics[name], rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_dispatched_epochs_of_a_batch_agree_with_scanned_ones():
    scanned, _ = trained(DIGITS, "sam", RADII, BATCHED)
    stepped, _ = trained(DIGITS, "sam", RADII, replace(BATCHED, loop="step"))
    for one, other in zip(leaves(scanned), leaves(stepped), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)


@pytest.mark.parametrize("loop", ["scan", pytest.param("step", marks=pytest.mark.slow)])
def test_settings_of_jax_change_nothing(loop):
    """Not even the check for NaNs: the scanned loop has them for what is measured after the last epoch only."""
    two, plan = [point(rho=0.1, seed=seed, label_noise=0.2) for seed in (0, 1)], Plan(2, loop, "cpu")
    expected = train(program_of(DIGITS, "sam", plan), two)
    split = DIGITS.examples_of(two[1])
    with (
        jax.enable_x64(True),
        jax.default_prng_impl("rbg"),
        jax.threefry_partitionable(False),
        jax.numpy_dtype_promotion("strict"),
        jax.numpy_rank_promotion("raise"),
        jax.debug_nans(True),
    ):
        found = train(Program(DIGITS, sam.METHODS["sam"].with_radius, plan), two)
        jax.tree.map(np.testing.assert_array_equal, DIGITS.examples_of(two[1]), split)
        initial = DIGITS.initial_model(1)
    jax.tree.map(np.testing.assert_array_equal, initial, DIGITS.initial_model(1))
    jax.tree.map(np.testing.assert_array_equal, found.params, expected.params)
    jax.tree.map(np.testing.assert_array_equal, found.history, expected.history)
    jax.tree.map(np.testing.assert_array_equal, found.final, expected.final)


@pytest.mark.slow
def test_an_epoch_equals_a_loop_written_by_hand():
    one = point(rho=0.2, seed=7, label_noise=0.3, weight_decay=0.01, learning_rate=0.05)
    program = program_of(DIGITS, "sam", ALONE)
    state, examples, _ = program.start([one])
    key = jax.random.key(7)
    model = DIGITS.build(key_for(key, "initialization"))
    inputs = DIGITS.dataset.inputs[np.asarray(examples.train[0])]
    labels = np.asarray(examples.train_targets[0])
    batches = epoch_batches(key_for(key_for(key, "training"), "batch order"), 0, 300, 50)
    velocity = jax.tree.map(jnp.zeros_like, model)

    def loss(model, x, y):
        return optax.softmax_cross_entropy_with_integer_labels(jax.vmap(model)(x), y).mean()

    losses = []
    for batch in np.asarray(batches):
        x, y = inputs[batch], labels[batch]
        value, gradient = jax.value_and_grad(loss)(model, x, y)
        losses.append(float(value))
        norm = np.sqrt(sum(float(jnp.sum(leaf**2)) for leaf in jax.tree.leaves(gradient)))
        there = jax.tree.map(lambda w, g, norm=norm: w + 0.2 * g / norm, model, gradient)
        gradient = jax.grad(loss)(there, x, y)
        velocity = jax.tree.map(lambda v, g, w: 0.9 * v + g + 0.01 * w, velocity, gradient, model)
        model = jax.tree.map(lambda w, v: w - 0.05 * v, model, velocity)
    state, metrics = trained(DIGITS, "sam", [one], ALONE, epochs=1)
    for by_hand, ours in zip(jax.tree.leaves(model), leaves(state), strict=True):
        np.testing.assert_allclose(ours[0], by_hand, rtol=0, atol=1e-5)
    assert metrics["train_loss"][0] == pytest.approx(np.mean(losses), rel=1e-5)
    outputs = jax.vmap(model)(DIGITS.dataset.inputs[np.asarray(examples.test[0])])
    right = np.asarray(outputs).argmax(1) == DIGITS.dataset.targets[np.asarray(examples.test[0])]
    assert metrics["test_accuracy"][0] == pytest.approx(right.mean(), abs=1e-6)
    assert metrics["final_train_loss"][0] == pytest.approx(float(loss(model, inputs, labels)), rel=1e-4)


@pytest.mark.slow
def test_networks_of_one_seed_share_split_labels_and_initialization_whatever_the_radius():
    program = program_of(DIGITS, "sam", BATCHED)
    state, examples, hyperparameters = program.start(RADII)
    for tree in (state.params, examples):
        for leaf in jax.tree.leaves(tree):
            array = np.asarray(leaf).reshape(3, 2, -1)
            np.testing.assert_array_equal(array[0], array[1])
            np.testing.assert_array_equal(array[0], array[2])
    assert not np.array_equal(np.asarray(examples.train[0]), np.asarray(examples.train[1]))
    np.testing.assert_array_equal(hyperparameters.point["rho"], np.float32([0, 0, 0.1, 0.1, 0.3, 0.3]))


def test_a_network_does_not_depend_on_its_company():
    program = program_of(DIGITS, "sam", BATCHED)
    few = program.start([point(seed=3, label_noise=0.4)])
    many = program.start([point(seed=s, label_noise=n) for s in (1, 3) for n in (0.1, 0.4)])
    for one, other in zip(jax.tree.leaves(few), jax.tree.leaves(many), strict=True):
        if not jnp.issubdtype(one.dtype, jax.dtypes.prng_key):
            np.testing.assert_array_equal(one[0], other[3])


def test_label_noise_touches_training_labels_only_and_exactly():
    program = program_of(DIGITS, "sgd", BATCHED)
    _, examples, _ = program.start([point(label_noise=rate) for rate in (0.0, 0.3)])
    truth = DIGITS.dataset.targets[np.asarray(examples.train)]
    wrong = (np.asarray(examples.train_targets) != truth).sum(axis=1)
    assert wrong.tolist()[:2] == [0, 90]


@pytest.mark.slow
def test_evaluation_in_blocks_equals_evaluation_at_once(monkeypatch):
    _, whole_metrics = trained(DIGITS, "sgd", RADII[:2], Plan(2, "scan", "cpu"))
    monkeypatch.setattr(supervised, "EVALUATION_BLOCK", 37)
    _, block_metrics = trained(DIGITS, "sgd", RADII[:2], Plan(2, "scan", "cpu"))
    for name in whole_metrics:
        np.testing.assert_allclose(whole_metrics[name], block_metrics[name], rtol=1e-5)


@pytest.mark.slow
def test_the_whole_training_set_is_measured_at_the_end_only():
    program = program_of(REGRESSING, "sam", ALONE)
    state, examples, hyperparameters = program.start([point(rho=0.1, learning_rate=0.01)])
    state, first = program.epoch(state, examples, hyperparameters, last=False)
    assert np.isnan(first["final_train_loss"]).all()
    state, second = program.epoch(state, examples, hyperparameters, last=True)
    model = eqx.combine(jax.tree.map(lambda leaf: leaf[0], state.params), REGRESSING.network.static)
    positions = np.asarray(examples.train[0])
    errors = jax.vmap(model)(REGRESSING.dataset.inputs[positions]) - REGRESSING.dataset.targets[positions]
    assert second["final_train_loss"][0] == pytest.approx(float((errors**2).sum(1).mean()), rel=1e-4)


def test_one_program_serves_every_radius_and_seed():
    program = program_of(DIGITS, "sam", Plan(2, "scan", "cpu"))
    last = False
    for rho, seed in ((0.1, 0), (0.2, 5), (0.5, 9)):
        state, examples, hyperparameters = program.start([point(rho=rho, seed=seed), point(rho=rho, seed=seed + 1)])
        for _ in range(2):
            state, _ = program.epoch(state, examples, hyperparameters, last=last)
            last = not last
    assert program.loop._epoch._cache_size() == 1


@pytest.mark.slow
def test_a_step_of_one_gradient_stays_a_branch_in_a_batch():
    """Under vmap over the step's number, the branches of LookSAM would both run and be selected from."""
    program = program_of(DIGITS, "looksam", BATCHED)
    state, examples, hyperparameters = program.start(RADII)
    _, index = program.loop._begin(state, examples, hyperparameters, program.data, 0)
    shared = (program.data, np.asarray(0), np.asarray(False))
    epoch = str(jax.make_jaxpr(program.loop._epoch)(state, index, examples, hyperparameters, *shared))
    assert len(re.findall(r"\bcond\[", epoch)) == 2  # and that of the evaluation at the end


@pytest.mark.slow
def test_dispatched_steps_have_no_branch():
    program = program_of(DIGITS, "looksam", replace(BATCHED, loop="step"))
    state, examples, hyperparameters = program.start(RADII)
    _, index = program.loop._begin(state, examples, hyperparameters, program.data, 0)
    batch = jax.tree.map(lambda leaf: leaf[:, 0], index)
    for step in program.loop._steps.values():
        jaxpr = jax.make_jaxpr(step)(state, examples, hyperparameters, batch, 3, program.data)
        assert "cond[" not in str(jaxpr)


@pytest.mark.slow
def test_dispatched_steps_of_two_kinds_agree_with_scanned_ones():
    scanned, _ = trained(DIGITS, "sam-every-5", RADII, BATCHED)
    stepped, _ = trained(DIGITS, "sam-every-5", RADII, replace(BATCHED, loop="step"))
    for one, other in zip(leaves(scanned), leaves(stepped), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rho": -0.1}, "rho must be"),
        ({"seed": -1}, "seed must be"),
        ({"label_noise": 1.0}, r"label_noise must be in \[0, 1\)"),
    ],
)
def test_a_point_that_makes_no_sense_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        program_of(REGRESSING, "sam", Plan(1, "scan", "cpu")).start([point(0).moved(**changes)])


def test_no_network_and_networks_without_a_value_are_refused():
    program = program_of(REGRESSING, "sam", Plan(1, "scan", "cpu"))
    with pytest.raises(ValueError, match="points is empty: give one point per network"):
        program.start([])
    with pytest.raises(ValueError, match="has no value for learning_rate and weight_decay: pass it to Point"):
        program.start([Point.of(0, rho=0.1)])
    with pytest.raises(ValueError, match="has other axes than"):
        program.start([point(0), point(0).moved(label_noise=0.5, more=1.0)])


def test_a_batch_larger_than_the_training_set_is_refused():
    problem = replace(REGRESSING, recipe=replace(REGRESSING.recipe, batch_size=301))
    with pytest.raises(ValueError, match="batch_size = 301 is larger than the training set"):
        Program(problem, sam.METHODS["sam"].with_radius, Plan(1, "scan", "cpu"))


def test_a_loop_in_one_program_evaluates_only_after_an_epoch():
    program = program_of(REGRESSING, "sam", Plan(1, "scan", "cpu"))
    state, _, _ = program.start([point(0)])
    with pytest.raises(ValueError, match=r"loop = 'scan' evaluates only after an epoch: give Plan\(..., 'step', ...\)"):
        program.judged([point(0)], state.params, state.model)


def test_networks_are_built_one_by_one_on_a_cpu_wherever_the_plan_was_made(monkeypatch):
    """Batched factorizations would wait for each other for ever."""
    asked = []
    genuine = Placement.compiled

    def compiled(self, one, *arguments, **named):
        asked.append((one.__name__, named.get("in_turn", False)))
        return genuine(self, one, *arguments, **named)

    monkeypatch.setattr(Placement, "compiled", compiled)
    Program(REGRESSING, sam.METHODS["sam"].with_radius, Plan(2, "scan", "gpu"))
    assert ("_initialize_one", True) in asked
