"""The point where the second gradient is taken."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

Mask = Callable[[PyTree], PyTree]
"""Selects parameters: a function of the gradients (the structure of the parameters) that returns booleans, or arrays of
booleans, of the same structure or a prefix of it. Example, weights but not biases:
``lambda gradients: jax.tree.map(lambda g: g.ndim > 1, gradients)``. See also ``by_path`` and ``by_dimensions``."""


class Scales(NamedTuple):
    """Factors of the ascent for every layer: it becomes ``rho a * g / ||b * g||``, entry by entry.

    Attributes:
        numerator: ``a``, how far a layer moves: a number, an array that can be multiplied with a leaf, or a pytree of
            these with the structure of the gradients or a prefix of it.
        norm: ``b``, how much a layer counts in the norm, likewise. With ``a = b^2`` the ascent is steepest among all
            steps ``d`` with ``||d / b|| = rho``: SAM in the coordinates ``w / b``.
        size: the size that the weights of a layer usually have, likewise: ``eta`` of ASAM is in units of it.

    Source: layerwise perturbation scaling, Haas et al. 2024 (arXiv 2411.00075).
    """

    numerator: PyTree = 1.0
    norm: PyTree = 1.0
    size: PyTree = 1.0


Scaling = Callable[[PyTree], Scales]
"""Factors of the ascent: a function of the gradients (the structure of the parameters) that returns ``Scales``.
Example, biases do not count in the norm: ``lambda gradients: Scales(norm=jax.tree.map(lambda g: g.ndim > 1,
gradients))``. See also ``widebasin.parametrization``, which makes the scales of muP^2."""

# The published code's guard: the ascent of a zero gradient is zero, not 0 / 0.
SMALLEST_NORM = 1e-12


def ascent_point(
    params: PyTree,
    gradients: PyTree,
    rho: float | Float[Array, ""],
    *,
    normalize: bool = True,
    mask: Mask | None = None,
    scales: Scaling | None = None,
) -> PyTree:
    """Where SAM takes its gradient: ``w + rho g / max(||g||, 1e-12)``, or ``w + rho g`` unnormalized.

    With scales ``a`` and ``b`` it is ``w + rho a * g / max(||b * g||, 1e-12)``, or ``w + rho a * g``.

    The norm is the Euclidean norm over all leaves together, accumulated in at least float32.

    Args:
        params: any pytree ``w``.
        gradients: ``g``, with the structure of ``params``; ``None`` at leaves that are not differentiated and do not
            move.
        rho: radius, in the units of the parameters (normalized) or of a step size (unnormalized).
        normalize: whether the ascent has length ``rho``, whatever the length of the gradient.
        mask: which parameters move; norm and ascent are those of the gradient's masked part.
        scales: factors of the ascent, layer by layer; none by default.

    Returns:
        The perturbed parameters, every leaf in its own dtype.

    Source: Foret et al. 2021, equation 2; Andriushchenko & Flammarion 2022 (unnormalized).
    """
    gradients = masked(gradients, mask)
    if not jax.tree.leaves(gradients):
        return params
    direction, length = scaled(gradients, gradients, scales)
    return moved(params, direction, rho / at_least_smallest(length) if normalize else rho)


def scaled(direction: PyTree, measured: PyTree, scales: Scaling | None) -> tuple[PyTree, Float[Array, ""]]:
    """``a * direction`` and ``||b * measured||`` with the factors of the scales, both 1 without them."""
    if scales is None:
        return direction, norm(measured)
    factors = scales(direction)
    if not isinstance(factors, Scales):
        raise TypeError(f"scales must return sam.Scales(numerator, norm), and returned {type(factors).__name__}")
    return times(factors.numerator, direction), norm(times(factors.norm, measured))


def times(factors: PyTree, tree: PyTree) -> PyTree:
    """A tree times factors for its leaves or branches, in at least float32."""

    def product(factor: Any, leaf: Array) -> Array:
        wide = widened(leaf)
        return wide * jnp.asarray(factor, jnp.finfo(wide.dtype).dtype)

    return jax.tree.map(lambda factor, branch: jax.tree.map(lambda leaf: product(factor, leaf), branch), factors, tree)


def moved(params: PyTree, direction: PyTree, scale: Float[Array, ""] | float) -> PyTree:
    """``w + scale conj(direction)``, computed in at least float32 and the dtype of ``w``, in which every leaf stays.

    JAX's gradient of a real function of complex numbers is the conjugate of the direction of ascent.
    """

    def move(d: Array | None, p: Any) -> Any:
        if d is None:
            return p
        wide, own = widened(d), jnp.asarray(p).dtype
        if jnp.issubdtype(own, jnp.inexact) and jnp.finfo(own).bits > jnp.finfo(wide.dtype).bits:
            wide = wide.astype(own)
        factor = jnp.asarray(scale, jnp.finfo(wide.dtype).dtype)
        return (jnp.asarray(p, wide.dtype) + factor * jnp.conj(wide)).astype(own)

    return jax.tree.map(move, direction, params, is_leaf=lambda leaf: leaf is None)


def masked(gradients: PyTree, mask: Mask | None) -> PyTree:
    """The gradients, zero where the mask is ``False``."""
    if mask is None:
        return gradients

    def kept(keep: Any, g: Array) -> Array:
        if not jnp.issubdtype(jnp.result_type(keep), jnp.bool_):
            raise TypeError(f"a mask must give booleans, got {jnp.result_type(keep)}")
        if jnp.ndim(keep) and jnp.broadcast_shapes(jnp.shape(keep), g.shape) != g.shape:
            raise ValueError(f"a mask must fit its parameters, got shape {jnp.shape(keep)} for one of shape {g.shape}")
        return jnp.where(keep, g, jnp.zeros_like(g))

    return jax.tree.map(lambda keep, branch: jax.tree.map(lambda g: kept(keep, g), branch), mask(gradients), gradients)


def wide_dtype(dtype: Any) -> Any:
    """float32 for half precision, else the type itself; unlike ``jnp.promote_types``, under strict promotion too."""
    return jnp.dtype(jnp.float32) if jnp.finfo(dtype).bits < 32 else dtype


def widened(leaf: Array) -> Array:
    """Half precision converted to float32; everything else unchanged."""
    return leaf.astype(wide_dtype(leaf.dtype))


def norm(tree: PyTree) -> Float[Array, ""]:
    """Euclidean norm over all leaves together, accumulated in at least float32; 0 for an empty tree."""
    leaves = [widened(leaf) for leaf in jax.tree.leaves(tree)]
    if not leaves:
        return jnp.zeros(())
    square = optax.tree.norm(leaves, squared=True)
    # Twice, so that the derivative at zero is zero and not NaN.
    return jnp.where(square == 0, 0.0, jnp.sqrt(jnp.where(square == 0, 1.0, square)))


def inner_product(left: PyTree, right: PyTree) -> Float[Array, ""]:
    """``Re <left, right>`` over all leaves together, accumulated in at least float32."""
    products = jax.tree.map(lambda a, b: jnp.sum(jnp.real(jnp.conj(widened(a)) * widened(b))), left, right)
    return sum(jax.tree.leaves(products), start=jnp.zeros(()))


def at_least_smallest(length: Float[Array, ""]) -> Float[Array, ""]:
    """``max(length, 1e-12)``, for division by a norm."""
    return jnp.maximum(length, SMALLEST_NORM)


def combination(a: Any, left: PyTree, b: Any, right: PyTree) -> PyTree:
    """``a left + b right``, computed in at least float32, in the dtypes of ``left``."""

    def combine(x: Array, y: Array) -> Array:
        wide = widened(x)
        real = jnp.finfo(wide.dtype).dtype
        return (jnp.asarray(a, real) * wide + jnp.asarray(b, real) * widened(y).astype(wide.dtype)).astype(x.dtype)

    return jax.tree.map(combine, left, right)


def without_projection(vector: PyTree, onto: PyTree) -> PyTree:
    """The component of a vector that is orthogonal to another: ``v - <v, u> u / ||u||^2``; ``v`` where ``u`` is 0."""
    # One division by the norm at a time: its square leaves the range of float32 much earlier.
    length = at_least_smallest(norm(onto))
    unit = jax.tree.map(lambda u: widened(u) / length.astype(jnp.finfo(widened(u).dtype).dtype), onto)
    return combination(1.0, vector, -inner_product(unit, vector), unit)


def is_number(leaf: Any) -> bool:
    """Whether this is a number of Python that is no integer."""
    return isinstance(leaf, float | complex) and not hasattr(leaf, "dtype")


def zeros_for(params: PyTree) -> PyTree:
    """Zeros in at least float32 for every floating-point array, ``None`` for everything else.

    Python numbers count as constants, as in ``equinox``: a model's dropout rate is not a parameter.
    """

    def zeros(leaf: Any) -> Array | None:
        if not hasattr(leaf, "dtype") or not jnp.issubdtype(leaf.dtype, jnp.inexact):
            return None
        return jnp.zeros_like(widened(jnp.asarray(leaf)))

    return jax.tree.map(zeros, params)
