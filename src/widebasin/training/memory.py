"""Estimates the memory of a network in training from shapes alone: nothing is computed or compiled."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import jaxprs_in_params
from jaxtyping import PyTree

from widebasin.training.problem import PARTS, Model, Problem

# Parameters, momentum, two gradients, the ascent point, and one more while the optimizer updates.
COPIES_OF_PARAMETERS = 6
# What XLA takes of what is counted. In a step, gradients on their way back come on top; in an evaluation whatever does
# not depend on each other may be in memory at once: parts of the split, directions of an LSTM, buckets.
OF_STEP, OF_EVALUATION = 1.25, 4


class StepShapes(NamedTuple):
    """Shapes of what a training step and a block of an evaluation of one network take.

    Attributes:
        model: parameters and state.
        source: see ``Problem.source``.
        batch: of training.
        blocks: part of the split -> block of its evaluation.
        keys: one per example of the batch.
    """

    model: Model
    source: PyTree
    batch: PyTree
    blocks: dict[str, PyTree]
    keys: Any


def step_shapes(problem: Problem) -> StepShapes:
    """Traces how a problem makes its batches; its data must be in memory."""
    data = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), problem.data)
    key = jax.eval_shape(lambda: jax.random.key(0))
    number = jax.ShapeDtypeStruct((), jnp.int32)
    point = {name: jax.ShapeDtypeStruct((), jnp.float32) for name in problem.axes}
    model = jax.eval_shape(problem.init, key)
    source = jax.eval_shape(problem.source, data, key, point, model.params)

    def trained(data: Any, source: Any, model: Model, key: Any, number: Any) -> Any:
        _, rows = problem.epoch(data, source, problem.carry(source, key), model, key, number)
        return problem.batch(data, source, jax.tree.map(lambda leaf: leaf[0], rows), None, "train")

    def block(data: Any, source: Any, part: str) -> Any:
        row = jax.tree.map(lambda leaf: leaf[0], problem.blocks(part))
        return problem.batch(data, source, jax.tree.map(jnp.asarray, row), None, part)

    batch = jax.eval_shape(trained, data, source, model, key, number)
    examples = jax.tree.leaves(batch)[0].shape[0]
    keys = jax.eval_shape(lambda key: jax.random.split(key, examples), key)
    blocks = {part: jax.eval_shape(functools.partial(block, part=part), data, source) for part in PARTS}
    return StepShapes(model, source, batch, blocks, keys)


def minimized(problem: Problem, params: Any, state: Any, source: Any, batch: Any, keys: Any = None) -> Any:
    """The loss of a batch, and the state of the model after it."""
    totals, state = problem.losses(Model(params, state), source, batch, keys, training=True)
    return problem.minimized(totals, source), state


def bytes_of_residuals(problem: Problem, shapes: StepShapes, keys: Any = None) -> int:
    """Bytes that the backward pass of a step needs of the forward pass, parameters included.

    A method of the SAM family takes its passes one after the other, each in the memory of the one before.

    Args:
        problem: the problem.
        shapes: from ``step_shapes``.
        keys: ``shapes.keys`` to count the masks of dropout; ``None`` for none.
    """

    def kept(params: Any, *rest: Any) -> Any:
        return jax.vjp(lambda params: minimized(problem, params, *rest)[0], params)[1]

    return bytes_of(jax.eval_shape(kept, *shapes.model, shapes.source, shapes.batch, keys))


def bytes_of_evaluation(problem: Problem, shapes: StepShapes) -> int:
    """Bytes at the fullest moment of an evaluation block, and of what is collected of all blocks of a part."""

    def judged(model: Model, source: Any, block: Any) -> Any:
        return problem.losses(model, source, block, None, training=False)[0], problem.collected(model, source, block)

    most = 0
    for part, block in shapes.blocks.items():
        closed, (_, collected) = jax.make_jaxpr(judged, return_shape=True)(shapes.model, shapes.source, block)
        count = jax.tree.leaves(problem.blocks(part))[0].shape[0]
        most = max(most, _fullest(closed.jaxpr) + count * bytes_of(collected))
    return most


def bytes_in_training(problem: Problem) -> int:
    """Upper estimate of the bytes on a device that training takes for each network, without data that all share.

    The state of training, what belongs to an epoch, and the larger of a step and an evaluation block, with a reserve.
    """
    shapes = step_shapes(problem)
    step = bytes_of_residuals(problem, shapes, shapes.keys) + bytes_of(shapes.batch)
    state = COPIES_OF_PARAMETERS * bytes_of(shapes.model.params)
    passing = max(OF_STEP * step, OF_EVALUATION * bytes_of_evaluation(problem, shapes))
    return state + problem.bytes_of_epoch + int(passing)


def bytes_ahead(problem: Problem) -> int:
    """Bytes that preparing the next group takes for each network while one trains: its first state and its examples."""
    # Parameters, and two arrays of their size that an optimizer may keep.
    return 3 * bytes_of(jax.eval_shape(problem.init, jax.eval_shape(lambda: jax.random.key(0))).params) + (
        problem.bytes_of_epoch
    )


def bytes_of(tree: PyTree) -> int:
    """Bytes of the arrays in a tree, or of their shapes."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree) if hasattr(leaf, "dtype"))


def _fullest(jaxpr: Any) -> int:
    """Bytes of the arrays that are alive at the same time at most, if each is freed after its last use."""
    last = {variable: place for place, equation in enumerate(jaxpr.eqns) for variable in _variables(equation.invars)}
    last |= dict.fromkeys(_variables(jaxpr.outvars), len(jaxpr.eqns))
    given = _variables([*jaxpr.invars, *jaxpr.constvars])
    alive = most = sum(map(_size, given))
    for place, equation in enumerate(jaxpr.eqns):
        made, used = _variables(equation.outvars), set(_variables(equation.invars))
        alive += sum(map(_size, made))
        around = sum(map(_size, used)) + sum(map(_size, made))
        inner = [_fullest(one) for one in jaxprs_in_params(equation.params)]
        most = max(most, alive + max([0, *(one - around for one in inner)]))
        alive -= sum(_size(one) for one in {*used, *made} if last.get(one, place) == place and one not in given)
    return most


def _variables(variables: Any) -> list[Any]:
    return [one for one in variables if not hasattr(one, "val")]  # literals have values


def _size(variable: Any) -> int:
    shape = variable.aval
    return shape.size * shape.dtype.itemsize if hasattr(shape, "shape") else 0
