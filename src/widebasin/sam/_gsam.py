"""Surrogate gap guided sharpness-aware minimization."""

import math
from dataclasses import dataclass, field

from jaxtyping import Array, Float, Key, PyTree

from widebasin.sam._asam import steepest_ascent_point
from widebasin.sam._ascent import combination, without_projection
from widebasin.sam._batch import Batch
from widebasin.sam._method import Evaluation, Passes, Perturbing, Step, check_number, register_method


@register_method
@dataclass(frozen=True)
class GSAM(Perturbing):
    """Surrogate gap guided SAM: ``g_s - alpha (g - <g, u> u)`` with ``g = g_B(w)``, ``u = g_s / ||g_s||``.

    ``g_s`` is SAM's gradient. Subtracting the part of the clean gradient orthogonal to it lowers the gap between the
    perturbed and the clean loss without raising the perturbed loss. ``alpha = 0`` is SAM. In the paper the radius
    follows the learning rate: see ``sam.radius_schedule``.

    Attributes:
        rho: radius >= 0.
        alpha: weight of the orthogonal part, >= 0.
        adaptive: ``True`` uses ASAM's ascent with ``eta = 0``, an option of PyTorch implementations; the paper uses
            SAM's.
        mask: which parameters are perturbed; all by default. The decomposition is over all parameters.
        m: examples per ascent; the whole batch by default.

    Source: Zhuang et al. 2022, algorithm 1.
    """

    alpha: float | Float[Array, "..."] = 0.1
    adaptive: bool = field(default=False, kw_only=True, metadata={"static": True})

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("alpha", self.alpha, lambda alpha: 0 <= alpha < math.inf, "a finite number >= 0; 0 is SAM")

    @property
    def passes_per_step(self) -> Passes:
        """Two gradients."""
        return Passes(2.0, 2.0)

    def evaluate(self, batch: Batch, state: PyTree, key: Key[Array, ""] | None, step: Step | None) -> Evaluation:
        """See ``Method.evaluate``."""
        del key, step
        value, clean = batch.clean()
        point = steepest_ascent_point(batch.params, clean, self.rho, self.adaptive, self.mask, self.scales)
        perturbed = batch.gradient(point)
        gradients = combination(1.0, perturbed, -self.alpha, without_projection(clean, perturbed))
        return value, batch.guarded(gradients, clean), state
