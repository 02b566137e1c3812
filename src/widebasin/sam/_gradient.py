"""A drop-in replacement for ``jax.value_and_grad``."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jaxtyping import Array, Float, PyTree

from widebasin.sam._ascent import Mask, Scaling
from widebasin.sam._batch import Batch, average_over_groups
from widebasin.sam._method import is_whole_number, step_of
from widebasin.sam._nnx import refuse_transformation
from widebasin.sam._sam import SAM


def value_and_grad(
    loss_fn: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    *,
    rho: float | Float[Array, ""] = 0.05,
    normalize: bool = True,
    mask: Mask | None = None,
    m: int | None = None,
    scales: Scaling | None = None,
    base: Callable[..., Any] = jax.value_and_grad,
    batch_argnums: int | Sequence[int] | None = None,
    axis_name: str | None = None,
    merge_aux: Callable[[PyTree], PyTree] = average_over_groups,
) -> Callable[..., tuple[Any, PyTree]]:
    """Replaces ``jax.value_and_grad``: the value at ``w``, the gradient at SAM's ascent point.

    Computes ``L(w)`` and ``grad L(w + rho grad L(w) / ||grad L(w)||)`` with two gradients of the same batch.

    Args:
        loss_fn: returns a scalar, or ``(scalar, aux)`` with ``has_aux``.
        argnums: which positional arguments are the parameters; several are perturbed together, under one norm.
        has_aux: as in ``jax.value_and_grad``. ``aux`` (batch-norm statistics, logits) comes from the clean pass.
        rho: the radius; a number or a traced scalar. 0 gives ``jax.value_and_grad``, bit for bit if the gradient is
            finite.
        normalize: ``False`` is unnormalized SAM, as in the theory, with the ascent ``rho * gradient``.
        mask: which parameters are perturbed; all by default. It is called with the gradients as returned: a tuple if
            ``argnums`` names several arguments.
        m: examples per ascent (m-sharpness); the whole batch by default.
        scales: factors of the ascent, layer by layer, see ``Scales``; none by default.
        base: the function that differentiates: anything with the signature of ``jax.value_and_grad``, such as
            ``equinox.filter_value_and_grad``.
        batch_argnums: which arguments contain examples, see ``Method.value_and_grad``; for ``m``.
        axis_name: the mesh axis over which the examples are split in ``jax.shard_map``, see ``Method.value_and_grad``.
        merge_aux: how to merge ``aux`` of several groups, see ``Method.value_and_grad``.

    Returns:
        A function with the arguments of ``loss_fn`` that returns ``(value, gradients)`` or ``((value, aux),
        gradients)``. If a gradient of either pass is not finite, all gradients are NaN.

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
    method = SAM(rho, normalize, mask=mask, m=m, scales=scales)
    if not (is_whole_number(argnums) or isinstance(argnums, Sequence)):
        raise TypeError(
            f"argnums must be an integer or several, got {argnums!r}; pass the radius by name: rho={argnums!r}"
        )
    argnums = tuple(argnums) if isinstance(argnums, Sequence) else int(argnums)
    # equinox.filter_value_and_grad differentiates the first argument and takes no argnums.
    refuse_transformation(base)
    differentiate = base(loss_fn, has_aux=has_aux, **({} if argnums == 0 else {"argnums": argnums}))

    @functools.wraps(loss_fn)
    def value_and_perturbed_gradient(*args: Any, **kwargs: Any) -> tuple[Any, PyTree]:
        batch = Batch.of(
            loss_fn,
            differentiate,
            has_aux,
            args,
            kwargs,
            params_argnums=argnums,
            batch_argnums=batch_argnums,
            axis_name=axis_name,
            merge_aux=merge_aux,
        )
        value, gradients, _ = step_of(method, batch, ())
        return value, gradients

    return value_and_perturbed_gradient
