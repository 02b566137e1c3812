"""The gradient at the ascent point."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

from widebasin.sam._method import Mask, check_mask, check_radius

# The published code's guard: the ascent of a zero gradient is zero, not 0 / 0.
SMALLEST_NORM = 1e-12


def ascent_point(
    params: PyTree,
    gradients: PyTree,
    rho: float | Float[Array, ""],
    *,
    normalize: bool = True,
    mask: Mask | None = None,
) -> PyTree:
    """Where SAM takes its gradient: ``w + rho g / max(||g||, 1e-12)``, or ``w + rho g`` unnormalized.

    The norm is the Euclidean norm over all leaves together, accumulated in at least float32.

    Args:
        params: any pytree ``w``.
        gradients: ``g``, of the structure of ``params``; ``None`` at a leaf that is not differentiated, which stays.
        rho: radius, in the units of the parameters (normalized) or of a step size (unnormalized).
        normalize: whether the ascent has length ``rho`` whatever the gradient's length.
        mask: which parameters move; norm and ascent are those of the gradient's masked part.

    Returns:
        The perturbed parameters, every leaf in its own dtype.

    Source: Foret et al. 2021, equation 2; Andriushchenko & Flammarion 2022 (unnormalized).
    """
    if mask is not None:
        gradients = jax.tree.map(
            lambda keep, branch: jax.tree.map(lambda g: jnp.where(keep, g, jnp.zeros_like(g)), branch),
            mask(gradients),
            gradients,
        )
    if not jax.tree.leaves(gradients):
        return params
    norm = optax.tree.norm(jax.tree.map(_widen, gradients))
    rho = jnp.asarray(rho, norm.dtype)
    scale = rho / jnp.maximum(norm, SMALLEST_NORM) if normalize else rho

    def ascend(g: Array | None, p: Any) -> Any:
        if g is None:
            return p
        wide = _widen(g)
        # JAX's gradient of a real function of complex numbers is the conjugate of the direction of ascent.
        return (jnp.asarray(p, wide.dtype) + scale.astype(wide.dtype) * jnp.conj(wide)).astype(g.dtype)

    return jax.tree.map(ascend, gradients, params, is_leaf=lambda leaf: leaf is None)


def _widen(gradient: Array) -> Array:
    return gradient.astype(jnp.float32) if jnp.finfo(gradient.dtype).bits < 32 else gradient


def value_and_grad(
    loss_fn: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    *,
    rho: float | Float[Array, ""] = 0.05,
    normalize: bool = True,
    mask: Mask | None = None,
    base: Callable[..., Any] = jax.value_and_grad,
) -> Callable[..., tuple[Any, PyTree]]:
    """Takes the place of ``jax.value_and_grad``: the value at ``w``, the gradient at SAM's ascent point.

    Computes ``L(w)`` and ``grad L(w + rho grad L(w) / ||grad L(w)||)`` with two gradients of the same batch.

    Args:
        loss_fn: returns a scalar, or ``(scalar, aux)`` with ``has_aux``.
        argnums: which positional arguments are the parameters; several are perturbed together, under one norm.
        has_aux: as in ``jax.value_and_grad``. ``aux`` (batch-norm statistics, logits) is that of the clean pass.
        rho: the radius; a number or a traced scalar. 0 gives ``jax.value_and_grad``, bit for bit
            wherever the gradient is finite.
        normalize: ``False`` is the unnormalized SAM of the theory, with the ascent ``rho * gradient``.
        mask: which parameters are perturbed; all by default.
        base: the function that differentiates: anything with the signature of ``jax.value_and_grad``, such as
            ``equinox.filter_value_and_grad``.

    Returns:
        A function with the arguments of ``loss_fn`` that returns ``(value, gradients)`` or
        ``((value, aux), gradients)``.

    Raises:
        ValueError: if ``rho`` is a negative or non-finite Python number.

    Example:
        >>> import jax.numpy as jnp
        >>> from widebasin import sam
        >>> loss = lambda w: 0.5 * jnp.sum(w**2)
        >>> value, gradient = sam.value_and_grad(loss, rho=0.5)(jnp.array([3.0, 4.0]))
        >>> float(value), [round(float(g), 3) for g in gradient]
        (12.5, [3.3, 4.4])
    """
    check_radius(rho)
    check_mask(mask)
    if not isinstance(argnums, (int, Sequence)):
        raise TypeError(
            f"argnums must be an integer or several, got {argnums!r}; give the radius by name: rho={argnums!r}"
        )
    single = isinstance(argnums, int)
    positions = (argnums,) if isinstance(argnums, int) else tuple(argnums)
    # equinox.filter_value_and_grad differentiates the first argument and takes no argnums.
    differentiate = base(loss_fn, has_aux=has_aux, **({} if argnums == 0 else {"argnums": argnums}))

    @functools.wraps(loss_fn)
    def value_and_perturbed_gradient(*args: Any, **kwargs: Any) -> tuple[Any, PyTree]:
        value, gradients = differentiate(*args, **kwargs)
        params = tuple(args[i] for i in positions)
        moved = ascent_point(
            params,
            (gradients,) if single else tuple(gradients),
            rho,
            normalize=normalize,
            mask=_on_tuple(mask, single),
        )
        perturbed = list(args)
        for i, branch in zip(positions, moved, strict=True):
            perturbed[i] = branch
        _, gradients = differentiate(*perturbed, **kwargs)
        return value, gradients

    return value_and_perturbed_gradient


def _on_tuple(mask: Mask | None, single: bool) -> Mask | None:
    if mask is None or not single:
        return mask
    return lambda gradients: (mask(gradients[0]),)
