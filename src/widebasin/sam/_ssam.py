"""Sparse sharpness-aware minimization."""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key, PyTree

from widebasin.sam._ascent import at_least_smallest, masked, moved, scaled, zeros_for
from widebasin.sam._batch import Batch
from widebasin.sam._method import (
    Evaluation,
    Passes,
    Perturbing,
    Step,
    check_count,
    check_number,
    needed_key,
    register_method,
)
from widebasin.sam._periodic import every


class SSAMState(NamedTuple):
    """State of ``SSAM``.

    Attributes:
        count: number of finished steps.
        perturbed: booleans in the shapes of the parameters.
    """

    count: Int[Array, ""]
    perturbed: PyTree


@register_method
@dataclass(frozen=True)
class SSAM(Perturbing):
    """Sparse SAM: SAM's ascent for a fraction ``1 - sparsity`` of the parameters only: ``w + rho b g / ||g||``.

    ``b`` is 1 for the ``int((1 - sparsity) n)`` of ``n`` parameters with the highest scores and 0 for the others,
    chosen again every ``every`` steps. The score is the diagonal of the empirical Fisher information, the mean over the
    batch's examples of the squared gradient of the example's loss; or random. The norm is taken of the whole gradient.
    ``sparsity = 0`` is SAM. Random scores need a key.

    Attributes:
        rho: radius >= 0.
        sparsity: fraction of parameters that are not perturbed, in [0, 1).
        scores: ``fisher`` or ``random``.
        every: steps from one choice to the next; with ``fisher``, each choice costs a gradient of the batch, one
            example after the other. (The authors choose every few epochs, on separately drawn examples, and after the
            first step, which in their code perturbs nothing.)
        mask: which parameters may be perturbed; all by default.
        m: examples per ascent; the whole batch by default. The choice always uses the whole batch.

    Source: Mi et al. 2022, algorithms 1 (Fisher) and the random mask of its ablation.
    """

    sparsity: float = field(default=0.5, metadata={"static": True})
    scores: Literal["fisher", "random"] = field(default="fisher", kw_only=True, metadata={"static": True})
    every: int = field(default=100, kw_only=True, metadata={"static": True})

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("sparsity", self.sparsity, lambda sparsity: 0 <= sparsity < 1, "a fraction in [0, 1); 0 is SAM")
        check_count("every", self.every)
        if self.scores not in ("fisher", "random"):
            raise ValueError(f"scores must be 'fisher' or 'random', got {self.scores!r}")

    @property
    def period(self) -> int:
        """``every``."""
        return self.every

    @property
    def passes_per_step(self) -> Passes:
        """Two gradients, and with ``fisher`` another one at every ``every``-th step."""
        extra = 1 / self.every if self.scores == "fisher" else 0.0
        return Passes(2 + extra, 2 + extra)

    def init(self, params: PyTree) -> SSAMState:
        """The state before the first step, which makes the first choice."""
        return SSAMState(jnp.zeros((), jnp.int32), jax.tree.map(lambda z: jnp.ones(z.shape, bool), zeros_for(params)))

    def prepare(self, batch: Batch, state: SSAMState, key: Key[Array, ""] | None, step: Step | None) -> SSAMState:
        """Chooses the parameters, at every ``every``-th step."""
        if self.scores == "fisher":

            def scores() -> PyTree:
                return batch.mean_square_of_example_gradients()

        else:
            leaves, structure = jax.tree.flatten(state.perturbed)
            keys = jax.random.split(needed_key(key, self), max(1, len(leaves)))

            def scores() -> PyTree:
                drawn = [jax.random.uniform(keys[i], leaf.shape) for i, leaf in enumerate(leaves)]
                return structure.unflatten(drawn)

        count = state.count if step is None else step
        perturbed = every(
            self.every, count, lambda _: highest(scores(), self.sparsity), lambda kept: kept, state.perturbed
        )
        return SSAMState(state.count + 1, perturbed)

    def evaluate(self, batch: Batch, state: SSAMState, key: Key[Array, ""] | None, step: Step | None) -> Evaluation:
        """See ``Method.evaluate``."""
        del key, step
        value, clean = batch.clean()
        gradients = masked(clean, self.mask)
        direction, length = scaled(gradients, gradients, self.scales)
        kept = masked(direction, lambda _: state.perturbed)
        point = moved(batch.params, kept, self.rho / at_least_smallest(length))
        return value, batch.guarded(batch.gradient(point), clean), state


def highest(scores: PyTree, sparsity: float) -> PyTree:
    """Booleans: the ``int((1 - sparsity) n)`` highest of all ``n`` scores >= 0 together; for equal scores the first."""
    leaves, structure = jax.tree.flatten(scores)
    flat = jnp.concatenate([jnp.ravel(leaf) for leaf in leaves]) if leaves else jnp.zeros(0)
    kept = int(round((1.0 - sparsity) * flat.size, 6))
    # The bits of numbers >= 0 are in the order of the numbers. The lowest score that is kept is found bit by bit, the
    # highest first: on a CPU, sorting takes twenty times as long.
    width = jnp.finfo(flat.dtype).bits
    bits = jax.lax.bitcast_convert_type(flat, f"uint{width}")

    def lengthen(i: Int[Array, ""], lowest: Array) -> Array:
        higher = lowest | (jnp.ones_like(lowest) << (width - 1 - i).astype(lowest.dtype))
        return jnp.where(jnp.sum(bits >= higher) >= kept, higher, lowest)

    lowest = jax.lax.fori_loop(0, width, lengthen, jnp.zeros((), bits.dtype))
    above, equal = bits > lowest, bits == lowest
    chosen = above | (equal & (jnp.cumsum(equal) <= kept - jnp.sum(above)))
    sizes = [leaf.size for leaf in leaves]
    parts = jnp.split(chosen, [sum(sizes[: i + 1]) for i in range(len(sizes) - 1)]) if leaves else []
    return structure.unflatten(part.reshape(leaf.shape) for part, leaf in zip(parts, leaves, strict=True))
