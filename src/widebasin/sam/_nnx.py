"""What of Flax NNX does not fit: it is refused with the recipe, where it would be differentiated in silence."""

import sys
from typing import Any

import jax
from jaxtyping import PyTree

RECIPE = (
    "split it, graph, params, rest = nnx.split(model, nnx.Param, ...), differentiate by params alone, and let the loss "
    "put it together again, nnx.merge(graph, params, rest, copy=True): see 'Flax NNX' in docs/recipes.md"
)


def refuse_transformation(base: Any) -> None:
    """Raises ``TypeError`` where ``base`` is a transformation of NNX, which returns something else than gradients."""
    if str(getattr(base, "__module__", "")).startswith("flax.nnx"):
        raise TypeError(f"base must be as jax.value_and_grad, which that of nnx is not: for a module, {RECIPE}")


def refuse_modules(params: PyTree) -> None:
    """Raises ``TypeError`` where parameters are a module of NNX with other variables, which would be differentiated.

    Statistics and dropout keys would get gradients and never move.
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
                f"the parameters are a {type(module).__name__} of nnx, which also holds {', '.join(others)}: {RECIPE}"
            )
