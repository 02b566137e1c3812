"""One of several hosts that train the same networks, in a process of its own: what it found goes into a folder.

``python -m training.several_hosts FOLDER IMAGES INDEX COUNT PORT``. With a COUNT of 1 it trains alone. It computes in
double precision, and without optimizations, since compilation is most of the time.
"""

import os
import sys
from pathlib import Path

from compiling import xla_flags

os.environ["XLA_FLAGS"] = xla_flags(1)

from dataclasses import replace

import equinox as eqx
import jax
import numpy as np
from jax.experimental import multihost_utils
from training.tasks import DIGITS, FEW, NORMALIZED, point
from training.test_streamed import task_of

from widebasin import sam
from widebasin.models import MLP, BatchNormalization
from widebasin.training import Checkpoints, Plan, Program, Recipe, streamed, train
from widebasin.training.hosts import join

RECIPE = Recipe(epochs=3, batch_size=20, learning_rate=0.1, precision="float64")
DENSE = replace(DIGITS, recipe=RECIPE, sizes=FEW)
WIDE = replace(DENSE, build=lambda key: MLP((64, 128, 128, 10), key=key))


class NormalizedPixels(eqx.Module):
    """Pixels, normalized over the batch, and a linear map."""

    normalization: BatchNormalization
    last: eqx.nn.Linear

    def __init__(self, key):
        self.normalization = BatchNormalization(3)
        self.last = eqx.nn.Linear(8 * 8 * 3, 2, key=key)

    def __call__(self, x, state):
        x, state = self.normalization(x, state)
        return self.last(x.ravel()), state


def runs(images):
    """Name -> (problem, method, network, loop, whether the state is sharded)."""
    pictures = task_of(images)
    pictures = replace(pictures, build=NormalizedPixels, recipe=replace(pictures.recipe, precision="float64"))
    ours = point(rho=0.1, seed=1, label_noise=0.2)
    pruned = point(rho=0.1, seed=2, sparsity=0.5, pruner="snip", learning_rate=0.02)
    return {
        # Of a batch of 20, a group of 10 is on two of four hosts.
        "normalized, m = 10": (
            replace(NORMALIZED, recipe=RECIPE, sizes=FEW),
            lambda rho: sam.SAM(rho, m=10),
            ours,
            "scan",
            False,
        ),
        "images, m = 2": (pictures, lambda rho: sam.SAM(rho, m=2), point(rho=0.1, learning_rate=0.02), "step", False),
        "images, pruned": (pictures, sam.SAM, pruned, "step", False),
        "sharded": (WIDE, sam.SAM, ours, "scan", True),
    }


class Watched(streamed.ImageReader):
    """Remembers the images that it reads."""

    read: list = []  # noqa: RUF012

    def batches(self, indices, seeds=None):
        Watched.read.append(np.array(indices).ravel())
        return super().batches(indices, seeds)


def whole(tree):
    """Arrays as they are on all hosts together."""
    tree = multihost_utils.process_allgather(tree, tiled=True) if jax.process_count() > 1 else tree
    return jax.tree.map(np.asarray, tree)


def share_of(state):
    """The share of the bytes of a state that this host holds."""
    leaves = [leaf for leaf in jax.tree.leaves((state.params, state.optimizer)) if isinstance(leaf, jax.Array)]
    here = sum(leaf.addressable_shards[0].data.nbytes for leaf in leaves)
    return here / sum(leaf.nbytes for leaf in leaves)


class Stop(Exception):
    """Ends a training."""


def continued(program, network, folder):
    """Whether a training that was stopped after two epochs, and continued, ends as one that was not, bit for bit."""
    uninterrupted = train(program, [network])
    resumed = []

    def stop(report):
        if report.epoch == 2:
            raise Stop

    for on_epoch in (stop, lambda report: resumed.append(report.resumed)):
        checkpoints = Checkpoints(folder, together=True)
        try:
            found = train(program, [network], checkpoints=checkpoints, checkpoint_seconds=0.0, on_epoch=on_epoch)
        except Stop:
            checkpoints.close()
    checkpoints.remove()
    pairs = (
        (found.history, uninterrupted.history),
        (whole(found.params), whole(uninterrupted.params)),
        (found.final, uninterrupted.final),
    )
    for one, other in pairs:
        jax.tree.map(np.testing.assert_array_equal, one, other)
    return resumed


def main(folder, images, index, count, port):
    """Writes ``RUN.npz`` (host 0), and ``host-INDEX.npz`` with what this one alone did."""
    folder, index, count = Path(folder), int(index), int(count)
    if count > 1:
        join(index, count, f"127.0.0.1:{port}")
    jax.config.update("jax_enable_x64", True)
    streamed.ImageReader = Watched
    alone = {}
    for name, (problem, method, network, loop, sharded) in runs(Path(images)).items():
        program = Program(problem, method, Plan(1, loop, "cpu", hosts=count, sharded=sharded and count > 1))
        state, source, hyperparameters = program.start([network])
        Watched.read.clear()  # of what was read for pruning
        state, metrics = program.epoch(state, source, hyperparameters, last=True)
        if problem.from_disk:
            alone[name] = np.concatenate(Watched.read)
        if sharded:
            alone["share"] = share_of(state)
        if sharded or "pruned" in name:
            alone[f"resumed: {name}"] = continued(program, network, folder / "checkpoints" / name.replace(", ", "-"))
        leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(whole((state.params, state.model)))]
        if index == 0:
            np.savez(folder / f"{name}.npz", **metrics, **{f"leaf {i}": leaf for i, leaf in enumerate(leaves)})
    np.savez(folder / f"host-{index}.npz", **alone)


if __name__ == "__main__":
    main(*sys.argv[1:])
