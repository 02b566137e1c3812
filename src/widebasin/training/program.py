"""The compiled programs: initialization, one epoch of training, evaluation, for many replicates at once."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from widebasin.data import key_for
from widebasin.sam import Method
from widebasin.sparsity import apply_mask
from widebasin.training.plan import Plan
from widebasin.training.preparation import Examples, batches_of, examples_of, initialized, keys_of, rows_of
from widebasin.training.pruning import first_batch, masks_of
from widebasin.training.task import Point, Task

# Examples in one block of an evaluation: bounds the memory that activations take.
EVALUATION_BLOCK = 2_000
# Name of the axis of the mesh.
DEVICES = "devices"

Metrics = dict[str, Array]


class TrainingState(NamedTuple):
    """All that changes while a network trains. Every leaf has a leading axis over replicates.

    Attributes:
        params: the model's floating-point arrays.
        model: the leaves of the model's own state: running statistics of batch normalization.
        optimizer: state of the optax optimizer, with its step count.
        method: state of the method of the SAM family.
        key: decides the order of the data in every epoch to come, and the method's own randomness.
        epoch: epochs completed.
    """

    params: PyTree
    model: list[Array]
    optimizer: PyTree
    method: PyTree
    key: Key[Array, "..."]
    epoch: Int[Array, "..."]


class Hyperparameters(NamedTuple):
    """What differs between replicates and does not change while they train; leading axis over replicates.

    Attributes:
        rho: radius of the method.
        learning_rate: see ``Recipe``.
        weight_decay: see ``Recipe``.
        output_scale: see ``Task.centered``.
        mask: which parameters are not pruned; ``None`` where all replicates are dense.
        origin: the parameters at initialization, from which a centered model measures its outputs; else ``None``.
    """

    rho: Float[Array, "..."]
    learning_rate: Float[Array, "..."]
    weight_decay: Float[Array, "..."]
    output_scale: Float[Array, "..."]
    mask: PyTree = None
    origin: PyTree = None


class Blocks(NamedTuple):
    """The examples of an evaluation, cut into blocks of equal size.

    Attributes:
        positions: of the examples; the last block is filled up with the first examples,
        counted: which then do not count.
    """

    positions: Int[Array, "blocks size"] | Int[np.ndarray, "blocks size"]
    counted: Bool[Array, "blocks size"] | Bool[np.ndarray, "blocks size"]


def blocks_of(examples: int, largest: int | None = None) -> Blocks:
    """Cuts the numbers from 0 to ``examples`` into as few blocks as their largest size allows."""
    number = -(-examples // (largest or EVALUATION_BLOCK))
    positions = np.arange(-(-examples // number) * number).reshape(number, -1)
    return Blocks(positions % examples, positions < examples)


class Program:
    """Trains groups of replicates of one task with one method under one plan; compiles once per group size.

    Args:
        task: what is trained.
        method: radius -> method.
        plan: how.
    """

    def __init__(self, task: Task, method: Callable[[Any], Method], plan: Plan) -> None:
        self.task, self.method, self.plan = task, method, plan
        self.mesh = Mesh(np.asarray(jax.local_devices()[: plan.devices]), (DEVICES,)) if plan.devices > 1 else None
        self.inputs = self._on_all_devices(jnp.asarray(task.dataset.inputs))
        self.targets = self._on_all_devices(jnp.asarray(task.dataset.targets))
        if task.centered and task.network.stateful:
            raise ValueError("a centered model must have no state: leave batch normalization out")
        self._epoch = jax.jit(self._lift(self._epoch_one, shared=4), donate_argnums=0)
        # Two programs where steps are of two kinds: within a branch, XLA runs convolutions slowly on a CPU.
        self._steps = {
            kind: jax.jit(self._lift(functools.partial(self._step_one, kind=kind), shared=2), donate_argnums=0)
            for kind in (0, 1)
        }
        self._batches = jax.jit(self._lift(self._batches_one))
        self._sums = jax.jit(self._lift(self._sums_at_one, shared=2))

    def start(self, replicates: Sequence[Point]) -> tuple[TrainingState, Examples, Hyperparameters]:
        """State, data and hyperparameters of replicates before the first step.

        What a seed decides is computed once per seed and shared by all replicates of that seed.
        """
        seeds = sorted({r.seed for r in replicates})
        keys = keys_of(seeds)
        params, model_states, optimizer_states = initialized(self.task, keys)
        states = TrainingState(
            params=params,
            model=model_states,
            optimizer=optimizer_states,
            method=jax.vmap(self.method(0.0).init)(params),
            key=jax.vmap(key_for, in_axes=(0, None))(keys, "training"),
            epoch=jnp.zeros(len(seeds), jnp.int32),
        )
        state = rows_of(states, [seeds.index(r.seed) for r in replicates])
        examples = examples_of(self.task, replicates)
        mask = None
        if any(replicate.sparsity for replicate in replicates):
            batches = self._first_batches(replicates, examples)
            mask = masks_of(self.task, replicates, state.params, state.model, batches)
            state = state._replace(params=jax.vmap(apply_mask)(state.params, mask))
        scalars = ("rho", "learning_rate", "weight_decay", "output_scale")
        hyperparameters = Hyperparameters(
            *(jnp.array([getattr(r, name) for r in replicates], float) for name in scalars),
            mask=mask,
            # A copy: the state is donated.
            origin=jax.tree.map(jnp.copy, state.params) if self.task.centered else None,
        )
        return self._placed((state, examples, hyperparameters))

    def _on_all_devices(self, tree: PyTree) -> PyTree:
        return tree if self.mesh is None else jax.device_put(tree, NamedSharding(self.mesh, PartitionSpec()))

    def _placed(self, tree: PyTree) -> PyTree:
        """Arrays with a leading axis over replicates, on the plan's devices: each its share of several replicates."""
        if self.mesh is None or self.plan.networks_at_once == 1:
            return self._on_all_devices(tree)
        replicates = jax.tree.leaves(tree)[0].shape[0]
        share = PartitionSpec() if replicates % self.plan.devices else PartitionSpec(DEVICES)
        return jax.device_put(tree, NamedSharding(self.mesh, share))

    def _split(self, batch: Array) -> Array:
        """A batch, every device its share of the examples, where one network trains on several devices."""
        if self.mesh is None or self.plan.networks_at_once > 1:
            return batch
        return jax.lax.with_sharding_constraint(batch, NamedSharding(self.mesh, PartitionSpec(DEVICES)))

    def _first_batches(self, replicates: Sequence[Point], examples: Examples) -> tuple[Array, Array]:
        """Inputs, as they are stored, and targets of the first batch of every replicate."""
        batches = np.stack([first_batch(self.task, replicate.seed) for replicate in replicates])
        chosen = np.take_along_axis(np.asarray(examples.train), batches, axis=1)
        targets = [np.asarray(row)[batch] for row, batch in zip(examples.train_targets, batches, strict=True)]
        return self._inputs_at(chosen), jnp.asarray(np.stack(targets))

    def _inputs_at(self, indices: np.ndarray) -> Array:
        """Inputs, as they are stored, without augmentation."""
        return self.inputs[indices]

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
    ) -> tuple[TrainingState, dict[str, np.ndarray]]:
        """An epoch step by step from the host."""
        batches = np.asarray(self._batches(state))  # slices of a device array would be dispatched one by one
        period = self.method(0.0).period
        steps = []
        for step in range(self.task.steps_per_epoch):
            run = self._steps[min(1, (first + step) % period)]
            state, means = run(state, examples, hyperparameters, batches[:, step], self.inputs, first + step)
            steps.append(means)
        metrics = means_of(steps)
        evaluate = functools.partial(self._dispatch_evaluation, state, hyperparameters)
        metrics |= self._evaluations(evaluate, state, examples, last)
        return state._replace(epoch=state.epoch + 1), metrics

    def _evaluations(
        self,
        evaluate: Callable[[np.ndarray, np.ndarray], dict[str, np.ndarray]],
        state: TrainingState,
        examples: Examples,
        last: bool,
    ) -> dict[str, np.ndarray]:
        """The metrics at the end of an epoch, from (indices, targets) -> means over these examples."""
        targets = np.asarray(self.targets)
        metrics = {}
        for prefix, indices, own_targets in (
            ("valid", examples.valid, targets[np.asarray(examples.valid)]),
            ("test", examples.test, targets[np.asarray(examples.test)]),
            ("final_train", examples.train, np.asarray(examples.train_targets)),
        ):
            if last or prefix != "final_train":
                values = evaluate(np.asarray(indices), own_targets)
            else:
                values = dict.fromkeys(self.task.objective.names, np.full(state.epoch.shape, np.nan))
            metrics |= {f"{prefix}_{name}": value for name, value in values.items()}
        return metrics

    def _dispatch_evaluation(
        self, state: TrainingState, hyperparameters: Hyperparameters, indices: np.ndarray, targets: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Means over the examples at ``indices``, block by block from the host."""
        blocks = blocks_of(indices.shape[1])
        sums = [
            self._sums(state, hyperparameters, indices[:, block], targets[:, block], counted, self.inputs)
            for block, counted in zip(blocks.positions, blocks.counted, strict=True)
        ]
        return {name: np.sum([one[name] for one in sums], axis=0) / indices.shape[1] for name in sums[0]}

    # One replicate -------------------------------------------------------------------------------------------------

    def _lift(self, one: Callable[..., Any], shared: int = 0) -> Callable[..., Any]:
        """From one replicate to all along a leading axis; the last ``shared`` arguments have none."""

        def lifted(*arguments: Any) -> Any:
            own = len(arguments) - shared
            if self.plan.networks_at_once > 1:
                return jax.vmap(one, in_axes=(0,) * own + (None,) * shared)(*arguments)
            squeezed = jax.tree.map(lambda leaf: leaf[0], arguments[:own])
            return jax.tree.map(lambda leaf: leaf[None], one(*squeezed, *arguments[own:]))

        return lifted

    def _batches_one(self, state: TrainingState) -> Int[Array, "steps batch_size"]:
        return batches_of(self.task, state.key, state.epoch)

    def _measure(
        self,
        params: PyTree,
        model: list[Array],
        hyperparameters: Hyperparameters,
        inputs: Array,
        targets: Array,
        *,
        training: bool,
    ) -> tuple[Metrics, list[Array]]:
        """Loss and metrics of every example, and the model's state after them."""
        if hyperparameters.mask is not None:
            params = apply_mask(params, hyperparameters.mask)
        inputs = self.task.dataset.prepared(inputs)
        outputs, model = self.task.network.outputs(params, model, inputs, training=training)
        if self.task.centered:
            before, _ = self.task.network.outputs(hyperparameters.origin, model, inputs, training=training)
            outputs = hyperparameters.output_scale * (outputs - before)
        functions = {"loss": self.task.objective.loss, **self.task.objective.metrics}
        return {name: jax.vmap(function)(outputs, targets) for name, function in functions.items()}, model

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
        """Step ``number`` on the training examples at ``batch``; ``kind`` as in ``_update_one``."""
        chosen = inputs[examples.train[batch]]
        if self.task.augment is not None:
            key = jax.random.fold_in(key_for(state.key, "augmentation"), number)
            chosen = jax.vmap(self.task.augment)(jax.random.split(key, len(batch)), chosen)
        return self._update_one(state, hyperparameters, chosen, examples.train_targets[batch], number, kind)

    def _update_one(
        self,
        state: TrainingState,
        hyperparameters: Hyperparameters,
        inputs: Array,
        targets: Array,
        number: Int[Array, ""],
        kind: int | None = None,
    ) -> tuple[TrainingState, Metrics]:
        """Step ``number``; ``kind`` is 0 or 1 where the first of a period or another one is compiled by itself."""
        inputs, targets = self._split(inputs), self._split(targets)

        def loss_fn(params: PyTree, inputs: Array, targets: Array) -> tuple[Array, tuple[Metrics, list[Array]]]:
            values, model = self._measure(params, state.model, hyperparameters, inputs, targets, training=True)
            means = {name: value.mean() for name, value in values.items()}
            return self._minimized(means["loss"], hyperparameters), (means, model)

        def example_losses(params: PyTree, inputs: Array, targets: Array) -> Float[Array, " batch_size"]:
            values, _ = self._measure(params, state.model, hyperparameters, inputs, targets, training=True)
            return self._minimized(values["loss"], hyperparameters)

        method = self.method(hyperparameters.rho)
        optimizer = self.task.recipe.optimizer(
            self.task.steps_per_epoch, hyperparameters.learning_rate, hyperparameters.weight_decay
        )
        (_, (means, model)), gradients, method_state = method.value_and_grad(
            loss_fn, True, example_losses=example_losses
        )(
            state.params,
            state.method,
            inputs,
            targets,
            key=jax.random.fold_in(key_for(state.key, "method"), number),
            # Shared by all replicates, so that a step that takes one gradient stays a branch under vmap.
            step=number if kind is None else kind,
        )
        updates, optimizer_state = optimizer.update(gradients, state.optimizer, state.params)
        metrics = {f"train_{name}": value for name, value in means.items()}
        metrics["gradient_norm"] = optax.tree.norm(gradients)
        params = optax.apply_updates(state.params, updates)
        state = state._replace(params=params, model=model, optimizer=optimizer_state, method=method_state)
        return state, metrics

    def _minimized(self, loss: Array, hyperparameters: Hyperparameters) -> Array:
        """The loss as it is minimized, from the loss as it is reported."""
        return loss / hyperparameters.output_scale**2 if self.task.centered else loss

    def _sums_one(
        self, state: TrainingState, hyperparameters: Hyperparameters, inputs: Array, targets: Array, counted: Array
    ) -> Metrics:
        """Sums of loss and metrics over the examples that are ``counted``."""
        values, _ = self._measure(state.params, state.model, hyperparameters, inputs, targets, training=False)
        return {name: jnp.sum(jnp.where(counted, value, 0)) for name, value in values.items()}

    def _sums_at_one(
        self,
        state: TrainingState,
        hyperparameters: Hyperparameters,
        indices: Int[Array, " block"],
        targets: Array,
        counted: Array,
        inputs: Array,
    ) -> Metrics:
        return self._sums_one(state, hyperparameters, inputs[indices], targets, counted)

    def _evaluate_one(
        self,
        state: TrainingState,
        hyperparameters: Hyperparameters,
        indices: Int[Array, " examples"],
        targets: Array,
        inputs: Array,
    ) -> Metrics:
        """Means over the examples at ``indices``, a block at a time."""
        blocks = Blocks(*map(jnp.asarray, blocks_of(indices.shape[0])))

        def sums_of(block: Int[Array, " block"], counted: Array) -> Metrics:
            return self._sums_one(state, hyperparameters, inputs[indices[block]], targets[block], counted)

        if len(blocks.positions) == 1:
            sums = sums_of(blocks.positions[0], blocks.counted[0])
        else:
            stacked = jax.lax.map(lambda block: sums_of(*block), (blocks.positions, blocks.counted))
            sums = {name: values.sum() for name, values in stacked.items()}
        return {name: value / indices.shape[0] for name, value in sums.items()}

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
            values = self._evaluate_one(state, hyperparameters, indices, labels, inputs)
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


def means_of(steps: Sequence[Metrics]) -> dict[str, np.ndarray]:
    """The averages of the metrics of steps."""
    return {name: np.mean([np.asarray(means[name]) for means in steps], axis=0) for name in steps[0]}
