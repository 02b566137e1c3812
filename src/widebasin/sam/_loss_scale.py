"""Dynamic loss scaling, for gradients in float16."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

from widebasin.sam._ascent import norm, wide_dtype, widened
from widebasin.sam._batch import without_integers
from widebasin.sam._method import check_count, check_number
from widebasin.sam._nnx import refuse_transformation


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class DynamicLossScale:
    """A factor on the loss that keeps float16 gradients from vanishing, in every pass of a method.

    Gradients are those of ``scale * loss``, divided by ``scale`` in float32. A step whose gradients are not finite, in
    either pass, halves the scale and is skipped; ``growth_interval`` finite steps in a row double it. bfloat16 needs no
    scale: it has the range of float32.

    Attributes:
        scale: the current factor.
        finite_steps: finite steps since the scale last changed.
        growth_interval: finite steps before the scale is doubled.
        largest: maximum of the scale.

    Source: Micikevicius et al. 2018.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from widebasin import sam
        >>> loss_scale = sam.DynamicLossScale.starting_at(2.0**15)
        >>> loss = lambda w: jnp.sum(w.astype(jnp.float16) ** 2).astype(jnp.float32)
        >>> value_and_grad = sam.value_and_grad(loss, rho=0.05, base=loss_scale.scaled())
        >>> value, gradients = value_and_grad(jnp.array([1.0, 2.0]))
        >>> finite, loss_scale = loss_scale.adjusted(gradients)
        >>> bool(finite), float(value), float(loss_scale.scale)
        (False, 5.0, 16384.0)
    """

    scale: Float[Array, ""]
    finite_steps: Int[Array, ""]
    growth_interval: int = field(default=2000, metadata={"static": True})
    largest: float = field(default=2.0**24, metadata={"static": True})

    @classmethod
    def starting_at(cls, scale: float = 2.0**15, growth_interval: int = 2000) -> "DynamicLossScale":
        """A scale to start with.

        Raises:
            ValueError: if the scale is below 1 or the interval below 1.
        """
        check_number("scale", scale, lambda factor: 1 <= factor < math.inf, "a finite number of at least 1")
        check_count("growth_interval", growth_interval)
        return cls(jnp.asarray(scale, jnp.float32), jnp.zeros((), jnp.int32), growth_interval)

    def scaled(self, base: Callable[..., Any] = jax.value_and_grad) -> Callable[..., Any]:
        """A function with the signature of ``jax.value_and_grad`` that scales the loss before, and unscales after.

        Value and gradients are returned in at least float32.
        """
        refuse_transformation(base)

        def transform(
            loss_fn: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False, **options: Any
        ) -> Callable[..., Any]:
            def scale_for(leaf: Array) -> Array:
                return self.scale.astype(jnp.finfo(wide_dtype(leaf.dtype)).dtype)

            def scaled(loss: Array) -> Array:
                return widened(loss) * scale_for(loss)

            def scaled_loss(*args: Any, **kwargs: Any) -> Any:
                output = loss_fn(*args, **kwargs)
                return (scaled(output[0]), output[1]) if has_aux else scaled(output)

            options = options | ({} if argnums == 0 else {"argnums": argnums})
            differentiate = without_integers(base(scaled_loss, has_aux=has_aux, **options))

            def unscaled(*args: Any, **kwargs: Any) -> tuple[Any, PyTree]:
                value, gradients = differentiate(*args, **kwargs)
                # Powers of two divide exactly.
                loss = value[0] if has_aux else value
                loss = loss / scale_for(loss)
                return (loss, value[1]) if has_aux else loss, jax.tree.map(
                    lambda g: widened(g) / scale_for(g), gradients
                )

            return unscaled

        return transform

    def adjusted(self, gradients: PyTree) -> tuple[Bool[Array, ""], "DynamicLossScale"]:
        """Whether a method's gradients are finite, and the scale for the next step."""
        finite = all_finite(gradients)
        grow = finite & (self.finite_steps + 1 >= self.growth_interval)
        scale = jnp.where(
            finite,
            jnp.where(grow, jnp.minimum(self.scale * 2, self.largest), self.scale),
            jnp.maximum(self.scale / 2, 1.0),
        )
        steps = jnp.where(finite & ~grow, self.finite_steps + 1, 0)
        return finite, dataclasses.replace(self, scale=scale, finite_steps=steps)


def all_finite(gradients: PyTree) -> Bool[Array, ""]:
    """Whether the gradients of a method are finite (and their norm is, in at least float32)."""
    return jnp.isfinite(norm(gradients))


def keep_if(finite: Bool[Array, ""], new: PyTree, old: PyTree) -> PyTree:
    """``new`` if a step is finite, else ``old``: skips a step in a compiled loop. Leaves that are not arrays are kept.

    Example:
        >>> import jax.numpy as jnp
        >>> from widebasin import sam
        >>> sam.keep_if(jnp.array(False), {"w": jnp.array(jnp.nan)}, {"w": jnp.array(3.0)})["w"].item()
        3.0
    """

    def choose(new: Any, old: Any) -> Any:
        return jnp.where(finite, new, old) if hasattr(new, "dtype") else new

    return jax.tree.map(choose, new, old)
