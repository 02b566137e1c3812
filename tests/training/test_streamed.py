"""Training on image files: what the program computes, against a loop by hand on the images decoded one by one."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from data.image_folders import write_folders
from training.tasks import leaves, point, program_of

from widebasin import sam
from widebasin.data import DataError, Dataset, Normalization, SplitSizes, epoch_batches, key_for, list_image_files
from widebasin.data.decoding import decode_batch
from widebasin.models import MLP
from widebasin.training import (
    CLASSIFICATION,
    Checkpoints,
    Plan,
    Program,
    Recipe,
    Streamed,
    choose_plan,
    streamed,
    train,
)
from widebasin.training.problem import Share
from widebasin.training.streamed import Images, _shared
from widebasin.training.supervised import Positions

SIZE = 8
# Images are decoded by this process, or by two others.
HERE, TWO_WORKERS = Plan(1, "step", "cpu"), Plan(1, "step", "cpu", workers=2)
NORMALIZATION = Normalization((0.5, 0.4, 0.3), (0.2, 0.25, 0.3))


def small_mlp(key):
    return MLP((SIZE * SIZE * 3, 4, 2), key=key)


def task_of(root):
    """14 images to train on, of which 2 fill no batch; 4 to validate on; 6 to test on, blocks of 3 and of 4."""
    files = list_image_files(root)
    dataset = Dataset(
        "pictures",
        np.arange(len(files), dtype=np.int32),
        files.labels,
        num_classes=2,
        fixed_test=files.num_val,
        normalization=NORMALIZATION,
        files=files,
        image_size=SIZE,
    )
    return Streamed(
        build=small_mlp,
        dataset=dataset,
        sizes=SplitSizes(train=14, valid=4, test=6),
        objective=CLASSIFICATION,
        recipe=Recipe(epochs=3, batch_size=4, learning_rate=0.02, schedule="constant"),
    )


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return task_of(write_folders(tmp_path_factory.mktemp("images"), train=9, val=3))


@pytest.fixture(scope="module")
def program(task):
    return program_of(task, "sam", HERE)


def images(task, numbers, seeds=None):
    """Decoded one by one, as the network sees them."""
    paths = [task.dataset.files.absolute(int(number)) for number in numbers]
    decoded = [decode_batch([p], None if seeds is None else [int(seeds[i])], SIZE)[0] for i, p in enumerate(paths)]
    mean, deviation = np.float32(NORMALIZATION.mean), np.float32(NORMALIZATION.deviation)
    return (np.stack(decoded) / np.float32(255) - mean) / deviation


def loss(model, x, y):
    return optax.softmax_cross_entropy_with_integer_labels(jax.vmap(model)(x), y).mean()


value_and_gradient = jax.jit(jax.value_and_grad(loss))


def positions_of(program, seed):
    """Which images a network of a seed trains, validates and tests on."""
    _, examples, _ = program.start([point(seed=seed)])
    return [np.asarray(part[0]) for part in (examples.train, examples.valid, examples.test)]


def run(program, one, epochs=2):
    """State and metrics of every epoch."""
    state, examples, hyperparameters = program.start([one])
    metrics = []
    for epoch in range(epochs):
        state, found = program.epoch(state, examples, hyperparameters, last=epoch == epochs - 1)
        metrics.append(found)
    return state, metrics


@pytest.mark.slow
def test_epochs_equal_a_loop_by_hand_on_images_decoded_one_by_one(task, program):
    seed, rho, rate = 3, 0.2, 0.02
    key = key_for(jax.random.key(seed), "training")
    train_images, *others = positions_of(program, seed)
    model = small_mlp(key_for(jax.random.key(seed), "initialization"))
    velocity, losses = jax.tree.map(jnp.zeros_like, model), []
    for epoch in range(2):
        seeds = jax.random.bits(jax.random.fold_in(key_for(key, "augmentation"), epoch), (14,), jnp.uint32)
        for batch in np.asarray(epoch_batches(key_for(key, "batch order"), epoch, 14, 4)):
            numbers = train_images[batch]
            x, y = images(task, numbers, np.asarray(seeds)[batch]), task.dataset.targets[numbers]
            value, gradient = value_and_gradient(model, x, y)
            losses.append(float(value))
            norm = optax.tree.norm(gradient)
            there = jax.tree.map(lambda w, g, norm=norm: w + rho * g / norm, model, gradient)
            _, gradient = value_and_gradient(there, x, y)
            velocity = jax.tree.map(lambda v, g, w: 0.9 * v + g + 1e-4 * w, velocity, gradient, model)
            model = jax.tree.map(lambda w, v: w - rate * v, model, velocity)
    state, metrics = run(program, point(rho=rho, seed=seed, learning_rate=rate))
    for ours, expected in zip(leaves(state), jax.tree.leaves(model), strict=True):
        np.testing.assert_allclose(ours[0], expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose([m["train_loss"][0] for m in metrics], np.reshape(losses, (2, 3)).mean(1), rtol=1e-4)
    # Every example counts once, also where blocks are uneven: 14 and 6 examples in blocks of at most 4.
    for part, numbers in zip(("final_train", "valid", "test"), (train_images, *others), strict=True):
        x, y = images(task, numbers), task.dataset.targets[numbers]
        np.testing.assert_allclose(metrics[-1][f"{part}_loss"][0], loss(model, x, y), rtol=1e-4)
        right = np.mean(np.asarray(jax.vmap(model)(x)).argmax(1) == y)
        assert metrics[-1][f"{part}_accuracy"][0] == pytest.approx(right, abs=1e-6)
    assert np.isnan(metrics[0]["final_train_loss"]).all()


@pytest.fixture
def seen(monkeypatch):
    """The images that are read, batch by batch."""
    found = []

    class Watched(streamed.ImageReader):
        def batches(self, indices, seeds=None):
            for batch in super().batches(indices, seeds):
                found.append(batch)
                yield batch

    monkeypatch.setattr(streamed, "ImageReader", Watched)
    return found


@pytest.mark.slow
def test_methods_and_numbers_of_workers_see_the_same_images_and_end_alike(task, seen):
    runs = []
    for method, plan in (("sam", HERE), ("sgd", HERE), ("sam", TWO_WORKERS)):
        seen.clear()
        state, metrics = run(program_of(task, method, plan), point(rho=0.1 if method == "sam" else 0.0))
        runs.append((list(seen), leaves(state), metrics))
    (here, ours, metrics), (sgd, _, _), (workers, theirs, other_metrics) = runs
    # 3 steps, 1 + 2 blocks to validate and test, and in the last epoch 4 of the training set.
    assert len(here) == 2 * 6 + 4
    for one, by_sgd, by_workers in zip(here, sgd, workers, strict=True):
        np.testing.assert_array_equal(one, by_sgd)
        np.testing.assert_array_equal(one, by_workers)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other)
    jax.tree.map(np.testing.assert_array_equal, metrics, other_metrics)
    # Crops and flips are drawn anew in every epoch.
    assert not np.array_equal(np.sort(here[:3], axis=None), np.sort(here[6:9], axis=None))


@pytest.mark.slow
def test_training_continued_from_a_checkpoint_is_bit_for_bit_the_uninterrupted_one(program, tmp_path):
    class Interrupted(Exception):
        pass

    def stop(report):
        if report.epoch == 2 and not report.resumed:
            raise Interrupted

    group = [point(rho=0.1, seed=1)]
    whole = train(program, group)
    kept = {"checkpoints": Checkpoints(tmp_path / "c"), "checkpoint_seconds": 0.0}
    with pytest.raises(Interrupted):
        train(program, group, on_epoch=stop, **kept)
    resumed = []
    continued = train(program, group, on_epoch=lambda report: resumed.append(report.resumed), **kept)
    assert resumed == [True, False, False]
    jax.tree.map(np.testing.assert_array_equal, continued.params, whole.params)
    jax.tree.map(np.testing.assert_array_equal, continued.history, whole.history)
    jax.tree.map(np.testing.assert_array_equal, continued.final, whole.final)


@pytest.mark.slow
@pytest.mark.parametrize("plan", [HERE, TWO_WORKERS], ids=["here", "workers"])
def test_a_damaged_image_is_an_error_that_names_it(task, plan, tmp_path):
    root = tmp_path / "images"
    shutil.copytree(task.dataset.files.root, root)
    damaged = root / "val" / "dog" / "val1.JPEG"
    damaged.write_bytes(damaged.read_bytes()[:300])
    program = Program(task_of(root), sam.METHODS["sgd"].with_radius, plan)
    with pytest.raises(DataError, match=r"val/dog/val1\.JPEG: not an image, or damaged"):
        run(program, point(), epochs=1)


@pytest.mark.slow
def test_snip_scores_the_first_batch_as_evaluation_sees_it(task, program):
    """Half of the kernels' entries, those with the least ``|w dL/dw|``, are 0 and stay so."""
    one = point(seed=5, sparsity=0.5, pruner="snip")
    state, examples, hyperparameters = program.start([one])
    model = small_mlp(key_for(jax.random.key(5), "initialization"))
    order = key_for(key_for(jax.random.key(5), "training"), "batch order")
    numbers = np.asarray(examples.train[0])[np.asarray(epoch_batches(order, 0, 14, 4))[0]]
    _, gradient = value_and_gradient(model, images(task, numbers), task.dataset.targets[numbers])
    scores = np.concatenate([np.ravel(np.abs(w * g)) for w, g in zip(model.weights, gradient.weights, strict=True)])
    kept = np.concatenate([np.ravel(mask[0]) for mask in hyperparameters.mask.weights])
    assert kept.sum() == kept.size // 2
    # Scores that differ by rounding alone may change places.
    assert scores[kept == 0].max() <= scores[kept == 1].min() * (1 + 1e-4)
    state, _ = program.epoch(state, examples, hyperparameters, last=False)
    trained = np.concatenate([np.ravel(w[0]) for w in state.params.weights])
    np.testing.assert_array_equal(trained[kept == 0], 0)
    assert np.abs(trained[kept == 1]).min() > 0


def test_streamed_images_train_one_network_at_a_time_step_by_step(task):
    for plan in (Plan(2, "step", "cpu"), Plan(1, "scan", "cpu")):
        with pytest.raises(ValueError, match="one network at a time, step by step"):
            program_of(task, "sgd", plan)


def test_the_plan_of_streamed_images_decodes_beside_the_training(task):
    plan = choose_plan(task, 6)
    assert (plan.networks_at_once, plan.loop) == (1, "step")
    assert plan.workers >= 1


@pytest.mark.slow
def test_a_batch_of_streamed_images_is_split_over_devices(task, program):
    """As on one device; the batch of 4 is 2 images on each."""
    one = point(rho=0.1, seed=2)
    split = program_of(task, "sam", Plan(1, "step", "cpu", devices=2))
    (state, metrics), (alone, alone_metrics) = run(split, one, epochs=1), run(program, one, epochs=1)
    for ours, expected in zip(leaves(state), leaves(alone), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-6)
    for name, values in alone_metrics[0].items():
        np.testing.assert_allclose(metrics[0][name], values, rtol=1e-5)


def test_hosts_read_every_example_of_a_batch_once_and_what_fills_a_block_does_not_count():
    """10 examples on two hosts of 5 devices: 5 each. On two hosts of 2 devices: 6 each, of which two do not count."""
    positions = np.arange(100, 110).reshape(1, 1, 10)
    batches = Images(Positions(positions), positions.astype(np.uint32) * 7)
    hosts = [_shared(batches, Share(host, 2, 5)) for host in range(2)]
    for whole, *parts in zip(*map(jax.tree.leaves, (batches, *hosts)), strict=True):
        np.testing.assert_array_equal(np.concatenate(parts, axis=-1), whole)

    blocks = Images(Positions(positions, np.ones((1, 1, 10), bool)))
    hosts = [_shared(blocks, Share(host, 2, 2)).chosen for host in range(2)]
    assert [host.positions.shape for host in hosts] == [(1, 1, 6)] * 2
    read = np.concatenate([host.positions[host.counted] for host in hosts])
    np.testing.assert_array_equal(read, positions.ravel())


def test_several_networks_at_once_are_refused(task):
    with pytest.raises(ValueError, match="cannot be used for images from disk, which need one network at a time"):
        program_of(task, "sam", Plan(2, "scan", "cpu"))
