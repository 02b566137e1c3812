"""Evaluates a network: weighted means over a part of the split, block by block, and metrics of the whole part."""

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from widebasin.training.problem import Problem, Totals, added
from widebasin.training.state import Hyperparameters, TrainingState


def evaluated_block(
    problem: Problem,
    part: str,
    state: TrainingState,
    source: PyTree,
    hyperparameters: Hyperparameters,
    index: PyTree,
    data: PyTree,
) -> tuple[Totals, PyTree]:
    """Sums over a block of a part, with their weights, and the data collected for metrics of the whole part."""
    model = state.network(hyperparameters)
    batch = problem.batch(data, source, index, None, part)
    totals, _ = problem.losses(model, source, batch, None, training=False)
    return totals, problem.collected(model, source, batch)


def evaluated(
    problem: Problem,
    part: str,
    state: TrainingState,
    source: PyTree,
    hyperparameters: Hyperparameters,
    data: PyTree,
) -> tuple[Totals, PyTree]:
    """Sums over a part in one program; collected data have a leading axis over blocks."""
    blocks = problem.blocks(part)

    def block(index: PyTree) -> tuple[Totals, PyTree]:
        return evaluated_block(problem, part, state, source, hyperparameters, index, data)

    if jax.tree.leaves(blocks)[0].shape[0] == 1:
        totals, collected = block(jax.tree.map(lambda leaf: leaf[0], blocks))
        return totals, jax.tree.map(lambda leaf: leaf[None], collected)
    totals, collected = jax.lax.map(block, jax.tree.map(jnp.asarray, blocks))
    return added(totals), collected
