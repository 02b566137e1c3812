"""Single-shot network pruning (SNIP)."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Int, PyTree

from widebasin.sparsity._lowest import checked_counts, lowest
from widebasin.sparsity._masks import mask_of
from widebasin.sparsity._prunable import Which, layers_to_prune, prunable


def snip_scores(loss_fn: Callable[..., Float[Array, ""]], params: PyTree, *args: Any) -> PyTree:
    """``|w dL/dw|``: the first-order change of the loss per fraction of a weight that is removed.

    It is the magnitude of the derivative of ``L(c w)`` with respect to ``c`` at 1, entry by entry; of complex weights,
    for a real ``c``, ``|Re(w g)|`` with JAX's gradient ``g``.

    Args:
        loss_fn: the loss of one batch, ``loss_fn(params, *args)``.
        params: a pytree of floating-point or complex arrays, at initialization.
        *args: the batch.

    Returns:
        Scores with the structure and shapes of ``params``, in at least float32.

    Source: Lee et al. 2019, "SNIP: Single-shot Network Pruning based on Connection Sensitivity" (arXiv 1810.02340).
    """
    return jax.tree.map(_saliency, params, jax.grad(loss_fn)(params, *args))


def snip_mask(
    params: PyTree, gradients: PyTree, pruned: int | Int[Array | np.ndarray, ""], which: Which = prunable
) -> PyTree:
    """Prunes the weights with the lowest scores ``|w dL/dw|`` over all layers together.

    Among equal scores, the first are pruned, in the order of leaves and entries, so the count is exact even if many
    scores are 0. A mask with a greater count prunes a superset.

    Args:
        params: a pytree ``w``, at initialization.
        gradients: ``dL/dw`` of one training batch; ``None`` at leaves that are not differentiated.
        pruned: number of weights to prune, from ``pruned_in_total``; may be traced.
        which: the layers to prune, as given to ``pruned_in_total``.

    Returns:
        A mask like that of ``random_mask``. Within ``jax.jit``, which cannot raise errors, scores that are not finite
        rank above all others: these weights are pruned last.

    Raises:
        ValueError: outside ``jax.jit``, if a score is not finite: the gradient of a loss that overflowed or is NaN does
            not tell which weights matter. If ``pruned`` is out of range.
        TypeError: if ``pruned`` is no whole number.

    Source: Lee et al. 2019 (arXiv 1810.02340), equation 6; the scores' common factor does not change their order.
    """
    flags = layers_to_prune(params, which)
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(params)]
    weights, structure = jax.tree.flatten(params)
    try:
        slopes = structure.flatten_up_to(gradients)
    except ValueError as error:
        raise ValueError(f"gradients must have the structure of params: {error}") from error
    scores = []
    for path, flag, weight, slope in zip(paths, flags, weights, slopes, strict=True):
        if not flag:
            continue
        if slope is None:
            raise ValueError(f"gradients has None at {path}, which would be pruned; differentiate it or exclude it")
        score = jnp.ravel(_saliency(weight, slope))
        if not isinstance(score, Tracer) and not np.isfinite(np.asarray(score)).all():
            raise ValueError(
                f"the SNIP scores of {path} are not finite; check the loss on this batch, or scale half precision"
            )
        scores.append(score)
    widest = max((score.dtype for score in scores), key=lambda dtype: dtype.itemsize)
    flat = jnp.concatenate([score.astype(widest) for score in scores])
    # The bits of numbers >= 0 are in the order of the numbers; infinity and NaN come after all of them.
    bits = jax.lax.bitcast_convert_type(flat, f"uint{8 * widest.itemsize}")
    ends = np.cumsum([score.size for score in scores])
    count = checked_counts(jnp.asarray(pruned), [int(ends[-1])])
    return mask_of(params, flags, jnp.split(lowest(bits, count), ends[:-1]))


def _saliency(weight: Array, slope: Array) -> Array:
    wide = jnp.float32 if jnp.finfo(weight.dtype).bits < 32 else weight.dtype
    return jnp.abs(jnp.real(jnp.asarray(weight, wide) * jnp.asarray(slope, wide)))
