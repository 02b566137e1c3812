"""Differentiating functions for the argument ``base``: with bounded memory, with weight decay in every pass."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from widebasin.sam._ascent import Mask, masked, widened
from widebasin.sam._batch import (
    average_over_groups,
    example_positions,
    refuse_keyword_examples,
    scaled,
    without_integers,
)
from widebasin.sam._method import check_count, check_mask, check_number
from widebasin.sam._nnx import refuse_transformation


def microbatched(
    size: int,
    base: Callable[..., Any] = jax.value_and_grad,
    *,
    batch_argnums: int | Sequence[int] | None = None,
    merge_aux: Callable[[PyTree], PyTree] = average_over_groups,
    group_weight: Callable[[PyTree], Any] | None = None,
) -> Callable[..., Any]:
    """Gradient accumulation: the gradient of a batch, ``size`` examples at a time, in the memory of ``size`` examples.

    For a loss that is a mean over examples, value and gradient are those of the whole batch up to rounding. So
    ``SAM(rho).value_and_grad(loss_fn, base=sam.microbatched(32))`` ascends along the gradient of the whole batch, and
    accumulates both passes. (m-sharpness is different: ``m`` changes what is computed, ``size`` only how.)

    Args:
        size: examples at a time; must divide the batch (with ``m``, the group of ``m``; with ``ESAM``, also the number
            of examples it selects). A smaller batch is not split.
        base: the function that differentiates each part.
        batch_argnums: which arguments of the loss contain examples; by default all except the parameters.
        merge_aux: from ``aux`` with a leading axis over parts to ``aux``; averages by default.
        group_weight: ``aux -> weight`` of a part, if the loss is a weighted mean; see ``Method.value_and_grad``.

    Returns:
        A function with the signature of ``jax.value_and_grad``.
    """
    check_count("size", size)
    refuse_transformation(base)

    def weight_of(value: Any) -> Float[Array, ""]:
        assert group_weight is not None
        return jnp.asarray(group_weight(value[1]), float)

    def transform(
        loss_fn: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False, **options: Any
    ) -> Callable[..., Any]:
        if group_weight is not None and not has_aux:
            raise ValueError("group_weight needs the auxiliary data of the loss: set has_aux=True")
        positions = (argnums,) if isinstance(argnums, int) else tuple(argnums)
        options = options | ({} if argnums == 0 else {"argnums": argnums})
        differentiate = without_integers(base(loss_fn, has_aux=has_aux, **options))

        def accumulated(*args: Any, **kwargs: Any) -> tuple[Any, PyTree]:
            places = example_positions(batch_argnums, len(args), positions)
            examples = [args[i] for i in places]
            lengths = {jnp.shape(leaf)[0] for leaf in jax.tree.leaves(examples) if jnp.shape(leaf)}
            if len(lengths) != 1 or any(not jnp.shape(leaf) for leaf in jax.tree.leaves(examples)):
                raise ValueError(
                    "microbatched needs arguments whose leaves all have the examples along their leading axis, got "
                    f"lengths {sorted(lengths)}; name them by batch_argnums="
                )
            total = lengths.pop()
            if 0 < total <= size:
                return differentiate(*args, **kwargs)
            refuse_keyword_examples(kwargs, total)
            count, rest = divmod(total, size)
            if rest or not count:
                raise ValueError(f"size = {size} must divide the batch of {total} examples")

            def part(index: Any) -> tuple[Any, PyTree]:
                def cut(leaf: Any) -> Array:
                    return jax.lax.dynamic_slice_in_dim(jnp.asarray(leaf), index * size, size)

                placed = list(args)
                for i, tree in zip(places, examples, strict=True):
                    placed[i] = jax.tree.map(cut, tree)
                value, gradients = differentiate(*placed, **kwargs)
                gradients = jax.tree.map(widened, gradients)
                return value, gradients if group_weight is None else scaled(gradients, weight_of(value))

            def add(total: PyTree, index: Any) -> tuple[PyTree, Any]:
                value, gradients = part(index)
                return jax.tree.map(jnp.add, total, gradients), value

            value, first = part(0)
            summed, values = jax.lax.scan(add, first, jnp.arange(1, count))
            values = jax.tree.map(lambda one, more: jnp.concatenate([jnp.asarray(one)[None], more]), value, values)
            like = jax.eval_shape(lambda: differentiate(*args, **kwargs)[1])
            losses = values[0] if has_aux else values
            if group_weight is None:
                loss, divisor = losses.mean(0), count
            else:
                weights = jax.vmap(weight_of)(values)
                # Where nothing is weighed, the sums are 0 and stay it.
                divisor = jnp.where(weights.sum() == 0, 1, weights.sum())
                loss = (losses * weights).sum() / divisor
            gradients = jax.tree.map(lambda t, g: (t / divisor).astype(g.dtype), summed, like)
            merged = (loss, merge_aux(values[1])) if has_aux else loss
            return merged, gradients

        return accumulated

    return transform


def decayed(
    coefficient: float | Float[Array, ""],
    base: Callable[..., Any] = jax.value_and_grad,
    *,
    mask: Mask | None = None,
) -> Callable[..., Any]:
    """Weight decay inside the perturbation: every gradient is ``grad L(w) + coefficient * w``, wherever it is taken.

    This is as if ``coefficient / 2 ||w||^2`` were part of the loss, except that the value is that of the loss alone. So
    the ascent follows the decay as well, and the final gradient decays the perturbed parameters. For weight decay
    outside the perturbation, on the clean parameters after SAM's gradient, use the optimizer:
    ``optax.add_decayed_weights``. Apply it outside of ``DynamicLossScale.scaled``.

    Args:
        coefficient: >= 0; may be traced.
        base: the function that differentiates the loss.
        mask: which parameters decay; all by default.

    Returns:
        A function with the signature of ``jax.value_and_grad``.
    """
    check_number("coefficient", coefficient, lambda c: 0 <= c < math.inf, "a finite number >= 0")
    check_mask(mask)
    refuse_transformation(base)

    def transform(
        loss_fn: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False, **options: Any
    ) -> Callable[..., Any]:
        options = options | ({} if argnums == 0 else {"argnums": argnums})
        differentiate = without_integers(base(loss_fn, has_aux=has_aux, **options))

        def with_decay(*args: Any, **kwargs: Any) -> tuple[Any, PyTree]:
            value, gradients = differentiate(*args, **kwargs)
            params = args[argnums] if isinstance(argnums, int) else tuple(args[i] for i in argnums)
            like = jax.tree.map(
                lambda g, p: None if g is None else jnp.asarray(p), gradients, params, is_leaf=lambda leaf: leaf is None
            )
            decay = masked(like, mask)
            return value, jax.tree.map(lambda g, p: (g + coefficient * jnp.conj(p)).astype(g.dtype), gradients, decay)

        return with_decay

    return transform
