"""Methods that take a second gradient only every few steps."""

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PyTree

from widebasin.sam._asam import steepest_ascent_point
from widebasin.sam._ascent import ascent_point, at_least_smallest, combination, norm, without_projection, zeros_for
from widebasin.sam._batch import Batch
from widebasin.sam._method import Evaluation, Passes, Perturbing, Step, check_count, check_number, register_method


class CountState(NamedTuple):
    """State of ``SAMEveryK``.

    Attributes:
        count: number of finished steps.
    """

    count: Int[Array, ""]


@register_method
@dataclass(frozen=True)
class SAMEveryK(Perturbing):
    """SAM at every ``k``-th step, the plain gradient in between: ``1 + 1/k`` gradients per step.

    SAM is used at the steps 0, k, 2k ... (in Composer, k - 1, 2k - 1 ...). ``k = 1`` is SAM.

    Attributes:
        rho: radius >= 0.
        k: number of steps from one SAM step to the next.
        normalize: ``False`` is the unnormalized ascent.
        mask: which parameters are perturbed; all by default.
        m: examples per ascent; the whole batch by default.

    Source: MosaicML's Composer (``interval``); Jiang et al. 2023 choose the steps adaptively.
    """

    k: int = field(default=5, metadata={"static": True})
    normalize: bool = field(default=True, kw_only=True, metadata={"static": True})

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("k", self.k)

    @property
    def period(self) -> int:
        """``k``."""
        return self.k

    @property
    def passes_per_step(self) -> Passes:
        """One gradient, and another at every ``k``-th step."""
        return Passes(1 + 1 / self.k, 1 + 1 / self.k)

    def init(self, params: PyTree) -> CountState:
        """The state before the first step."""
        del params
        return CountState(jnp.zeros((), jnp.int32))

    def evaluate(self, batch: Batch, state: CountState, key: Key[Array, ""] | None, step: Step | None) -> Evaluation:
        """See ``Method.evaluate``."""
        del key
        value, clean = batch.clean()

        def perturbed(clean: PyTree) -> PyTree:
            point = ascent_point(
                batch.params, clean, self.rho, normalize=self.normalize, mask=self.mask, scales=self.scales
            )
            return batch.guarded(batch.gradient(point), clean)

        gradients = every(self.k, state.count if step is None else step, perturbed, lambda clean: clean, clean)
        return value, gradients, CountState(state.count + 1)


class LookSAMState(NamedTuple):
    """State of ``LookSAM``.

    Attributes:
        count: number of finished steps.
        orthogonal: the part of the last SAM gradient orthogonal to the clean gradient, in the shapes of the parameters.
    """

    count: Int[Array, ""]
    orthogonal: PyTree


@register_method
@dataclass(frozen=True)
class LookSAM(Perturbing):
    """LookSAM: SAM at every ``k``-th step; in between, the clean gradient plus what the last SAM step added to it.

    At a SAM step the gradient is ``g_s``, and ``v = g_s - <g_s, g> g / ||g||^2`` is kept. At the other steps it is ``g
    + alpha ||g|| v / ||v||``. ``k = 1`` is SAM. A step costs ``1 + 1/k`` gradients on average.

    Attributes:
        rho: radius >= 0.
        k: number of steps from one SAM step to the next.
        alpha: weight of the reused direction, >= 0.
        per_tensor: ``True`` computes inner products and norms tensor by tensor, as PyTorch implementations do; the
            paper uses all parameters together.
        adaptive: ``True`` uses ASAM's ascent with ``eta = 0``, an option of PyTorch implementations; the paper uses
            SAM's.
        mask: which parameters are perturbed; all by default.
        m: examples per ascent; the whole batch by default.

    Source: Liu et al. 2022, algorithm 1.
    """

    k: int = field(default=5, metadata={"static": True})
    alpha: float | Float[Array, "..."] = 0.7
    per_tensor: bool = field(default=False, kw_only=True, metadata={"static": True})
    adaptive: bool = field(default=False, kw_only=True, metadata={"static": True})

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("k", self.k)
        check_number("alpha", self.alpha, lambda alpha: 0 <= alpha < math.inf, "a finite number >= 0")

    @property
    def period(self) -> int:
        """``k``."""
        return self.k

    @property
    def passes_per_step(self) -> Passes:
        """One gradient, and another at every ``k``-th step."""
        return Passes(1 + 1 / self.k, 1 + 1 / self.k)

    def init(self, params: PyTree) -> LookSAMState:
        """The state before the first step, with a zero direction."""
        return LookSAMState(jnp.zeros((), jnp.int32), zeros_for(params))

    def evaluate(self, batch: Batch, state: LookSAMState, key: Key[Array, ""] | None, step: Step | None) -> Evaluation:
        """See ``Method.evaluate``."""
        del key
        value, clean = batch.clean()

        def look(clean: PyTree, kept: PyTree) -> tuple[PyTree, PyTree]:
            point = steepest_ascent_point(batch.params, clean, self.rho, self.adaptive, self.mask, self.scales)
            perturbed = batch.guarded(batch.gradient(point), clean)
            # No part of g is orthogonal to g, so v is that of g_s - g as well, which loses fewer digits.
            added = jax.tree.map(lambda p, c, k: p.astype(k.dtype) - c.astype(k.dtype), perturbed, clean, kept)
            return perturbed, self._by_tensor(self._orthogonal, added, clean)

        def reuse(clean: PyTree, kept: PyTree) -> tuple[PyTree, PyTree]:
            def add(clean: PyTree, kept: PyTree) -> PyTree:
                return combination(1.0, clean, self.alpha * norm(clean) / at_least_smallest(norm(kept)), kept)

            return self._by_tensor(add, clean, kept), kept

        count = state.count if step is None else step
        gradients, orthogonal = every(self.k, count, look, reuse, clean, state.orthogonal)
        return value, gradients, LookSAMState(state.count + 1, orthogonal)

    def _orthogonal(self, added: PyTree, clean: PyTree) -> PyTree:
        """The part of SAM's addition that is orthogonal to the clean gradient, or zero if it is only rounding error.

        It is rescaled to the length of the gradient, so rounding errors would become a direction.
        """
        orthogonal = without_projection(added, clean)
        precision = max((float(jnp.finfo(leaf.dtype).eps) for leaf in jax.tree.leaves(clean)), default=0.0)
        exists = (jnp.asarray(self.rho) > 0) & (norm(orthogonal) > 4 * precision * norm(clean))
        return jax.tree.map(lambda leaf: jnp.where(exists, leaf, jnp.zeros_like(leaf)), orthogonal)

    def _by_tensor(self, function: Callable[[PyTree, PyTree], PyTree], left: PyTree, right: PyTree) -> PyTree:
        return jax.tree.map(function, left, right) if self.per_tensor else function(left, right)


def every(k: int, count: Step, then: Callable[..., Any], otherwise: Callable[..., Any], *operands: Any) -> Any:
    """Runs ``then`` at the steps 0, k, 2k ... and ``otherwise`` at all others.

    A count known at compile time leaves no branch in the program.
    """
    if k == 1:
        return then(*operands)
    if not isinstance(count, jax.Array):
        return (then if operator.index(count) % k == 0 else otherwise)(*operands)
    return jax.lax.cond(jnp.asarray(count) % k == 0, then, otherwise, *operands)
