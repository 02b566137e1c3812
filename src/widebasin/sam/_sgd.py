"""The base method: the plain gradient."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
from jaxtyping import PyTree

from widebasin.sam._method import Gradient


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class SGD:
    """The plain gradient of the batch, ``g_B(w)``: one gradient per step. Equals ``SAM(rho=0)``."""

    gradients_per_step: ClassVar[float] = 1.0

    def init(self, params: PyTree) -> PyTree:
        """No state."""
        del params
        return ()

    def value_and_grad(
        self,
        loss_fn: Callable[..., Any],
        has_aux: bool = False,
        base: Callable[..., Any] = jax.value_and_grad,
    ) -> Gradient:
        """See ``Method.value_and_grad``."""
        differentiate = base(loss_fn, has_aux=has_aux)

        def gradient(params: PyTree, state: PyTree, *args: Any, key: Any = None) -> tuple[Any, PyTree, PyTree]:
            del key
            return *differentiate(params, *args), state

        return gradient
