"""Training on image files: what the program computes, against a loop by hand on the images decoded one by one."""

import shutil
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from data.image_folders import write_folders
from training.tasks import leaves, replicate

from widebasin import sam
from widebasin.data import DataError, Dataset, Normalization, SplitSizes, epoch_batches, key_for, list_image_files
from widebasin.data.decoding import decode_batch
from widebasin.models import MLP
from widebasin.training import CLASSIFICATION, Checkpoints, Plan, Recipe, Task, train
from widebasin.training.program import Program
from widebasin.training.streamed import StreamedProgram, program_for

SIZE = 8
HERE, TWO_WORKERS = Plan(1, "step", "cpu"), Plan(1, "step", "cpu", workers=2)
NORMALIZATION = Normalization((0.5, 0.4, 0.3), (0.2, 0.25, 0.3))


def small_mlp(key):
    return MLP((SIZE * SIZE * 3, 4, 2), key=key)


def task_of(root):
    """14 training images, of which 3 fill no batch of 11; 4 to validate on and 6 to test on, uneven blocks of 11."""
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
    return Task(
        build=small_mlp,
        dataset=dataset,
        sizes=SplitSizes(train=14, valid=4, test=6),
        objective=CLASSIFICATION,
        recipe=Recipe(epochs=3, batch_size=4, learning_rate=0.02),
    )


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return task_of(write_folders(tmp_path_factory.mktemp("images"), train=9, val=3))


@pytest.fixture(scope="module")
def program(task):
    return StreamedProgram(task, sam.METHODS["sam"].with_radius, HERE)


def images(task, numbers, seeds=None):
    """Decoded one by one, as the network sees them."""
    paths = [task.dataset.files.absolute(int(number)) for number in numbers]
    decoded = [decode_batch([p], None if seeds is None else [int(seeds[i])], SIZE)[0] for i, p in enumerate(paths)]
    mean, deviation = np.float32(NORMALIZATION.mean), np.float32(NORMALIZATION.deviation)
    return (np.stack(decoded) / np.float32(255) - mean) / deviation


def loss(model, x, y):
    return optax.softmax_cross_entropy_with_integer_labels(jax.vmap(model)(x), y).mean()


def by_hand(task, seed, rho, epochs):
    """SAM with momentum and the training losses, from keys and files alone."""
    state = jax.random.key(seed)
    model = small_mlp(key_for(state, "initialization"))
    split = np.asarray(Program.start(StreamedProgram(task, sam.METHODS["sam"].with_radius, HERE), [replicate(seed=seed)])[1].train[0])
    training = key_for(state, "training")
    velocity, losses = jax.tree.map(jnp.zeros_like, model), []
    for epoch in range(epochs):
        seeds = jax.random.bits(jax.random.fold_in(key_for(training, "augmentation"), epoch), (14,), jnp.uint32)
        for batch in np.asarray(epoch_batches(key_for(training, "batch order"), epoch, 14, 4)):
            x, y = images(task, split[batch], np.asarray(seeds)[batch]), task.dataset.targets[split[batch]]
            value, gradient = jax.value_and_grad(loss)(model, x, y)
            losses.append(float(value))
            norm = optax.tree.norm(gradient)
            there = jax.tree.map(lambda w, g, norm=norm: w + rho * g / norm, model, gradient)
            velocity = jax.tree.map(lambda v, g: 0.9 * v + g, velocity, jax.grad(loss)(there, x, y))
            model = jax.tree.map(lambda w, v: w - 0.02 * v, model, velocity)
    return model, np.reshape(losses, (epochs, -1)).mean(1)
