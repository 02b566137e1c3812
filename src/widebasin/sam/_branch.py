"""Gradients that not every step takes, as branches of the program that stay branches under ``jax.vmap``."""

import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, Bool, PyTree

from widebasin.sam._method import Step


def every(k: int, count: Step, then: Callable[..., Any], otherwise: Callable[..., Any], *operands: Any) -> Any:
    """Runs ``then`` at the steps 0, k, 2k ... and ``otherwise`` at all others.

    A count known at compile time leaves no branch in the program.
    """
    if k == 1:
        return then(*operands)
    if not isinstance(count, jax.Array):
        return (then if operator.index(count) % k == 0 else otherwise)(*operands)
    return jax.lax.cond(jnp.asarray(count) % k == 0, then, otherwise, *operands)


def unless_all_stay(rho: Any, moved: Callable[[PyTree], PyTree], clean: PyTree) -> PyTree:
    """``moved(clean)``, or ``clean`` where that is the same because the radius is 0.

    Networks that ``jax.vmap`` trains side by side with radii of their own take ``moved`` if any of the radii is not 0.
    A network alone always does, which leaves no branch in its program.

    Args:
        rho: the radius.
        moved: from the clean gradient to that at the end of the ascent; the same as ``clean`` if ``rho`` is 0.
        clean: the clean gradient.
    """
    if not isinstance(rho, Tracer):
        return moved(clean)
    return jax.lax.cond(_moves(jax.lax.stop_gradient(rho)), moved, lambda clean: clean, clean)


# ``jax.vmap`` replaces the first function by the rule below it: the answer is one for all networks, so that the branch
# stays a branch. A further ``jax.vmap`` does the same to the second.
@jax.custom_batching.custom_vmap
def _moves(rho: Any) -> Bool[Array, ""]:
    """Whether to take the gradient at the end of the ascent: always, for a network alone."""
    del rho
    return jnp.ones((), bool)


@_moves.def_vmap
def _some_move(size: int, batched: list[bool], rho: Array) -> tuple[Bool[Array, ""], bool]:
    del size, batched
    return _any((rho != 0).any(0)), False


@jax.custom_batching.custom_vmap
def _any(found: Bool[Array, ""]) -> Bool[Array, ""]:
    """Whether it is so for any network, of those of a further ``jax.vmap`` too."""
    return found


@_any.def_vmap
def _any_of_all(size: int, batched: list[bool], found: Array) -> tuple[Bool[Array, ""], bool]:
    del size, batched
    return _any(found.any(0)), False
