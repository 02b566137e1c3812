"""The compiled programs: initialization, one epoch of training, evaluation, for many replicates at once."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key, PyTree

from widebasin.data import corrupt_labels, epoch_batches, key_for, split_examples
from widebasin.sam import Method
from widebasin.training.plan import Plan
from widebasin.training.task import Replicate, Task

# Examples in one block of an evaluation: bounds the memory that activations take.
EVALUATION_BLOCK = 2_000

Metrics = dict[str, Array]


class TrainingState(NamedTuple):
    """All that changes while a network trains. Every leaf has a leading axis over replicates.

    Attributes:
        params: the model's floating-point arrays.
        optimizer: state of the optax optimizer, with its step count.
        method: state of the method of the SAM family.
        key: decides the order of the data in every epoch to come, and the method's own randomness.
        epoch: epochs completed.
    """

    params: PyTree
    optimizer: PyTree
    method: PyTree
    key: Key[Array, "..."]
    epoch: Int[Array, "..."]


class Hyperparameters(NamedTuple):
    """What differs between replicates besides the seed; leading axis over replicates."""

    rho: Float[Array, "..."]
    learning_rate: Float[Array, "..."]
    weight_decay: Float[Array, "..."]


class Examples(NamedTuple):
    """Which examples a replicate trains, validates and tests on, and its (noisy) training targets."""

    train: Int[Array, "..."]
    train_targets: Array
    valid: Int[Array, "..."]
    test: Int[Array, "..."]


class Program:
    """Trains groups of replicates of one task with one method under one plan; compiles once per group size.

    Args:
        task: what is trained.
        method: radius -> method.
        plan: how.
    """

    def __init__(self, task: Task, method: Callable[[Any], Method], plan: Plan) -> None:
        self.task, self.method, self.plan = task, method, plan
        self.inputs = jnp.asarray(task.dataset.inputs)
        self.targets = jnp.asarray(task.dataset.targets)
        abstract = eqx.filter_eval_shape(task.build, jax.random.key(0))
        self.static = eqx.filter(abstract, lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct), inverse=True)
        self._epoch = jax.jit(self._lift(self._epoch_one, shared=4), donate_argnums=0)
        # Two programs where steps are of two kinds: within a branch, XLA runs convolutions slowly on a CPU.
        self._steps = {
            kind: jax.jit(self._lift(functools.partial(self._step_one, kind=kind), shared=2), donate_argnums=0)
            for kind in (0, 1)
        }
        self._batches = jax.jit(self._lift(self._batches_one))
        self._evaluate = jax.jit(self._lift(self._evaluate_one, shared=1))

    def start(self, replicates: Sequence[Replicate]) -> tuple[TrainingState, Examples, Hyperparameters]:
        """State, data and hyperparameters of replicates before the first step.

        What a seed decides is computed once per seed and shared by all replicates of that seed.
        """
        seeds = sorted({r.seed for r in replicates})
        keys = _keys(seeds)
        params, optimizer_states = _initialized(self.task, keys)
        states = TrainingState(
            params=params,
            optimizer=optimizer_states,
            method=jax.vmap(self.method(0.0).init)(params),
            key=jax.vmap(key_for, in_axes=(0, None))(keys, "training"),
            epoch=jnp.zeros(len(seeds), jnp.int32),
        )
        hyperparameters = Hyperparameters(
            *(jnp.array([getattr(r, name) for r in replicates], jnp.float32) for name in Hyperparameters._fields)
        )
        return (
            _take(states, [seeds.index(r.seed) for r in replicates]),
            examples_of(self.task, replicates),
            hyperparameters,
        )

    def epoch(
        self, state: TrainingState, examples: Examples, hyperparameters: Hyperparameters, last: bool
    ) -> tuple[TrainingState, dict[str, np.ndarray]]:
        """One epoch for every replicate.

        Args:
            state: donated: not usable afterwards.
            examples: from ``start``.
            hyperparameters: from ``start``.
            last: whether to evaluate on the whole training set too.

        Returns:
            The new state and metrics of shape ``(replicates,)``: ``train_loss``, ``train_accuracy`` ... averaged over
            the epoch's clean passes; ``gradient_norm``, the mean norm of the gradient applied; ``valid_*`` and
            ``test_*`` at the epoch's end; ``final_train_*`` over the whole training set at the epoch's end (NaN
            unless ``last``).
        """
        # All replicates are at the same step.
        first = int(np.asarray(state.epoch)[0]) * self.task.steps_per_epoch
        if self.plan.loop == "scan":
            state, metrics = self._epoch(
                state, examples, hyperparameters, self.inputs, self.targets, jnp.asarray(last), jnp.asarray(first)
            )
        else:
            state, metrics = self._dispatch_epoch(state, examples, hyperparameters, last, first)
        return state, {name: np.asarray(value) for name, value in metrics.items()}

    def _dispatch_epoch(
        self, state: TrainingState, examples: Examples, hyperparameters: Hyperparameters, last: bool, first: int
    ) -> tuple[TrainingState, Metrics]:
        """An epoch step by step from the host."""
        batches = np.asarray(self._batches(state))  # slices of a device array would be dispatched one by one
        period = self.method(0.0).period
        steps = []
        for step in range(self.task.steps_per_epoch):
            run = self._steps[min(1, (first + step) % period)]
            state, means = run(state, examples, hyperparameters, batches[:, step], self.inputs, first + step)
            steps.append(means)
        metrics = jax.tree.map(lambda *values: jnp.stack(values).mean(0), *steps)
        nothing = {name: jnp.full(state.epoch.shape, jnp.nan) for name in self.task.objective.names}
        for prefix, indices, labels in (
            ("valid", examples.valid, self.targets[examples.valid]),
            ("test", examples.test, self.targets[examples.test]),
            ("final_train", examples.train, examples.train_targets),
        ):
            wanted = last or prefix != "final_train"
            values = self._evaluate(state.params, indices, labels, self.inputs) if wanted else nothing
            metrics |= {f"{prefix}_{name}": value for name, value in values.items()}
        return state._replace(epoch=state.epoch + 1), metrics

    # One replicate -------------------------------------------------------------------------------------------------

    def _lift(self, one: Callable[..., Any], shared: int = 0) -> Callable[..., Any]:
        """From one replicate to all along a leading axis; the last ``shared`` arguments have none."""

        def lifted(*arguments: Any) -> Any:
            own = len(arguments) - shared
            if self.plan.replicates_at_once > 1:
                return jax.vmap(one, in_axes=(0,) * own + (None,) * shared)(*arguments)
            squeezed = jax.tree.map(lambda leaf: leaf[0], arguments[:own])
            return jax.tree.map(lambda leaf: leaf[None], one(*squeezed, *arguments[own:]))

        return lifted

    def _batches_one(self, state: TrainingState) -> Int[Array, "steps batch_size"]:
        order = key_for(state.key, "batch order")
        return epoch_batches(order, state.epoch, self.task.sizes.train, self.task.recipe.batch_size)

    def _measure(self, params: PyTree, inputs: Array, targets: Array) -> Metrics:
        """Loss and metrics of every example."""
        outputs = jax.vmap(eqx.combine(params, self.static))(inputs)
        functions = {"loss": self.task.objective.loss, **self.task.objective.metrics}
        return {name: jax.vmap(function)(outputs, targets) for name, function in functions.items()}

    def _step_one(
        self,
        state: TrainingState,
        examples: Examples,
        hyperparameters: Hyperparameters,
        batch: Int[Array, " batch_size"],
        inputs: Array,
        number: Int[Array, ""],
        kind: int | None = None,
    ) -> tuple[TrainingState, Metrics]:
        """Step ``number``; ``kind`` is 0 or 1 where the first of a period or another one is compiled by itself."""

        def loss_fn(params: PyTree, inputs: Array, targets: Array) -> tuple[Array, Metrics]:
            means = {name: values.mean() for name, values in self._measure(params, inputs, targets).items()}
            return means["loss"], means

        def example_losses(params: PyTree, inputs: Array, targets: Array) -> Float[Array, " batch_size"]:
            return self._measure(params, inputs, targets)["loss"]

        method = self.method(hyperparameters.rho)
        optimizer = self.task.recipe.optimizer(
            self.task.steps_per_epoch, hyperparameters.learning_rate, hyperparameters.weight_decay
        )
        (_, means), gradients, method_state = method.value_and_grad(loss_fn, True, example_losses=example_losses)(
            state.params,
            state.method,
            inputs[examples.train[batch]],
            examples.train_targets[batch],
            key=jax.random.fold_in(key_for(state.key, "method"), number),
            # Shared by all replicates, so that a step that takes one gradient stays a branch under vmap.
            step=number if kind is None else kind,
        )
        updates, optimizer_state = optimizer.update(gradients, state.optimizer, state.params)
        metrics = {f"train_{name}": value for name, value in means.items()}
        metrics["gradient_norm"] = optax.tree.norm(gradients)
        params = optax.apply_updates(state.params, updates)
        return state._replace(params=params, optimizer=optimizer_state, method=method_state), metrics

    def _evaluate_one(self, params: PyTree, indices: Int[Array, " examples"], labels: Array, inputs: Array) -> Metrics:
        """Means over the examples at ``indices``, a block at a time."""
        count = indices.shape[0]
        blocks = -(-count // EVALUATION_BLOCK)
        if blocks == 1:
            return {name: values.mean() for name, values in self._measure(params, inputs[indices], labels).items()}
        # Padding repeats the first examples; its weight is 0.
        positions = jnp.arange(-(-count // blocks) * blocks).reshape(blocks, -1)

        def add_block(sums: Metrics, block: Int[Array, " block"]) -> tuple[Metrics, None]:
            kept = block < count
            block = block % count
            values = self._measure(params, inputs[indices[block]], labels[block])
            return {name: sums[name] + jnp.sum(jnp.where(kept, values[name], 0)) for name in sums}, None

        zeros = {name: jnp.zeros(()) for name in self.task.objective.names}
        sums, _ = jax.lax.scan(add_block, zeros, positions)
        return {name: value / count for name, value in sums.items()}

    def _epoch_one(
        self,
        state: TrainingState,
        examples: Examples,
        hyperparameters: Hyperparameters,
        inputs: Array,
        targets: Array,
        last: Array,
        first: Int[Array, ""],
    ) -> tuple[TrainingState, Metrics]:
        def step(state: TrainingState, one: tuple[Array, Array]) -> tuple[TrainingState, Metrics]:
            batch, number = one
            return self._step_one(state, examples, hyperparameters, batch, inputs, number)

        def evaluate(prefix: str, indices: Array, labels: Array) -> Metrics:
            values = self._evaluate_one(state.params, indices, labels, inputs)
            return {f"{prefix}_{name}": value for name, value in values.items()}

        def evaluate_train() -> Metrics:
            return evaluate("final_train", examples.train, examples.train_targets)

        batches = self._batches_one(state)
        state, steps = jax.lax.scan(step, state, (batches, first + jnp.arange(len(batches))))
        state = state._replace(epoch=state.epoch + 1)
        metrics = {name: values.mean() for name, values in steps.items()}
        metrics |= evaluate("valid", examples.valid, targets[examples.valid])
        metrics |= evaluate("test", examples.test, targets[examples.test])
        nothing = jax.tree.map(lambda value: jnp.full(value.shape, jnp.nan), jax.eval_shape(evaluate_train))
        # ``last`` is shared by all replicates, so this stays a branch under vmap and costs nothing before the end.
        metrics |= jax.lax.cond(last, evaluate_train, lambda: nothing)
        return state, metrics


@functools.partial(jax.jit, static_argnums=0)
def _initialized(task: Task, keys: Key[Array, " n"]) -> tuple[PyTree, PyTree]:
    """Parameters and optimizer states; compiled once for all methods that share the task."""

    def initialize(key: Key[Array, ""]) -> tuple[PyTree, PyTree]:
        params = eqx.filter(task.build(key_for(key, "initialization")), eqx.is_inexact_array)
        return params, task.recipe.optimizer(task.steps_per_epoch, 0.0, 0.0).init(params)

    return jax.vmap(initialize)(keys)


def examples_of(task: Task, replicates: Sequence[Replicate]) -> Examples:
    """Which examples each replicate trains, validates and tests on, and the (noisy) targets that it trains on."""
    noisy = sorted({(r.seed, r.label_noise) for r in replicates})
    dataset = task.dataset
    examples = _examples(
        _keys([seed for seed, _ in noisy]),
        jnp.array([rate for _, rate in noisy], jnp.float32),
        jnp.asarray(dataset.targets),
        task.sizes,
        dataset.fixed_test,
        dataset.shuffled,
        dataset.num_classes,
        task.label_noise_kind,
    )
    return _take(examples, [noisy.index((r.seed, r.label_noise)) for r in replicates])


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


def _keys(seeds: Sequence[int]) -> Key[Array, " n"]:
    return jax.vmap(jax.random.key)(jnp.array(seeds, jnp.uint32))


def _take(tree: PyTree, positions: Sequence[int]) -> PyTree:
    """Rows of every leaf. Through the host: gathering on the device would compile once per shape."""

    def rows(leaf: Array) -> Array:
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(jnp.asarray(np.asarray(jax.random.key_data(leaf))[positions]))
        return jnp.asarray(np.asarray(leaf)[positions])

    return jax.tree.map(rows, tree)
