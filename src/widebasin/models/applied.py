"""Models of other libraries: parameters and a function of them and a batch."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
from jaxtyping import PyTree


class Applied(eqx.Module):
    """A model without state that a function applies to a batch, for one example: ``apply(params, x[None])[0]``.

    For a module of Flax linen: ``Applied(module.init(key, examples), module.apply)``; the same for a function that
    Haiku has transformed, ``hk.without_apply_rng``; for plain functions their own.

    Args:
        params: any pytree of arrays.
        apply: ``(params, inputs) -> outputs``, both with the examples along the leading axis.
    """

    params: PyTree
    apply: Callable[[PyTree, Any], Any] = eqx.field(static=True)

    def __call__(self, x: PyTree) -> Any:
        """The outputs for one example."""
        outputs = self.apply(self.params, jax.tree.map(lambda leaf: leaf[None], x))
        return jax.tree.map(lambda leaf: leaf[0], outputs)
