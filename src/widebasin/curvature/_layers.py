"""Curvature per layer: the diagonal blocks of the Hessian."""

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree

from widebasin.curvature._eigenvalues import Eigenpairs, eigenpairs
from widebasin.curvature._flat import checked_key, is_floating
from widebasin.curvature._mean_loss import MeanLoss
from widebasin.curvature._operator import Apply, LinearOperator, hessian
from widebasin.curvature._trace import Trace, trace_of


@dataclass(frozen=True)
class LayerCurvature:
    """The curvature of the loss in the parameters of one layer, with the others fixed.

    Attributes:
        num_params: number of parameters of the layer.
        top: the largest eigenvalues of its block of the Hessian. Eigenvectors have an entry for every parameter of the
            network, 0 in other layers.
        trace: trace of its block. The traces of all layers add up to the trace of the Hessian.
    """

    num_params: int
    top: Eigenpairs
    trace: Trace


def by_layer(
    loss_fn: MeanLoss,
    params: PyTree,
    batch: PyTree,
    *,
    key: Key[Array, ""],
    layers: Callable[[str], str] | None = None,
    k: int = 1,
    tolerance: float = 1e-3,
    most_products: int = 1000,
    probes: int = 32,
    chunk_size: int | None = None,
) -> dict[str, LayerCurvature]:
    """The diagonal blocks of the Hessian of the mean loss, one per layer: largest eigenvalues and trace.

    The largest eigenvalue of a block is at most that of the whole Hessian. All layers share their programs: a product
    with a block is a product with the Hessian, restricted to the layer. For a single layer of a large network,
    ``where`` in ``top_eigenvalues`` and ``trace`` needs less memory and time.

    Args:
        loss_fn: see ``hessian``.
        params: see ``hessian``.
        batch: see ``hessian``.
        key: key for the probes of the traces.
        layers: path of an array (``jax.tree_util.keystr``) -> name of its layer. Arrays with the same name form one
            block: ``lambda path: path.rpartition("[")[0]`` joins ``['first']['kernel']`` and ``['first']['bias']``. By
            default each array is its own layer.
        k: number of eigenvalues per layer, at most its number of parameters.
        tolerance: see ``eigenpairs``.
        most_products: see ``eigenpairs``, for each layer.
        probes: see ``trace``.
        chunk_size: see ``hessian``.

    Returns:
        Name -> curvature, in the order of the parameters; a layer without any is left out.

    Raises:
        ValueError: as ``hessian``, ``eigenpairs`` and ``trace``.
    """
    whole = hessian(loss_fn, params, batch, chunk_size=chunk_size)
    with_paths = jax.tree_util.tree_leaves_with_path(params)
    arrays = [(jax.tree_util.keystr(path), leaf) for path, leaf in with_paths if is_floating(leaf)]
    names = [path if layers is None else layers(path) for path, _ in arrays]
    different = list(dict.fromkeys(name for name, (_, leaf) in zip(names, arrays, strict=True) if leaf.size))
    found = {}
    for name, layer_key in zip(different, jax.random.split(checked_key(key), len(different)), strict=True):
        supports = [
            jnp.full(leaf.size, other == name, whole.dtype) for other, (_, leaf) in zip(names, arrays, strict=True)
        ]
        block = _block(whole, jnp.concatenate(supports))
        num_params = sum(leaf.size for other, (_, leaf) in zip(names, arrays, strict=True) if other == name)
        found[name] = LayerCurvature(
            num_params,
            eigenpairs(block, min(k, num_params), tolerance=tolerance, most_products=most_products),
            trace_of(block, key=layer_key, probes=probes),
        )
    return found


def _block(operator: LinearOperator, support: Array) -> LinearOperator:
    arguments = (operator.arguments, support)
    return dataclasses.replace(operator, apply=_block_apply(operator.apply), arguments=arguments, support=support)


@functools.lru_cache(maxsize=256)
def _block_apply(apply: Apply) -> Apply:
    def of_block(vector: Array, arguments: Any) -> Array:
        inner, support = arguments
        return support * apply(support * vector, inner)

    return of_block
