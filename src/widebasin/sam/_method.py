"""What every method of the SAM family provides."""

import math
from collections.abc import Callable
from numbers import Real
from typing import Any, ClassVar, Protocol, runtime_checkable

import jax
from jaxtyping import PyTree

Mask = Callable[[PyTree], PyTree]
"""Which parameters the ascent may move: a function of the gradients (the structure of the parameters) that returns
booleans, or arrays of booleans, of the same structure or a prefix of it. ``True`` moves. Example, weights but not
biases: ``lambda gradients: jax.tree.map(lambda g: g.ndim > 1, gradients)``."""

Gradient = Callable[..., tuple[Any, PyTree, PyTree]]


@runtime_checkable
class Method(Protocol):
    """The protocol of the family: hyperparameters in a frozen pytree, gradients out.

    Attributes:
        gradients_per_step: how many gradients of a full batch one step costs.
    """

    gradients_per_step: ClassVar[float]

    def init(self, params: PyTree) -> PyTree:
        """The state that the method carries from step to step, a pytree of arrays (``()`` for a method without)."""
        ...

    def value_and_grad(
        self,
        loss_fn: Callable[..., Any],
        has_aux: bool = False,
        base: Callable[..., Any] = jax.value_and_grad,
    ) -> Gradient:
        """A function ``(params, state, *args, key=None) -> (value, gradients, state)``.

        Args:
            loss_fn: ``loss_fn(params, *args)`` returns a scalar, or ``(scalar, aux)`` with ``has_aux``. ``args`` are
                the same in every pass, so a dropout key among them gives every pass the same mask.
            has_aux: whether ``loss_fn`` returns auxiliary data; then ``value`` is ``(scalar, aux)``.
            base: the function that differentiates, with the signature of ``jax.value_and_grad``, such as
                ``equinox.filter_value_and_grad`` for a model that holds more than arrays.

        Returns:
            ``value`` and ``aux`` come from the clean pass, at ``params``. ``key`` is for methods that draw random
            numbers themselves; the others ignore it.
        """
        ...


def check_mask(mask: Any) -> None:
    """Raises ``TypeError`` where a mask is not a function."""
    if mask is not None and not callable(mask):
        raise TypeError(
            f"mask must be a function from gradients to booleans, got {type(mask).__name__}; "
            "for a pytree of booleans give: lambda gradients: booleans"
        )


def check_radius(rho: Any) -> None:
    """Raises where ``rho`` is no radius; the values of arrays and traced scalars pass unseen.

    Raises:
        TypeError: if ``rho`` is no number at all.
        ValueError: if it is a Python number that is negative or not finite.
    """
    if isinstance(rho, str) or callable(rho):
        raise TypeError(
            f"rho must be a number or a scalar array, got {rho!r}; for a schedule, pass its value at the step: "
            "SAM(rho=schedule(step)) inside the jitted step"
        )
    if isinstance(rho, Real) and not (math.isfinite(rho) and float(rho) >= 0):
        raise ValueError(f"rho must be a finite number >= 0, got {rho}; rho = 0 is plain gradient descent")
