"""Sharpness-aware minimization, and its ascent in several steps."""

from dataclasses import dataclass, field
from typing import ClassVar

from jaxtyping import Array, Key, PyTree

from widebasin.sam._ascent import ascent_point
from widebasin.sam._batch import Batch
from widebasin.sam._method import Evaluation, Passes, Perturbing, Step, check_count, register_method


@register_method
@dataclass(frozen=True)
class SAM(Perturbing):
    """Sharpness-aware minimization: ``g_B(w + rho g_B(w) / ||g_B(w)||)``, the same batch twice.

    Attributes:
        rho: radius >= 0; a number or a traced scalar (a leaf of the method's pytree).
        normalize: ``False`` is unnormalized SAM, as in the theory, ``g_B(w + rho g_B(w))``.
        mask: which parameters are perturbed; all by default.
        m: examples per ascent; the whole batch by default.

    Source: Foret et al. 2021; Andriushchenko & Flammarion 2022 (unnormalized, and m-sharpness).

    Example:
        >>> import jax.numpy as jnp
        >>> from widebasin import sam
        >>> method = sam.SAM(rho=0.5, normalize=False)
        >>> w = jnp.array([1.0, 2.0])
        >>> value, gradient, state = method.value_and_grad(lambda w: 0.5 * jnp.sum(w**2))(w, method.init(w))
        >>> gradient.tolist()
        [1.5, 3.0]
    """

    takes_ascent_loss: ClassVar[bool] = True
    normalize: bool = field(default=True, metadata={"static": True})

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.normalize, bool):
            raise TypeError(f"normalize must be True or False, got {self.normalize!r}")

    @property
    def passes_per_step(self) -> Passes:
        """Two gradients."""
        return Passes(2.0, 2.0)

    def evaluate(self, batch: Batch, state: PyTree, key: Key[Array, ""] | None, step: Step | None) -> Evaluation:
        """See ``Method.evaluate``."""
        del key, step
        value, clean = batch.ascent()
        point = ascent_point(
            batch.params, clean, self.rho, normalize=self.normalize, mask=self.mask, scales=self.scales
        )
        return value, batch.guarded(batch.gradient(point), clean), state


@register_method
@dataclass(frozen=True)
class MultiStepSAM(Perturbing):
    """SAM with an ascent of several steps, each of length ``rho / steps`` along the gradient at its start.

    ``w_0 = w``, ``w_{i+1} = w_i + (rho / steps) g_B(w_i) / ||g_B(w_i)||``, and the gradient is ``g_B(w_steps)``. The
    path has length ``rho``, so its end is in the ball of radius ``rho``. ``steps = 1`` is ``SAM``.

    Attributes:
        rho: length of the ascent's path >= 0.
        steps: number of ascent steps; a training step costs ``steps + 1`` gradients.
        mask: which parameters are perturbed; all by default.
        m: examples per ascent; the whole batch by default.

    Source: Foret et al. 2021, appendix; Andriushchenko & Flammarion 2022.
    """

    steps: int = field(default=2, metadata={"static": True})

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("steps", self.steps)

    @property
    def passes_per_step(self) -> Passes:
        """One gradient more than the number of ascent steps."""
        return Passes(self.steps + 1, self.steps + 1)

    def evaluate(self, batch: Batch, state: PyTree, key: Key[Array, ""] | None, step: Step | None) -> Evaluation:
        """See ``Method.evaluate``."""
        del key, step
        value, gradients = batch.clean()
        point = batch.params
        for _ in range(self.steps):
            point = ascent_point(point, gradients, self.rho / self.steps, mask=self.mask, scales=self.scales)
            gradients = batch.guarded(batch.gradient(point), gradients)
        return value, gradients, state
