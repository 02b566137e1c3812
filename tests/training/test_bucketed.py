"""Buckets change what is computed, and no result: against the same task without them, and against plain loops."""

import dataclasses
import functools
from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from models.networks import anywhere, close
from together import together
from training.sized import (
    BUCKETED,
    EXAMPLES,
    LENGTHS,
    LONGEST,
    PLAIN,
    RECIPE,
    SIZES,
    Averaged,
    plain,
    sizes_of_examples,
    with_buckets,
)
from training.tasks import NORMALIZED, leaves, point, program_of

from widebasin import sam
from widebasin.data import Buckets, Dataset, SplitSizes
from widebasin.training import (
    CLASSIFICATION,
    Bucketed,
    Checkpoints,
    Model,
    Plan,
    Program,
    Supervised,
    bucketed,
    computing_in,
    train,
)
from widebasin.training.bucketed import BucketedBatch
from widebasin.training.supervised import Batch, Examples, Positions

NAMES = ("sentences", "tagged", "graphs")
BY_SIZE = np.argsort(sizes_of_examples(), kind="stable")
# An empty one, some that are short, some that are long.
CHOSEN = BY_SIZE[[0, 1, 8, 15, 22, 30, 45, 55, -2, -1]]

KEY = jax.random.key(2)
NOBODY = jnp.zeros(0, int)

# A batch --------------------------------------------------------------------------------------------------------------


@functools.cache
def measured(problem):
    """The values of a problem on a batch: loss, gradient, totals, losses of the examples, outputs."""

    def loss(params, batch, keys, rates):
        source = Examples(NOBODY, NOBODY, NOBODY, NOBODY, dict.fromkeys(problem.given, rates))
        model = Model(params, [])
        outputs, _ = problem.outputs(model, source, batch, keys, training=True)
        totals, examples = problem.totals(outputs, batch), problem.example_losses_of(outputs, batch)
        return problem.minimized(totals, source), (totals, examples, outputs)

    return jax.jit(jax.value_and_grad(loss, has_aux=True))


def batch_of(problem, chosen, targets=None):
    inputs = jax.tree.map(lambda leaf: leaf[chosen], problem.dataset.inputs)
    targets = problem.dataset.targets[chosen] if targets is None else targets
    if not isinstance(problem, Bucketed):
        return Batch(inputs, targets)
    columns = problem.buckets.columns(problem.buckets.beyond(chosen), len(chosen), 1)
    return BucketedBatch(inputs, targets, columns=columns)


def values_on(problem, chosen=CHOSEN, dropout=0.0, targets=None, batch=None):
    with computing_in("float64"):
        model = anywhere(problem.build)
        params = jax.tree.map(lambda leaf: leaf.astype(float), eqx.filter(model, eqx.is_array))
        # The keys of the examples, whatever their order in the batch.
        keys = jax.random.split(jax.random.key(3), EXAMPLES)[chosen]
        batch = batch_of(problem, chosen, targets) if batch is None else batch
        (loss, (totals, examples, outputs)), gradient = measured(problem)(params, batch, keys, jnp.asarray(dropout))
        return jax.device_get((loss, gradient, totals, examples, outputs))


def assert_equal_values(found, expected, order=slice(None)):
    loss, gradient, totals, examples, _ = found
    close(loss, expected[0])
    jax.tree.map(close, gradient, expected[1])
    jax.tree.map(close, dict(totals), dict(expected[2]))
    close(examples, np.asarray(expected[3])[order])


@pytest.mark.parametrize("name", ["graphs", *(pytest.param(name, marks=pytest.mark.slow) for name in NAMES[:2])])
def test_a_batch_with_buckets_has_the_values_and_gradients_of_one_without(name):
    """Also with dropout, as what is drawn at a length begins with what is drawn at a smaller one."""
    for dropout in (0.0, 0.3):
        assert_equal_values(values_on(BUCKETED[name], dropout=dropout), values_on(PLAIN[name], dropout=dropout))
    swapped = np.random.default_rng(0).permutation(len(CHOSEN))
    expected = values_on(BUCKETED[name])
    assert_equal_values(values_on(PLAIN[name], CHOSEN[swapped]), expected, swapped)
    assert float(expected[0]) > 0.1
    # Biases of the keys of attention alone have no effect.
    still = [path for path, leaf in jax.tree.leaves_with_path(expected[1]) if np.abs(leaf).max() < 1e-9]
    assert [jax.tree_util.keystr(path[-2:]) for path in still] == [".key_proj.bias"] * (name == "tagged")
    if name == "sentences":
        return
    # Without a known label nothing is learnt, and nothing is NaN.
    unknown = np.full_like(PLAIN[name].dataset.targets[CHOSEN], -1)
    for problem in (PLAIN[name], BUCKETED[name]):
        nothing = values_on(problem, targets=unknown)[:4]
        assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(nothing)) == 0


def test_what_stands_in_padding_changes_nothing():
    for problem in (PLAIN["graphs"], BUCKETED["graphs"]):
        batch = batch_of(problem, CHOSEN)
        nodes = batch.inputs["nodes"].copy()
        nodes[np.arange(LONGEST) >= batch.inputs["sizes"][:, None]] = 77
        filled = values_on(problem, batch=eqx.tree_at(lambda one: one.inputs["nodes"], batch, nodes))
        assert_equal_values(filled, values_on(problem))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_longer_padding_and_other_buckets_change_no_value_and_no_gradient(name):
    expected = values_on(PLAIN[name])
    found = values_on(with_buckets(plain(name, LONGEST + 3), (1, 5, LONGEST + 3)))
    assert_equal_values(found, expected)


@pytest.mark.slow
def test_part_of_a_batch_is_computed_at_the_full_length():
    """In any order: as groups of m examples and microbatches are."""
    problem = BUCKETED["averaged"]
    whole = batch_of(problem, CHOSEN)
    for rows in ([9, 0, 3], [8], [9, 1]):
        part = jax.tree.map(lambda leaf, rows=rows: leaf[np.array(rows)], whole)
        assert part.columns == whole.columns
        found = values_on(problem, CHOSEN[rows], batch=part)
        assert_equal_values(found, values_on(PLAIN["averaged"], CHOSEN[rows]))


@pytest.mark.slow
def test_outputs_reach_to_the_end_of_the_targets_where_no_example_does():
    """The sentences of a small part may all be shorter than the longest one of the data set."""
    problem = BUCKETED["tagged"]
    short = BY_SIZE[1:30:7]
    assert batch_of(problem, short).columns == ((len(short), LENGTHS[0]),)
    found = values_on(problem, short)
    assert found[-1].shape == (len(short), LONGEST, 3)
    assert_equal_values(found, values_on(PLAIN["tagged"], short))


# The examples of steps and of evaluations -----------------------------------------------------------------------------


def numbered(examples, lengths, **fixed):
    """A data set in which the words of an example are its number plus 1, as many as it is long."""
    sizes = np.random.default_rng(examples).integers(0, lengths[-1] + 1, examples)
    words = np.where(np.arange(lengths[-1]) < sizes[:, None], np.arange(1, examples + 1)[:, None], 0)
    dataset = Dataset("numbered", words, np.arange(examples), None, **fixed)
    return sizes, dataset, Buckets.of(sizes, lengths)


def problem_of(dataset, buckets, sizes, batch_size=4):
    recipe = replace(RECIPE, batch_size=batch_size)
    return Bucketed(Averaged, dataset, sizes, CLASSIFICATION, recipe, buckets=buckets)


def test_buckets_of_other_examples_are_refused():
    _, dataset, _ = numbered(20, (2, 5))
    _, _, fewer = numbered(10, (2, 5))
    with pytest.raises(ValueError, match="one entry for each of the 20 examples of numbered, got 10"):
        problem_of(dataset, fewer, SplitSizes(10, 5, 5))


@st.composite
def splits(draw):
    examples = draw(st.integers(8, 80))
    fixed = {"shuffled": draw(st.booleans())}
    pool = examples
    for part in draw(st.sampled_from([(), ("fixed_test",), ("fixed_test", "fixed_valid"), ("fixed_valid",)])):
        fixed[part] = draw(st.integers(1, examples // 4))
        pool -= fixed[part]
    parts = {}
    for part in ("valid", "test"):
        official = fixed.get(f"fixed_{part}")
        parts[part] = draw(st.integers(1, official or pool // 3))
        pool -= 0 if official else parts[part]
    sizes = SplitSizes(draw(st.integers(1, pool)), **parts)
    return examples, fixed, sizes, draw(st.integers(1, sizes.train)), draw(st.integers(1, 40)), draw(st.integers(0, 9))


def cut_columns(columns):
    return np.repeat([length for _, length in columns], [number for number, _ in columns])


@pytest.mark.slow
@given(splits())
def test_every_example_of_a_part_is_judged_once_and_is_never_cut(case):
    """All parts, official and drawn, in blocks that need not be full; and every batch of an epoch."""
    examples, fixed, parts, batch_size, block, seed = case
    lengths, dataset, buckets = numbered(examples, (2, 5, 7), **fixed)
    problem = problem_of(dataset, buckets, parts, batch_size)
    sizes = np.asarray(lengths)
    drawn = problem.examples_of(point(seed=seed))
    source = jax.tree.map(np.asarray, drawn)
    for part in ("train", "valid", "test"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(bucketed, "EVALUATION_BLOCK", block)
            blocks = problem.blocks(part)
            problem.__dict__.pop("columns", None)
            judged = []
            for positions, counted in zip(*blocks, strict=True):
                batch = problem.batch(problem.data, source, Positions(positions, counted), None, part)
                assert len(positions) <= block
                assert (sizes[batch.targets] <= cut_columns(batch.columns)).all()
                judged += batch.targets[batch.counted].tolist()
        assert sorted(judged) == sorted(getattr(source, part).tolist())


@pytest.mark.parametrize("train_examples", [50, 27])
def test_an_epoch_has_every_example_at_most_once_and_drops_others_every_time(train_examples):
    sizes, dataset, buckets = numbered(70, (2, 5, 7))
    problem = problem_of(dataset, buckets, SplitSizes(train_examples, 10, 10), batch_size=8)
    source = problem.examples_of(point(seed=1))
    epoch = jax.jit(lambda data, source, number: problem.epoch(data, source, (), Model((), ()), KEY, number)[1])
    source = jax.tree.map(np.asarray, source)
    steps = train_examples // 8
    dropped = np.zeros(train_examples)
    long = []
    for number in range(60):
        positions = np.asarray(epoch(problem.data, source, jnp.asarray(number)).positions)
        assert positions.shape == (steps, 8)
        assert len(set(positions.ravel().tolist())) == steps * 8
        dropped += ~np.isin(np.arange(train_examples), positions)
        for row in positions:
            batch = problem.batch(problem.data, source, Positions(row), None, "train")
            assert (sizes[batch.targets] <= cut_columns(batch.columns)).all()
            np.testing.assert_array_equal(batch.targets, source.train[row])
            long.append(int((buckets.of_example[batch.targets] == 2).sum()))
    # Each is left out by a chance of 2 in 50, or 3 in 27, 60 times: short ones as often as long ones.
    share = 1 - steps * 8 / train_examples
    assert dropped.sum() == pytest.approx(60 * share * train_examples)
    assert dropped.max() <= 60 * share + 6 * np.sqrt(60 * share)
    of_bucket = np.array([dropped[buckets.of_example[source.train] == b].sum() for b in range(3)])
    expected = 60 * share * np.bincount(buckets.of_example[source.train], minlength=3)
    assert (np.abs(of_bucket - expected) < 5 * np.sqrt(expected)).all()
    assert max(long) - min(long) <= 2  # of every epoch by itself at most 1


def test_drawn_parts_are_computed_at_their_own_lengths():
    """A few of many examples: about as many long columns as the share of long examples, not as many as there are."""
    sizes, dataset, buckets = numbered(4_000, (2, 5, 7))
    problem = problem_of(dataset, buckets, SplitSizes(1_000, 100, 100), batch_size=100)
    columns = {length: number for number, length in problem.columns["steps"]}
    for length, shorter in ((5, 2), (7, 5)):
        share = 100 * ((shorter < sizes) & (sizes <= length)).mean()
        assert 0.7 * share < columns[length] < 1.4 * share
    source = problem.examples_of(point(seed=1))
    assert source.fits
    tight = replace(problem)
    tight.__dict__["most_beyond"] = {part: [1, 1, 0] for part in ("train", "valid", "test")}
    assert not tight.examples_of(point(seed=1)).fits


def test_wrong_labels_are_drawn_among_the_classes_that_training_examples_have():
    """A class that occurs only in an official test set, as that of tags not met in training, is none of them."""
    _, dataset, buckets = numbered(60, (2, 5, 7), fixed_test=20)
    labels = np.where(np.arange(60) < 40, np.arange(60) % 2, 2)
    dataset = replace(dataset, targets=labels, num_classes=3, training_classes=2)
    problem = problem_of(dataset, buckets, SplitSizes(30, 10, 20))
    drawn = problem.examples_of(point(seed=1, label_noise=0.5))
    wrong = np.asarray(drawn.train_targets) != labels[np.asarray(drawn.train)]
    assert wrong.sum() == 15
    assert set(np.asarray(drawn.train_targets).tolist()) == {0, 1}


@pytest.mark.slow
def test_outputs_are_not_numbers_where_a_seed_draws_more_long_examples_than_there_is_room_for():
    problem = BUCKETED["averaged"]
    model = Model(eqx.filter(problem.build(KEY), eqx.is_array), [])
    source = problem.examples_of(point(seed=0))
    batch = batch_of(problem, CHOSEN)
    for fits in (True, False):
        outputs, _ = problem.outputs(model, source._replace(fits=jnp.asarray(fits)), batch, None, training=False)
        assert bool(jnp.isfinite(outputs).all()) == fits
        assert fits or bool(jnp.isnan(outputs).all())


@pytest.mark.parametrize("name", ["averaged", pytest.param("tagged", marks=pytest.mark.slow)])
def test_batches_for_groups_are_in_random_order_and_have_the_values_of_sorted_ones(name):
    grouped = replace(BUCKETED[name], grouped=True)
    plain_batch, buckets = Batch(*PLAIN[name].data), jnp.asarray(grouped.buckets.of_example)
    order = np.random.default_rng(0).permutation(len(CHOSEN))
    mixed = CHOSEN[order]
    inputs, targets = jax.tree.map(lambda leaf: leaf[mixed], (plain_batch.inputs, plain_batch.targets))
    columns = grouped.buckets.columns(grouped.buckets.beyond(CHOSEN), len(CHOSEN), 1)
    batch = BucketedBatch(inputs, targets, columns=columns, buckets=buckets[mixed])
    found = values_on(grouped, mixed, batch=batch)
    assert_equal_values(found, values_on(PLAIN[name]), order)
    # In an epoch: every batch has the same examples as without groups, and long ones anywhere.
    source = grouped.examples_of(point(seed=3, dropout=0.0, word_dropout=0.0))
    epochs = [
        np.asarray(one.epoch(one.data, source, (), Model((), ()), KEY, jnp.asarray(0))[1].positions)
        for one in (BUCKETED[name], grouped)
    ]
    np.testing.assert_array_equal(*(np.sort(rows, axis=1) for rows in epochs))
    of_batch = [np.asarray(buckets[source.train[row]]) for row in epochs[1]]
    assert any((np.diff(row) < 0).any() for row in of_batch)
    row = Positions(jnp.asarray(epochs[1][0]))
    np.testing.assert_array_equal(grouped.batch(grouped.data, source, row, None, "train").buckets, of_batch[0])


def test_a_model_with_a_state_is_refused():
    fields = {field.name: getattr(NORMALIZED, field.name) for field in dataclasses.fields(Supervised)}
    with pytest.raises(ValueError, match="need a model without a state; remove batch normalization"):
        Bucketed(**fields, buckets=Buckets.of(np.ones(len(NORMALIZED.dataset), int), (1,)))


# Training -------------------------------------------------------------------------------------------------------------

GRID = [point(rho=rho, seed=seed, learning_rate=0.5) for rho in (0.05, 0.5) for seed in (0, 1, 2)]
BATCHED, ALONE = Plan(len(GRID), "scan", "cpu"), Plan(1, "scan", "cpu")
TASK = BUCKETED["averaged"]


@pytest.fixture(scope="module")
def together_trained():
    return train(program_of(TASK, "sam", BATCHED), GRID)


def assert_close(one, other, rows=slice(None)):
    for mine, theirs in zip(leaves(one), leaves(other), strict=True):
        np.testing.assert_allclose(mine[rows], theirs, rtol=0, atol=1e-5)
    for name, values in other.history.items():
        np.testing.assert_allclose(one.history[name][rows], values, rtol=1e-4, atol=1e-5, err_msg=name)
    for name, values in other.final.items():
        np.testing.assert_allclose(one.final[name][rows], values, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.slow
def test_seeds_and_radii_train_in_one_program_as_one_by_one(together_trained):
    program = program_of(TASK, "sam", ALONE)
    for position, one in enumerate(GRID):
        assert_close(together_trained, train(program, [one]), slice(position, position + 1))
    assert np.isfinite(together_trained.history["valid_loss"]).all()
    radii = [leaf.reshape(2, 3, -1) for leaf in leaves(together_trained)]
    assert all(np.abs(leaf[0] - leaf[1]).max() > 1e-3 for leaf in radii)


@pytest.mark.slow
def test_scanned_and_dispatched_epochs_agree(together_trained):
    assert_close(train(program_of(TASK, "sam", replace(BATCHED, loop="step")), GRID), together_trained)


@pytest.mark.slow
def test_totals_of_evaluations_equal_a_loop_over_the_examples(together_trained):
    """Official test set and validation set, or drawn ones; blocks are filled up."""
    for fixed in ({}, {"fixed_test": 21, "fixed_valid": 15}):
        problem = replace(TASK, dataset=replace(TASK.dataset, **fixed))
        one = GRID[4]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(bucketed, "EVALUATION_BLOCK", 8)
            done = train(Program(problem, sam.METHODS["sam"].with_radius, ALONE), [one])
        words, last = (leaf[0].astype(float) for leaf in leaves(done))
        examples = problem.examples_of(one)
        for part in ("train", "valid", "test"):
            losses, right = [], []
            for at in np.asarray(getattr(examples, part)):
                sentence = problem.dataset.inputs[at]
                own = words[sentence[sentence > 0]]
                logits = (own.mean(0) if len(own) else np.zeros(4)) ** 3 @ last
                label = problem.dataset.targets[at]
                losses.append(np.log(np.exp(logits).sum()) - logits[label])
                right.append(logits.argmax() == label)
            found = done.final if part == "train" else {name: v[:, -1] for name, v in done.history.items()}
            assert found[f"{part}_loss"][0] == pytest.approx(np.mean(losses), rel=1e-5)
            assert found[f"{part}_accuracy"][0] == pytest.approx(np.mean(right), abs=1e-6)
            assert len(losses) == getattr(SIZES, part)


def test_nothing_is_compiled_after_the_first_epoch_nor_for_other_radii_and_seeds(together_trained, caplog):
    del together_trained
    program = program_of(TASK, "sam", BATCHED)
    with jax.log_compiles():
        train(program, [one.moved(rho=0.1) for one in GRID])
    assert not [record for record in caplog.records if record.message.startswith("Compiling")]
    assert program.loop._epoch._cache_size() == 1
    with jax.log_compiles():  # what the log says where something is
        jax.jit(lambda x: x + 17)(1.0)
    assert [record for record in caplog.records if record.message.startswith("Compiling")]


class Interrupted(Exception):
    pass


@pytest.mark.slow
def test_training_continued_from_a_checkpoint_is_bit_for_bit_the_uninterrupted_one(together_trained, tmp_path):
    program = program_of(TASK, "sam", BATCHED)
    kept = {"checkpoints": Checkpoints(tmp_path / "c"), "checkpoint_seconds": 0.0}

    def stop(report):
        if report.epoch == 2:
            raise Interrupted

    with pytest.raises(Interrupted):
        train(program, GRID, on_epoch=stop, **kept)
    resumed = []
    continued = train(program, GRID, on_epoch=lambda report: resumed.append(report.resumed), **kept)
    assert resumed == [True, False, False]
    for one, other in zip(leaves(continued), leaves(together_trained), strict=True):
        np.testing.assert_array_equal(one, other)
    jax.tree.map(np.testing.assert_array_equal, continued.history, together_trained.history)
    jax.tree.map(np.testing.assert_array_equal, continued.final, together_trained.final)


def first_step(problem, method, plan=ALONE, seed=2):
    """Parameters of a network after one step from those at the beginning, without an evaluation."""
    program = Program(problem, method, replace(plan, loop="step"))
    one = point(rho=0.3, seed=seed, dropout=0.0, word_dropout=0.0)
    with program.computing():
        state, source, hyperparameters = program.start([one])
        _, index = program.loop._begin(state, source, hyperparameters, program.data, 0)
        row = jax.tree.map(lambda leaf: leaf[:, 0], index)
        return program.loop._steps[0](state, source, hyperparameters, row, 0, program.data)


@pytest.mark.slow
@together("case", [{"m": 4}, {"microbatch": 4}, {"esam": 0.99}])
def test_groups_parts_and_choices_of_a_batch_are_those_without_buckets(case):
    """The examples of a batch in other orders and numbers: always whole. One bucket of the full length cuts none."""
    batches = with_buckets(PLAIN["averaged"], (2, 4, 6, LONGEST))
    fields = {field.name: getattr(batches, field.name) for field in dataclasses.fields(batches)}
    whole = Bucketed(**(fields | {"cut": lambda inputs, length: inputs}))
    plan = replace(ALONE, microbatch=case.get("microbatch"))

    def method(rho):
        return sam.ESAM(rho, beta=1.0, gamma=case["esam"]) if "esam" in case else sam.SAM(rho, m=case.get("m"))

    (one, found), (other, expected) = (first_step(problem, method, plan) for problem in (batches, whole))
    for mine, theirs in zip(leaves(one), leaves(other), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-6)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_sam_at_radius_zero_has_the_gradient_of_the_base_optimizer_bit_for_bit(name):
    """With dropout; and so all that an optimizer makes of it."""
    problem = BUCKETED[name]

    def loss(params, batch, keys):
        source = Examples(NOBODY, NOBODY, NOBODY, NOBODY, {name: jnp.float32(0.3) for name in problem.given})
        totals, _ = problem.losses(Model(params, []), source, batch, keys, training=True)
        return problem.minimized(totals, source), totals

    def found(method):
        gradient = jax.jit(lambda params, *rest: method.value_and_grad(loss, True)(params, (), *rest)[:2])
        return jax.device_get(gradient(params, batch_of(problem, CHOSEN), keys))

    with computing_in("float32"):
        params = eqx.filter(anywhere(problem.build), eqx.is_array)
        keys = jax.random.split(jax.random.key(3), len(CHOSEN))
        jax.tree.map(np.testing.assert_array_equal, found(sam.SAM(0.0)), found(sam.METHODS["sgd"].with_radius(0.0)))
