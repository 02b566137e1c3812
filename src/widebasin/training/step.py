"""One training step: two passes of a method, one update of an optimizer. All training uses this update."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PyTree

from widebasin.data import key_for
from widebasin.sam import Method, average_over_groups, microbatched
from widebasin.statistics import LOSS
from widebasin.training.placement import Placement
from widebasin.training.problem import Model, Problem, Totals, means
from widebasin.training.state import Hyperparameters, TrainingState, masked

Metrics = dict[str, Array]


def update(
    problem: Problem,
    method_at: Callable[[Any], Method],
    placement: Placement,
    state: TrainingState,
    source: PyTree,
    hyperparameters: Hyperparameters,
    index: PyTree,
    number: Int[Array, ""],
    data: PyTree,
    kind: int | None = None,
) -> tuple[TrainingState, Metrics]:
    """The state of one network after a step, and the metrics of its clean pass.

    Args:
        problem: the problem to train.
        method_at: radius -> method.
        placement: where to train; its plan has the number of examples per gradient.
        state: the state before the step.
        source: from ``problem.source``.
        hyperparameters: hyperparameters of the network.
        index: index of the batch, see ``problem.batch``.
        number: number of the step since the start; the same for all networks.
        data: ``problem.data``.
        kind: 0 or 1 if the first step of a method's period, or the other steps, are compiled separately.
    """
    augmentation = jax.random.fold_in(key_for(state.key, "augmentation"), number)
    batch = placement.split(problem.batch(data, source, index, augmentation, "train"))
    examples = jax.tree.leaves(batch)[0].shape[0]
    keys = jax.random.split(jax.random.fold_in(key_for(state.key, "dropout"), number), examples)

    def network(params: PyTree) -> Model:
        return Model(masked(params, hyperparameters), state.model)

    def loss_fn(params: PyTree, batch: PyTree, keys: Any) -> tuple[Array, tuple[Totals, PyTree]]:
        totals, model = problem.losses(network(params), source, batch, keys, training=True)
        return problem.minimized(totals, source), (totals, model)

    def example_losses(params: PyTree, batch: PyTree, keys: Any) -> Float[Array, " examples"] | None:
        return problem.example_losses(network(params), source, batch, keys)

    def ascent_loss(params: PyTree, batch: PyTree, keys: Any) -> Float[Array, ""]:
        return problem.climbed(problem.losses(network(params), source, batch, keys, training=True)[0], source)

    compares: Any = example_losses if jax.eval_shape(example_losses, state.params, batch, keys) is not None else None
    climbs = ascent_loss if problem.climbs else None
    method = method_at(hyperparameters.point["rho"])
    optimizer = problem.recipe.optimizer_at(
        problem.steps_per_epoch,
        hyperparameters.point["learning_rate"],
        hyperparameters.point["weight_decay"],
        problem.layers,
    )
    microbatch = placement.plan.microbatch
    merging = {"merge_aux": _merged, "group_weight": _weight}
    base = jax.value_and_grad if microbatch is None else microbatched(microbatch, **merging)
    (_, (totals, model)), gradients, method_state = method.value_and_grad(
        loss_fn, True, base, example_losses=compares, ascent_loss=climbs, **merging
    )(
        state.params,
        state.method,
        batch,
        keys,
        key=jax.random.fold_in(key_for(state.key, "method"), number),
        # Shared by all networks, so that a step that takes one gradient stays a branch under vmap.
        step=number if kind is None else kind,
    )
    updates, optimizer_state = optimizer.update(gradients, state.optimizer, state.params)
    metrics = {f"train_{name}": value for name, value in means(totals, of_nothing=0.0).items()}
    metrics["gradient_norm"] = optax.tree.norm(gradients)
    params = optax.apply_updates(state.params, updates)
    state = state._replace(params=params, model=model, optimizer=optimizer_state, method=method_state)
    return placement.placed(state), metrics


def _weight(aux: tuple[Totals, PyTree]) -> Any:
    """The weight of a group of examples in the mean over groups: the weight of its loss."""
    totals, _ = aux
    return totals[LOSS.name][1]


def _merged(aux: tuple[Totals, PyTree]) -> tuple[Totals, PyTree]:
    """Totals and states averaged over groups; counts in a state, such as of steps, are the same in all groups."""
    totals, state = aux

    def merged(leaf: Array) -> Array:
        return average_over_groups(leaf) if jnp.issubdtype(leaf.dtype, jnp.inexact) else leaf[0]

    return average_over_groups(totals), jax.tree.map(merged, state)
