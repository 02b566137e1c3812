"""Weighted sharpness-aware minimization."""

from dataclasses import dataclass, field

from jaxtyping import Array, Float, Key, PyTree

from widebasin.sam._asam import steepest_ascent_point
from widebasin.sam._ascent import combination
from widebasin.sam._batch import Batch
from widebasin.sam._method import Evaluation, Passes, Perturbing, Step, check_number, register_method


@register_method
@dataclass(frozen=True)
class WSAM(Perturbing):
    """Weighted SAM: ``g + gamma / (1 - gamma) (g_s - g)`` with the clean gradient ``g`` and SAM's ``g_s``.

    The gradient of the loss plus ``gamma / (1 - gamma)`` times the sharpness ``L(w + e) - L(w)``. ``gamma = 0`` is SGD,
    ``gamma = 1/2`` is SAM, larger values weight sharpness more. Here one optimizer sees both terms; the paper's
    optimizers apply the sharpness separately from the base optimizer: ``sam.decoupled_wsam``. For plain gradient
    descent both agree.

    Attributes:
        rho: radius >= 0.
        gamma: weight of the sharpness, in [0, 1).
        adaptive: ``True`` uses ASAM's ascent with ``eta = 0``, an option of PyTorch implementations; the paper uses
            SAM's.
        mask: which parameters are perturbed; all by default.
        m: examples per ascent; the whole batch by default.

    Source: Yue et al. 2023, equation 6.
    """

    gamma: float | Float[Array, "..."] = 0.9
    adaptive: bool = field(default=False, kw_only=True, metadata={"static": True})

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("gamma", self.gamma, lambda gamma: 0 <= gamma < 1, "in [0, 1); 0 is SGD, 0.5 is SAM")

    @property
    def passes_per_step(self) -> Passes:
        """Two gradients."""
        return Passes(2.0, 2.0)

    def evaluate(self, batch: Batch, state: PyTree, key: Key[Array, ""] | None, step: Step | None) -> Evaluation:
        """See ``Method.evaluate``."""
        del key, step
        value, clean = batch.clean()
        perturbed = batch.gradient(
            steepest_ascent_point(batch.params, clean, self.rho, self.adaptive, self.mask, self.scales)
        )
        weight = self.gamma / (1.0 - self.gamma)
        return value, batch.guarded(combination(weight, perturbed, 1.0 - weight, clean), clean), state
