"""Refuses unsupported use of Flax NNX, which would silently be differentiated; the message has the recipe."""

import sys
from typing import Any

import jax
from jaxtyping import PyTree

RECIPE = (
    "split it, graph, params, rest = nnx.split(model, nnx.Param, ...), differentiate only by params, and merge it in "
    "the loss, nnx.merge(graph, params, rest, copy=True): see 'Flax NNX' in docs/recipes.md"
)


def refuse_transformation(base: Any) -> None:
    """Raises ``TypeError`` if ``base`` is an NNX transformation, which does not return plain gradients."""
    if str(getattr(base, "__module__", "")).startswith("flax.nnx"):
        raise TypeError(f"base must behave like jax.value_and_grad; nnx's version does not: for a module, {RECIPE}")


def refuse_modules(params: PyTree) -> None:
    """Raises ``TypeError`` if parameters are an NNX module with other variables, which would be differentiated.

    Otherwise statistics and dropout keys would get gradients and never be updated.
    """
    nnx: Any = sys.modules.get("flax.nnx")
    if nnx is None:
        return
    for module in jax.tree.leaves(params, is_leaf=lambda leaf: isinstance(leaf, nnx.Module)):
        if not isinstance(module, nnx.Module):
            continue
        variables = jax.tree.leaves(nnx.state(module), is_leaf=lambda leaf: isinstance(leaf, nnx.Variable))
        others = sorted({type(one).__name__ for one in variables if not isinstance(one, nnx.Param)})
        if others:
            raise TypeError(
                f"params are the nnx module {type(module).__name__}, which also has {', '.join(others)}: {RECIPE}"
            )
