"""What the seeds of networks decide before the first step: initial parameters, split, noisy labels."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, PyTree

from widebasin.data import corrupt_labels, epoch_batches, key_for, split_examples
from widebasin.training.task import Point, Task

# The purpose of the key for the initial parameters.
INITIALIZATION = "initialization"


class Examples(NamedTuple):
    """Which examples a replicate trains, validates and tests on, and its (noisy) training targets."""

    train: Int[Array, "..."]
    train_targets: Array
    valid: Int[Array, "..."]
    test: Int[Array, "..."]


def initializer_of(task: Task) -> Any:
    """Keys -> parameters, states of the model and of the optimizer; compiled anew, so keep it with the task."""

    def initialize(key: Key[Array, ""]) -> tuple[PyTree, PyTree, PyTree]:
        params, model = task.network.initialize(key_for(key, INITIALIZATION))
        return params, model, task.recipe.optimizer(task.steps_per_epoch, 0.0, 0.0).init(params)

    return jax.jit(jax.vmap(initialize))


def initialized(task: Task, keys: Key[Array, " n"]) -> tuple[PyTree, PyTree, PyTree]:
    """Parameters, states of the model and of the optimizer; compiled once for all methods that share the task."""
    # Not a program of this module with the task as a static argument: that would be kept as long as the process lives.
    if "initializer" not in task.__dict__:
        task.__dict__["initializer"] = initializer_of(task)
    return task.__dict__["initializer"](keys)


def initialization_key(seed: int) -> Key[Array, ""]:
    """What decides the initial parameters of networks of a seed."""
    return key_for(jax.random.key(seed), INITIALIZATION)


def examples_of(task: Task, replicates: Sequence[Point]) -> Examples:
    """Which examples each replicate trains, validates and tests on, and the (noisy) targets that it trains on."""
    noisy = sorted({(r.seed, r.label_noise) for r in replicates})
    dataset = task.dataset
    examples = _examples(
        keys_of([seed for seed, _ in noisy]),
        jnp.array([rate for _, rate in noisy], jnp.float32),
        jnp.asarray(dataset.targets),
        task.sizes,
        dataset.fixed_test,
        dataset.shuffled,
        dataset.num_classes,
        task.label_noise_kind,
    )
    return rows_of(examples, [noisy.index((r.seed, r.label_noise)) for r in replicates])


@eqx.filter_jit
def _examples(
    keys: Key[Array, " n"],
    rates: Float[Array, " n"],
    targets: Array,
    sizes: Any,
    fixed_test: int,
    shuffled: bool,
    num_classes: int | None,
    noise_kind: str,
) -> Examples:
    def prepare(key: Key[Array, ""], rate: Float[Array, ""]) -> Examples:
        split = split_examples(key_for(key, "split"), targets.shape[0], sizes, fixed_test, shuffled)
        labels = targets[split.train]
        if num_classes is not None:
            labels = corrupt_labels(key_for(key, "label noise"), labels, num_classes, rate, noise_kind)
        return Examples(split.train, labels, split.valid, split.test)

    return jax.vmap(prepare)(keys, rates)


def batches_of(task: Task, key: Key[Array, ""], epoch: int | Int[Array, ""]) -> Int[Array, "steps batch_size"]:
    """The batches of an epoch, as positions among the training examples; ``key`` is that of ``TrainingState``."""
    return epoch_batches(key_for(key, "batch order"), epoch, task.sizes.train, task.recipe.batch_size)


def keys_of(seeds: Sequence[int]) -> Key[Array, " n"]:
    """The keys of seeds."""
    return jax.vmap(jax.random.key)(jnp.array(seeds, jnp.uint32))


def rows_of(tree: PyTree, positions: Sequence[int]) -> PyTree:
    """Rows of every leaf. Through the host: gathering on the device would compile once per shape."""

    def rows(leaf: Array) -> Array:
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(jax.device_put(np.asarray(jax.random.key_data(leaf))[positions]))
        # ``jnp.asarray`` would compile, and keep, a program per shape.
        return jax.device_put(np.asarray(leaf)[positions])

    return jax.tree.map(rows, tree)
