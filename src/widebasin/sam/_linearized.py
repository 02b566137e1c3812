"""SAM on the quadratic model of the loss."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree

from widebasin.sam._ascent import ascent_point, zeros_for
from widebasin.sam._batch import Batch
from widebasin.sam._method import Evaluation, Passes, Perturbing, Step, register_method


class LinearizedSAMState(NamedTuple):
    """State of ``LinearizedSAM``.

    Attributes:
        center: the parameters around which the gradient is linearized.
    """

    center: PyTree


@register_method
@dataclass(frozen=True)
class LinearizedSAM(Perturbing):
    """SAM on the quadratic model of the batch loss around a center ``c``, by Hessian-vector products.

    With ``q(w) = g_B(c) + H_B(c) (w - c)`` in place of the gradient: ``q(w + rho q(w))``, or normalized. Around a
    fixed point, where ``g_B(c) = 0`` for every batch, it is ``H_B (v + rho H_B v)`` with ``v = w - c``, the process
    whose linear stability the theory bounds. The center is the parameters given to ``init``.

    Attributes:
        rho: radius >= 0.
        normalize: ``True`` is the normalized ascent; the theory uses the unnormalized one.
        fixed_point: ``True`` sets ``g_B(c)`` to zero, for centers that are minima only up to numerical precision.
        mask: which parameters are perturbed; all by default.
        m: examples per ascent; the whole batch by default.

    The returned value is that of the loss itself at the parameters, not of its quadratic model.

    Source: arXiv 2311.17539, section on linear stability.
    """

    normalize: bool = field(default=False, metadata={"static": True})
    fixed_point: bool = field(default=False, metadata={"static": True})

    @property
    def passes_per_step(self) -> Passes:
        """A forward pass for the value, the gradient at the center, and two Hessian-vector products.

        The product of a matrix and an activation has two derivatives, so a Hessian-vector product costs two gradients.
        """
        return Passes(6.0, 5.0)

    def init(self, params: PyTree) -> LinearizedSAMState:
        """The center, as a copy, so that a compiled step can donate parameters and state."""
        return LinearizedSAMState(jax.tree.map(jnp.array, _where_arrays(zeros_for(params), params)))

    def evaluate(
        self, batch: Batch, state: LinearizedSAMState, key: Key[Array, ""] | None, step: Step | None
    ) -> Evaluation:
        """See ``Method.evaluate``."""
        del key, step

        def gradient(arrays: PyTree) -> PyTree:
            return batch.gradient(_with_arrays(batch.params, arrays))

        at_center, product = jax.linearize(gradient, state.center)
        offset = jax.tree.map(jnp.subtract, _where_arrays(state.center, batch.params), state.center)
        clean = product(offset)
        if not self.fixed_point:
            clean = jax.tree.map(jnp.add, at_center, clean)
        ascent = ascent_point(
            jax.tree.map(jnp.zeros_like, state.center),
            clean,
            self.rho,
            normalize=self.normalize,
            mask=self.mask,
            scales=self.scales,
        )
        gradients = jax.tree.map(jnp.add, clean, product(ascent))
        return batch.value(), batch.guarded(gradients, clean), state


def _where_arrays(arrays: PyTree, params: PyTree) -> PyTree:
    """The parameters that are differentiated; ``None`` for the others."""
    return jax.tree.map(lambda a, p: None if a is None else p, arrays, params, is_leaf=lambda leaf: leaf is None)


def _with_arrays(params: PyTree, arrays: PyTree) -> PyTree:
    def choose(array: Array | None, param: Any) -> Any:
        return param if array is None else array

    return jax.tree.map(choose, arrays, params, is_leaf=lambda leaf: leaf is None)
