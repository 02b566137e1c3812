"""The factors of muP and of muP^2 for every parameter."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
from jaxtyping import PyTree

from widebasin.parametrization.growth import Growth, growth, has_shape
from widebasin.sam import ASAM, Method, Perturbing, RandomPerturbation, Scales, Scaling


class Multipliers(NamedTuple):
    """Factors of every parameter, pytrees of numbers with the structure of the model's arrays.

    With ``o`` and ``i`` the growth of a parameter's outputs and inputs since the base width (``m`` where they grow, 1
    where they are those of the data):

    ========================================  =====================  =====  ======  =======
    factor                                    formula                input  hidden  output
    ========================================  =====================  =====  ======  =======
    ``initial``, to the fan-in rule           ``i^-1/2`` if ``o=1``  1      1       m^-1/2
    ``sgd``, of the learning rate             ``o / i``              m      1       1/m
    ``adam``, of the learning rate            ``1 / i``              1      1/m     1/m
    ``ascent``, numerator of the ascent       ``o / i``              m      1       1/m
    ``norm``, weight in the norm              ``(o / i)^1/2``        m^1/2  1       m^-1/2
    ``size``, of weights, to the base width   ``initial i^-1/2``     1      m^-1/2  1/m
    ========================================  =====================  =====  ======  =======

    Biases, scales of normalization and embeddings are input; ``initial`` undoes the rule of layers that draw their
    biases by the number of inputs, as those of Equinox do. Weights of queries of ``equinox.nn.MultiheadAttention`` have
    a factor ``(d_base / d)^1/2``
    besides, with ``d`` features per head, and its square in ``sgd`` and ``ascent``: attention is then scaled by ``1 /
    d``, as muP asks for.

    Attributes:
        initial: of what the model draws, whatever the rule.
        sgd: of the learning rate of SGD, with or without momentum.
        adam: of the learning rate of optimizers that normalize the gradient entry by entry: Adam, AdamW, Lion.
        ascent: of the numerator of SAM's ascent, in muP^2.
        norm: of a gradient, in the norm of SAM's ascent in muP^2, and in the norm that gradients are clipped to.
        size: of weights at initialization, over that at the base width.

    Source: Yang and Hu 2021 (arXiv 2011.14522) and Yang et al. 2022 (arXiv 2203.03466), table 8, for muP; Haas et al.
    2024 (arXiv 2411.00075) for the perturbation. Derivation: the documentation's page on width.
    """

    initial: PyTree
    sgd: PyTree
    adam: PyTree
    ascent: PyTree
    norm: PyTree
    size: PyTree


def multipliers(model: PyTree, base: PyTree) -> Multipliers:
    """The factors of a model, from its shapes and those of the same model at the base width, see ``growth``.

    Args:
        model: any pytree; arrays or ``jax.ShapeDtypeStruct``.
        base: the same model at the base width.

    Raises:
        ValueError: if the models differ in more than the sizes of their arrays.

    Example:
        >>> import equinox as eqx, jax
        >>> from widebasin.models import MLP
        >>> from widebasin.parametrization import multipliers
        >>> of = lambda width: eqx.filter_eval_shape(MLP, (64, width, width, 10), key=jax.random.key(0))
        >>> multipliers(of(256), of(64)).sgd.weights
        [4.0, 1.0, 0.25]
    """
    grown = growth(model, base)

    def each(rule: Callable[[Growth], float]) -> PyTree:
        return jax.tree.map(rule, grown, is_leaf=lambda node: isinstance(node, Growth))

    squared = each(lambda one: one.outputs / one.inputs * one.attention**2)
    return Multipliers(
        initial=each(lambda one: _size(one) / one.drawn),
        sgd=squared,
        adam=each(lambda one: one.attention / one.inputs),
        ascent=squared,
        norm=each(lambda one: (one.outputs / one.inputs) ** 0.5 * one.attention),
        size=each(_size),
    )


def _size(one: Growth) -> float:
    last = one.outputs == 1 and one.inputs != 1
    return one.inputs ** (-1.0 if last else -0.5) * one.attention


def initialized(model: PyTree, factors: Multipliers) -> PyTree:
    """A model, as drawn by its own rule, with the initial size that muP gives every parameter.

    A state that it starts in, such as running statistics of batch normalization, stays as it is.

    Raises:
        ValueError: if the factors are those of another model.
    """
    leaves, structure = jax.tree.flatten(model, is_leaf=_is_state)
    initial = [one for one in jax.tree.leaves(factors.initial, is_leaf=_is_state) if not _is_state(one)]
    own = _in_order(initial, [has_shape(leaf) for leaf in leaves])
    return structure.unflatten(
        [leaf if factor is None else leaf * factor for leaf, factor in zip(leaves, own, strict=True)]
    )


def _is_state(node: Any) -> bool:
    """Whether this is a place of running statistics, which hold arrays until ``equinox.nn.make_with_state``."""
    return isinstance(node, eqx.nn.StateIndex)


def structured(factors: PyTree, params: PyTree) -> PyTree:
    """Factors in the structure of parameters, which have the same arrays in the same order; ``None`` for integers.

    Two models that are built in the same way may hold different functions, which are part of a structure.

    Raises:
        ValueError: if the numbers of arrays differ.
    """
    own, (leaves, structure) = jax.tree.leaves(factors), jax.tree.flatten(params)
    return structure.unflatten(_in_order(own, [has_shape(leaf) or not hasattr(leaf, "dtype") for leaf in leaves]))


def _in_order(factors: Sequence[float], arrays: Sequence[bool]) -> list[float | None]:
    """For every leaf that is an array the next factor, for every other one ``None``."""
    if len(factors) != (count := sum(arrays)):
        raise ValueError(f"the factors are those of another model: it has {len(factors)} arrays, and this one {count}")
    following = iter(factors)
    return [next(following) if array else None for array in arrays]


def with_perturbation(method: Method, factors: Multipliers) -> Method:
    """A method with the scales of muP^2, see ``perturbation``; one without a perturbation stays as it is.

    Raises:
        ValueError: for ``RandomPerturbation``, whose direction is no gradient, and for ``ASAM`` if only some parameters
            are adaptive.
    """
    if isinstance(method, RandomPerturbation):
        raise ValueError(  # noqa: TRY004 (another method of the right type has a rule)
            "a random perturbation has no rule in muP^2, which scales gradients; use another method"
        )
    if isinstance(method, ASAM) and method.adaptive is not None:
        raise ValueError("ASAM has a rule in muP^2 only if all parameters are adaptive: leave out adaptive")
    if not isinstance(method, Perturbing):
        return method
    adaptive = isinstance(method, ASAM) or getattr(method, "adaptive", False)
    return dataclasses.replace(method, scales=perturbation(factors, adaptive))


def perturbation(factors: Multipliers, adaptive: bool = False) -> Scaling:
    """The scales of muP^2 for the ascent of a method: ``sam.SAM(rho, scales=perturbation(factors))``.

    ``with_perturbation`` chooses ``adaptive`` by the method. Make them once, outside of a training step: methods with
    scales made anew are different ones to ``jax.jit``.

    Args:
        factors: of the model.
        adaptive: whether the method scales its ascent by the size of the weights (``ASAM``, ``adaptive=True``), which
            already differs between layers: the factors are then those that are left, ``ascent / size^2`` and ``norm /
            size``, the same for the weights of all layers, and ``eta`` is in units of ``size``.
    """
    scales = Scales(factors.ascent, factors.norm)
    if adaptive:
        scales = Scales(
            jax.tree.map(lambda a, size: a / size**2, factors.ascent, factors.size),
            jax.tree.map(lambda b, size: b / size, factors.norm, factors.size),
            factors.size,
        )

    def scaled(gradients: PyTree) -> Scales:
        return Scales(*(one if isinstance(one, float) else structured(one, gradients) for one in scales))

    return scaled
