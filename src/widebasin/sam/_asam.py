"""Adaptive sharpness-aware minimization."""

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from widebasin.sam._ascent import Mask, Scaling, ascent_point, at_least_smallest, masked, moved, scaled, times, widened
from widebasin.sam._batch import Batch
from widebasin.sam._method import Evaluation, Passes, Perturbing, Step, check_mask, check_number, register_method


@register_method
@dataclass(frozen=True)
class ASAM(Perturbing):
    """Adaptive SAM: ``g_B(w + rho T^2 g / ||T g||)`` with ``g = g_B(w)`` and ``T = |w| + eta``, entry by entry.

    The ascent is steepest in the norm ``||T^{-1} .||``, which makes it (at ``eta = 0``) invariant under rescaling of
    consecutive layers that does not change the function of a ReLU network.

    Attributes:
        rho: radius >= 0 in that norm; useful values are about ten times those of SAM.
        eta: >= 0; lets parameters near zero move.
        adaptive: which parameters are scaled; ``T = 1`` for the others. All by default, as in the paper; the authors'
            code scales all but biases: ``adaptive=sam.by_path("bias", exclude=True)``.
        mask: which parameters are perturbed; all by default.
        m: examples per ascent; the whole batch by default.

    Source: Kwon et al. 2021, equations 7 and 8, and section 4 for ``eta``. ``eta = 0`` is what PyTorch
    implementations call ``adaptive=True``.
    """

    takes_ascent_loss: ClassVar[bool] = True
    eta: float | Float[Array, "..."] = 0.01
    adaptive: Mask | None = field(default=None, kw_only=True, metadata={"static": True})

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("eta", self.eta, lambda eta: 0 <= eta < math.inf, "a finite number >= 0")
        check_mask(self.adaptive, "adaptive")

    @property
    def passes_per_step(self) -> Passes:
        """Two gradients."""
        return Passes(2.0, 2.0)

    def evaluate(self, batch: Batch, state: PyTree, key: Key[Array, ""] | None, step: Step | None) -> Evaluation:
        """See ``Method.evaluate``."""
        del key, step
        value, clean = batch.ascent()
        point = adaptive_ascent_point(batch.params, clean, self.rho, self.eta, self.adaptive, self.mask, self.scales)
        return value, batch.guarded(batch.gradient(point), clean), state


def steepest_ascent_point(
    params: PyTree,
    gradients: PyTree,
    rho: float | Float[Array, "..."],
    adaptive: bool,
    mask: Mask | None,
    scales: Scaling | None,
) -> PyTree:
    """The end point of the ascent: SAM's, or, if ``adaptive``, that of ASAM with ``eta = 0``."""
    if adaptive:
        return adaptive_ascent_point(params, gradients, rho, 0.0, None, mask, scales)
    return ascent_point(params, gradients, rho, mask=mask, scales=scales)


def adaptive_ascent_point(
    params: PyTree,
    gradients: PyTree,
    rho: float | Float[Array, "..."],
    eta: float | Float[Array, "..."],
    adaptive: Mask | None,
    mask: Mask | None,
    scales: Scaling | None,
) -> PyTree:
    """``w + rho a T^2 g / max(||b T g||, 1e-12)`` with ``T = |w| + eta`` where adaptive and 1 elsewhere."""
    direction, length = adaptive_direction(params, masked(gradients, mask), eta, adaptive, scales)
    return moved(params, direction, rho / at_least_smallest(length))


def adaptive_direction(
    params: PyTree,
    gradients: PyTree,
    eta: float | Float[Array, "..."] = 0.0,
    adaptive: Mask | None = None,
    scales: Scaling | None = None,
) -> tuple[PyTree, Float[Array, ""]]:
    """``a T^2 g`` and its length ``||b T g||`` in the norm of the ascent, in at least float32.

    With scales ``T = |w| + eta size``.
    """
    chosen = (adaptive or (lambda _: True))(gradients)
    keeps = jax.tree.map(lambda keep, branch: jax.tree.map(lambda _: keep, branch), chosen, gradients)

    least = jax.tree.map(lambda g: jnp.asarray(eta, jnp.finfo(widened(g).dtype).dtype), gradients)
    least = least if scales is None else times(scales(gradients).size, least)

    def times_size(g: Array | None, p: Any, keep: Any, least: Any) -> Array | None:
        if g is None:
            return None
        wide = widened(g)
        size = jnp.abs(jnp.asarray(p, wide.dtype)) + least
        return jnp.where(keep, size, 1.0).astype(wide.dtype) * wide

    def once(tree: PyTree) -> PyTree:
        return jax.tree.map(times_size, tree, params, keeps, least, is_leaf=lambda leaf: leaf is None)

    first = once(gradients)
    return scaled(once(first), first, scales)
