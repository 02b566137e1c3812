"""Sharpness-aware minimization."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import jax
from jaxtyping import Array, Float, PyTree

from widebasin.sam._gradient import value_and_grad
from widebasin.sam._method import Gradient, Mask, check_mask, check_radius


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class SAM:
    """Sharpness-aware minimization: ``g_B(w + rho g_B(w) / ||g_B(w)||)``, the same batch twice.

    Attributes:
        rho: radius >= 0; a number or a traced scalar (a leaf of the method's pytree).
        normalize: ``False`` is the unnormalized SAM of the theory, ``g_B(w + rho g_B(w))``.
        mask: which parameters are perturbed; all by default.

    Source: Foret et al. 2021.

    Example:
        >>> import jax.numpy as jnp
        >>> from widebasin import sam
        >>> method = sam.SAM(rho=0.5, normalize=False)
        >>> w = jnp.array([1.0, 2.0])
        >>> value, gradient, state = method.value_and_grad(lambda w: 0.5 * jnp.sum(w**2))(w, method.init(w))
        >>> gradient.tolist()
        [1.5, 3.0]
    """

    gradients_per_step: ClassVar[float] = 2.0

    rho: float | Float[Array, "..."] = 0.05
    normalize: bool = field(default=True, metadata={"static": True})
    mask: Mask | None = field(default=None, metadata={"static": True})

    def __post_init__(self) -> None:
        check_radius(self.rho)
        check_mask(self.mask)

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
        differentiate = value_and_grad(
            loss_fn, has_aux=has_aux, rho=self.rho, normalize=self.normalize, mask=self.mask, base=base
        )

        def gradient(params: PyTree, state: PyTree, *args: Any, key: Any = None) -> tuple[Any, PyTree, PyTree]:
            del key
            return *differentiate(params, *args), state

        return gradient
