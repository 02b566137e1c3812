"""Friendly sharpness-aware minimization."""

import math
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from jaxtyping import Array, Float, Key, PyTree

from widebasin.sam._asam import steepest_ascent_point
from widebasin.sam._ascent import combination, zeros_for
from widebasin.sam._batch import Batch
from widebasin.sam._method import Evaluation, Passes, Perturbing, Step, check_number, register_method


class FriendlySAMState(NamedTuple):
    """State of ``FriendlySAM``.

    Attributes:
        average: moving average of the clean gradients, in the shapes of the parameters.
    """

    average: PyTree


@register_method
@dataclass(frozen=True)
class FriendlySAM(Perturbing):
    """Friendly SAM (F-SAM): the ascent follows the batch gradient minus its moving average.

    ``a_t = decay a_{t-1} + (1 - decay) g_t`` from ``a_0 = 0``, ``d = g_t - sigma a_t``, and the gradient is ``g_B(w +
    rho d / ||d||)``. The average approximates the full gradient, so the ascent follows the batch's noise. ``sigma = 0``
    is SAM.

    Attributes:
        rho: radius >= 0.
        sigma: fraction of the average that is subtracted.
        decay: decay of the average, in [0, 1).
        subtract: ``updated``, the average including this gradient (as in the paper), or ``previous``, the average
            before it (as in PyTorch implementations, which also start from the first gradient). At ``sigma = 1`` both
            give the same direction.
        adaptive: ``True`` uses ASAM's ascent with ``eta = 0``, an option of PyTorch implementations; the paper uses
            SAM's.
        mask: which parameters are perturbed; all by default.
        m: examples per ascent; the whole batch by default.

    Source: Li et al. 2024, algorithm 1.
    """

    sigma: float | Float[Array, "..."] = 1.0
    decay: float | Float[Array, "..."] = 0.9
    subtract: Literal["updated", "previous"] = field(default="updated", kw_only=True, metadata={"static": True})
    adaptive: bool = field(default=False, kw_only=True, metadata={"static": True})

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("sigma", self.sigma, math.isfinite, "a finite number; 0 is SAM")
        check_number("decay", self.decay, lambda decay: 0 <= decay < 1, "in [0, 1)")
        if self.subtract not in ("updated", "previous"):
            raise ValueError(f"subtract must be 'updated' or 'previous', got {self.subtract!r}")

    @property
    def passes_per_step(self) -> Passes:
        """Two gradients."""
        return Passes(2.0, 2.0)

    def init(self, params: PyTree) -> FriendlySAMState:
        """The state with a zero average."""
        return FriendlySAMState(zeros_for(params))

    def evaluate(
        self, batch: Batch, state: FriendlySAMState, key: Key[Array, ""] | None, step: Step | None
    ) -> Evaluation:
        """See ``Method.evaluate``."""
        del key, step
        value, clean = batch.clean()
        average = combination(self.decay, state.average, 1.0 - self.decay, clean)
        subtracted = average if self.subtract == "updated" else state.average
        direction = combination(1.0, clean, -self.sigma, subtracted)
        point = steepest_ascent_point(batch.params, direction, self.rho, self.adaptive, self.mask, self.scales)
        return value, batch.guarded(batch.gradient(point), clean), FriendlySAMState(average)
