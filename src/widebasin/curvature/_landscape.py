"""The loss along one or two directions, for plots."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, PyTree

from widebasin.curvature._flat import (
    Flattening,
    at_least_single,
    checked_chunk_size,
    checked_key,
    compiled,
    is_floating,
)
from widebasin.curvature._krylov import euclidean_norm
from widebasin.curvature._mean_loss import MeanLoss, check_mean_loss, mean_over_chunks

FilterAxis = int | Callable[[str, Any], int]


@dataclass(frozen=True)
class Landscape:
    """The loss around a point.

    Attributes:
        offsets: ``(points,)``, multiples of each direction.
        losses: ``(points,)`` along one direction; ``(points, points)`` along two, ``losses[i, j]`` at ``offsets[i]``
            times the first plus ``offsets[j]`` times the second.
    """

    offsets: np.ndarray
    losses: np.ndarray


def filter_normalized_direction(params: PyTree, *, key: Key[Array, ""], filter_axis: FilterAxis = 0) -> PyTree:
    """A random Gaussian direction in which each filter has the norm of the corresponding filter of the parameters.

    Without this, plots of networks with rescaled layers differ even if the function is the same. Arrays with at most
    one dimension (biases, normalization) get zeros.

    Args:
        params: any pytree.
        key: key for the direction.
        filter_axis: the axis that indexes filters (outputs): 0 if weights are ``(out, in, ...)``, as in Equinox, -1 if
            they are ``(..., in, out)``, as in Flax; or a function of the path (``jax.tree_util.keystr``) and the array.

    Returns:
        The direction in the shapes of the parameters; ``None`` for leaves that are not floating-point arrays.

    Raises:
        ValueError: if an array has no such axis.

    Source: Li et al. 2018 (arXiv 1712.09913).
    """
    with_paths, structure = jax.tree_util.tree_flatten_with_path(params)
    keys = jax.random.split(checked_key(key), max(len(with_paths), 1))
    pieces = []
    for (path, leaf), leaf_key in zip(with_paths, keys, strict=True):
        if not is_floating(leaf):
            pieces.append(None)
        elif leaf.ndim <= 1:
            pieces.append(jnp.zeros_like(leaf))
        else:
            name = jax.tree_util.keystr(path)
            axis = filter_axis(name, leaf) if callable(filter_axis) else filter_axis
            if not -leaf.ndim <= axis < leaf.ndim:
                raise ValueError(f"filter_axis must be an axis of params{name} of shape {leaf.shape}, got {axis}")
            others = tuple(other for other in range(leaf.ndim) if other != axis % leaf.ndim)
            wide = jnp.promote_types(leaf.dtype, jnp.float32)
            random = jax.random.normal(leaf_key, leaf.shape, wide)
            length = euclidean_norm(leaf.astype(wide), others) / euclidean_norm(random, others)
            pieces.append((random * length).astype(leaf.dtype))
    return jax.tree.unflatten(structure, pieces)


def landscape(
    loss_fn: MeanLoss,
    params: PyTree,
    batch: PyTree,
    directions: Sequence[PyTree],
    *,
    span: float = 1.0,
    points: int = 41,
    chunk_size: int | None = None,
) -> Landscape:
    """The mean loss on a grid along one or two directions: ``L(w + a d)`` or ``L(w + a d_1 + b d_2)``.

    Args:
        loss_fn: see ``hessian``.
        params: see ``hessian``.
        batch: see ``hessian``.
        directions: a list of one or two pytrees like the parameters; ``None`` for a leaf means that it does not move.
            From ``filter_normalized_direction``, or eigenvectors, ``operator.direction(vector)``.
        span: offsets run from ``-span`` to ``span``.
        points: number of offsets per direction; an odd number includes 0.
        chunk_size: see ``hessian``.

    Raises:
        ValueError: as ``hessian``; if there are not one or two directions, one does not match the parameters, ``span``
            is not positive or ``points`` is below 2.
    """
    if len(directions) not in (1, 2):
        raise ValueError(f"directions must be a list of one or two pytrees like params, got {len(directions)}")
    if not (math.isfinite(span) and span > 0) or points < 2:
        raise ValueError(f"span must be a finite number > 0 and points at least 2, got {span} and {points}")
    params, batch = at_least_single((params, batch))
    check_mean_loss(loss_fn, params, batch, checked_chunk_size(chunk_size))
    flattening, arrays = Flattening.of(params)
    point = flattening.vector(params)
    along = jnp.stack([flattening.coordinates(direction, point.dtype) for direction in directions])
    offsets = np.linspace(-span, span, points)
    grid = np.stack(np.meshgrid(*[offsets] * len(directions), indexing="ij"), -1)
    coordinates = grid.reshape(-1, len(directions)).astype(point.dtype)
    losses = [_loss(loss_fn, flattening, chunk_size, one, along, point, arrays, batch) for one in coordinates]
    return Landscape(offsets, np.stack(jax.device_get(losses)).astype(np.float64).reshape(grid.shape[:-1]))


@compiled(0, 1, 2)
def _loss(
    loss_fn: MeanLoss,
    flattening: Flattening,
    chunk_size: int | None,
    offsets: np.ndarray | Array,
    along: Array,
    point: Array,
    arrays: list[Array],
    batch: PyTree,
) -> Array:
    params = flattening.params(point + offsets @ along, arrays)
    return mean_over_chunks(loss_fn, params, batch, chunk_size)
