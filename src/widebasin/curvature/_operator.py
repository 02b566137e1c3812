"""Hessian and Gauss-Newton matrix as linear operators over a data set."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from widebasin.curvature._flat import (
    Flattening,
    NotFiniteError,
    Where,
    at_least_single,
    batch_size,
    checked_chunk_size,
    compiled,
    sum_over_chunks,
)
from widebasin.curvature._mean_loss import MeanLoss, check_mean_loss

Apply = Callable[[Float[Array, " size"], Any], Float[Array, " size"]]


@dataclass(frozen=True, eq=False)
class LinearOperator:
    """A symmetric matrix given by its products with vectors.

    Attributes:
        apply: ``(vector, arguments) -> vector``; the same function for all operators of one kind, so that programs
            using it compile once.
        arguments: parameters and data.
        flattening: conversion between vectors and directions in parameter space.
        dtype: dtype of the vectors.
        support: for a diagonal block, 1 for the coordinates that the matrix acts on and 0 for the others, which are not
            part of its spectrum; ``None`` for all coordinates.
    """

    apply: Apply
    arguments: Any
    flattening: Flattening
    dtype: Any
    support: Float[Array, " size"] | None = None

    @property
    def size(self) -> int:
        """Dimension of the space."""
        return self.flattening.size

    def __matmul__(self, vector: Float[Array, " size"]) -> Float[Array, " size"]:
        """The product with a vector."""
        if vector.shape != (self.size,):
            raise ValueError(f"a vector of shape ({self.size},) is needed, got {vector.shape}")
        return _apply(self.apply, vector.astype(self.dtype), self.arguments)

    def direction(self, vector: Float[Array, " size"]) -> PyTree:
        """A vector in the shapes of the parameters."""
        return self.flattening.direction(vector)

    def dense(self, product: Callable[[Array], Array] | None = None) -> Float[Array, "size size"]:
        """The dense matrix, from one product per column; for small models.

        Args:
            product: function for the product with a vector, for progress reports; by default ``self @ vector``.
        """
        product = self.__matmul__ if product is None else product
        columns = jnp.stack([product(row) for row in jnp.eye(self.size, dtype=self.dtype)])
        return (columns + columns.T) / 2


def finite_products(values: Array | np.ndarray) -> np.ndarray:
    """Converts values computed from products with an operator to double precision.

    Raises:
        NotFiniteError: if they are not finite.
    """
    values = np.asarray(values)
    if not np.isfinite(values).all():
        raise NotFiniteError(
            "products with the operator are not finite: the loss or its derivatives overflow at params"
        )
    return values.astype(np.float64)


@compiled(0)
def _apply(apply: Apply, vector: Array, arguments: Any) -> Array:
    return apply(vector, arguments)


def hessian(
    loss_fn: MeanLoss,
    params: PyTree,
    batch: PyTree,
    *,
    where: Where | None = None,
    chunk_size: int | None = None,
) -> LinearOperator:
    """The Hessian of the mean loss over a batch: a product is a derivative of the gradient along the vector.

    Args:
        loss_fn: ``(params, batch) -> mean loss`` over the examples of the batch. A loss in which examples interact,
            such as batch norm in training mode, is not a mean.
        params: any pytree; floating-point arrays are differentiated, those of half precision as float32.
        batch: any pytree of arrays with the examples along their leading axis; half precision is given as float32.
        where: ``(path, leaf) -> bool``, the arrays to differentiate; the others are constants. Leaves of half precision
            are given to it as float32. The operator is then this diagonal block of the Hessian. Paths are those of
            ``jax.tree_util.keystr``, such as ``.layers[0].weight`` or ``['encoder']['kernel']``. All by default.
        chunk_size: examples at a time; bounds the memory. All at once by default.

    Raises:
        ValueError: if the loss is not scalar, not finite or not the mean over two parts of the examples; if parameters
            are complex or not finite, ``where`` selects none, or the batch has no examples.
    """
    params, batch = at_least_single((params, batch))
    check_mean_loss(loss_fn, params, batch, checked_chunk_size(chunk_size))
    return checked_hessian(loss_fn, params, batch, where=where, chunk_size=chunk_size)


def checked_hessian(
    loss_fn: MeanLoss, params: PyTree, batch: PyTree, *, where: Where | None, chunk_size: int | None
) -> LinearOperator:
    """``hessian`` for a loss already known to be a mean."""
    flattening, arrays = Flattening.of(params, where)
    vector = flattening.vector(params)
    apply = _hessian_apply(loss_fn, flattening, checked_chunk_size(chunk_size))
    return LinearOperator(apply, (vector, arrays, batch), flattening, vector.dtype)


@functools.lru_cache(maxsize=256)
def _hessian_apply(loss_fn: MeanLoss, flattening: Flattening, chunk_size: int | None) -> Apply:
    def apply(vector: Array, arguments: Any) -> Array:
        point, arrays, batch = arguments

        def product(chunk: PyTree) -> Array:
            def gradient(point: Array) -> Array:
                return jax.grad(lambda p: loss_fn(flattening.params(p, arrays), chunk))(point)

            return batch_size(chunk) * jax.jvp(gradient, (point,), (vector,))[1]

        return sum_over_chunks(product, batch, chunk_size, jnp.zeros_like(vector)) / batch_size(batch)

    return apply


def gauss_newton(
    model_fn: Callable[[PyTree, PyTree], PyTree],
    loss_of_outputs: Callable[[PyTree, PyTree], Float[Array, ""]],
    params: PyTree,
    batch: PyTree,
    *,
    where: Where | None = None,
    chunk_size: int | None = None,
) -> LinearOperator:
    """The generalized Gauss-Newton matrix ``J^T (d^2 L / d outputs^2) J`` of a mean loss over a batch.

    It is the Hessian without the curvature of the model itself; if the loss is a negative log-likelihood of an
    exponential family (cross entropy, squared error), it is the Fisher information.

    Args:
        model_fn: ``(params, batch) -> outputs``.
        loss_of_outputs: ``(outputs, batch) -> mean loss``.
        params: see ``hessian``.
        batch: see ``hessian``.
        where: see ``hessian``.
        chunk_size: see ``hessian``.

    Raises:
        ValueError: as ``hessian``.
    """
    params, batch = at_least_single((params, batch))
    check_mean_loss(
        _of_model(model_fn, loss_of_outputs),
        params,
        batch,
        checked_chunk_size(chunk_size),
        "loss_of_outputs(model_fn(params, batch), batch)",
    )
    flattening, arrays = Flattening.of(params, where)
    vector = flattening.vector(params)
    apply = _gauss_newton_apply(model_fn, loss_of_outputs, flattening, checked_chunk_size(chunk_size))
    return LinearOperator(apply, (vector, arrays, batch), flattening, vector.dtype)


@functools.lru_cache(maxsize=256)
def _of_model(model_fn: Callable[..., Any], loss_of_outputs: Callable[..., Any]) -> MeanLoss:
    return lambda params, batch: loss_of_outputs(model_fn(params, batch), batch)


@functools.lru_cache(maxsize=256)
def _gauss_newton_apply(
    model_fn: Callable[..., Any], loss_of_outputs: Callable[..., Any], flattening: Flattening, chunk_size: int | None
) -> Apply:
    def apply(vector: Array, arguments: Any) -> Array:
        point, arrays, batch = arguments

        def product(chunk: PyTree) -> Array:
            def model(point: Array) -> PyTree:
                return model_fn(flattening.params(point, arrays), chunk)

            outputs, tangent = jax.jvp(model, (point,), (vector,))
            gradient = jax.grad(lambda outputs: loss_of_outputs(outputs, chunk))
            _, curved = jax.jvp(gradient, (outputs,), (tangent,))
            _, transposed = jax.vjp(model, point)
            return batch_size(chunk) * transposed(curved)[0]

        return sum_over_chunks(product, batch, chunk_size, jnp.zeros_like(vector)) / batch_size(batch)

    return apply
