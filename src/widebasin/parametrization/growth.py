"""How the parameters of a model grow with its width, from the shapes at two widths."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from widebasin.models import Applied

# Layers of Equinox whose weights have the outputs first, then the inputs, by how all of their arrays are drawn: with a
# variance of 1 / inputs of the weights, or of 1 / hidden features.
BY_FAN_IN = (eqx.nn.Linear, eqx.nn.Conv, eqx.nn.ConvTranspose)
BY_HIDDEN = (eqx.nn.GRUCell, eqx.nn.LSTMCell)
OUTPUTS_FIRST = (*BY_FAN_IN, *BY_HIDDEN)
NORMALIZATIONS = (eqx.nn.LayerNorm, eqx.nn.RMSNorm, eqx.nn.GroupNorm)
# What a module of one's own says, if the outputs are not the last axis: name of an array -> the axis of its inputs.
INPUT_AXES = "INPUT_AXES"
# The arrays of a module that are drawn by Glorot's rule, by inputs and outputs.
FAN_AVERAGE = "FAN_AVERAGE"
# The arrays of a module, or its modules, whose weights are drawn orthogonally, by the larger of inputs and outputs.
ORTHOGONAL = "ORTHOGONAL"


class Growth(NamedTuple):
    """How one parameter differs from the same one at the base width. All are 1 at the base width.

    Attributes:
        outputs: number of outputs over that at the base width; 1 for the last layer.
        inputs: number of inputs over that at the base width; 1 for the first layer, biases and scales.
        drawn: standard deviation at initialization over that at the base width, as the model draws it.
        attention: factor of the weights of queries, which turns the scale ``1 / sqrt(d)`` of attention into muP's
            ``1 / d``: ``sqrt(d_base / d)`` with ``d`` features per head.
    """

    outputs: float
    inputs: float
    drawn: float = 1.0
    attention: float = 1.0


def growth(model: PyTree, base: PyTree) -> PyTree:
    """The growth of every parameter, in the structure of the model's arrays of floating-point or complex numbers.

    Everything else is ``None``, also arrays of integers, booleans and keys.

    The axis of the inputs is known for the layers of Equinox, and for a module that has it in a class attribute
    ``INPUT_AXES``: name of an array -> axis. In other modules an array with several axes is refused if it matters which
    of them is that of the inputs. In dictionaries and tuples the last axis is that of the outputs and all others are of
    the inputs, as in Flax and Haiku. Arrays with one axis (biases, scales, class tokens) have outputs only. Weights are
    taken to be drawn with a variance proportional to ``1 / inputs``, biases of Equinox's layers too, those of its LSTM
    and GRU to ``1 / hidden``, those named in a class attribute ``FAN_AVERAGE`` to ``1 / (inputs + outputs)``, and
    weights within what is named in a class attribute ``ORTHOGONAL`` to ``1 / max(inputs, outputs)``.

    Args:
        model: any pytree; arrays or ``jax.ShapeDtypeStruct``.
        base: the same model at the base width.

    Not known from shapes, and so not treated: the queries of attention in other libraries; embeddings that are drawn by
    their number of features, as in Flax.

    Raises:
        ValueError: if the models differ in more than the sizes of their arrays, or the axis of the inputs of an array
            is not known, as in dictionaries where the number of heads grows instead of their size.

    Source: Yang et al. 2022 (arXiv 2203.03466), appendix B, where one compares shapes; the ``mup`` package.
    """
    own, other = (jax.tree_util.tree_flatten_with_path(eqx.filter(one, has_shape)) for one in (model, base))
    names = [[jax.tree_util.keystr(path) for path, _ in leaves] for leaves, _ in (own, other)]
    if names[0] != names[1]:
        different = sorted(set(names[0]) ^ set(names[1]))
        raise ValueError(
            f"the model and the one of the base width must have the same parameters, but {', '.join(different[:3])} "
            "are in one of them only"
        )
    grown = []
    for (path, leaf), (_, smaller) in zip(own[0], other[0], strict=True):
        if len(leaf.shape) != len(smaller.shape):
            raise ValueError(
                f"{jax.tree_util.keystr(path)} must have as many axes as at the base width, got shape {leaf.shape} and "
                f"{smaller.shape}"
            )
        grown.append(_growth_of(model, base, path, leaf.shape, smaller.shape))
    return own[1].unflatten(grown)


def _growth_of(model: PyTree, base: PyTree, path: Any, shape: tuple[int, ...], smaller: tuple[int, ...]) -> Growth:
    """The growth of one parameter from its shapes and the modules that it is in."""
    owners, others = _modules(model, path), _modules(base, path)
    (owner, name), (other, _) = owners[-1], others[-1]
    _refuse_unknown(owner, name, path, shape, smaller)
    outputs, inputs = _sizes(owner, name, shape)
    before = _sizes(owner, name, smaller)
    found = Growth(outputs / before[0], inputs / before[1])
    drawn = found.inputs**-0.5
    if len(shape) > 1 and any(field in getattr(type(module), ORTHOGONAL, ()) for module, field in owners):
        drawn = math.sqrt(max(before) / max(outputs, inputs))
    elif isinstance(owner, BY_HIDDEN):
        drawn = (owner.hidden_size / other.hidden_size) ** -0.5
    elif isinstance(owner, BY_FAN_IN) and name == "bias":
        fan_in, fan_in_before = (math.prod(one.weight.shape[1:]) for one in (owner, other))
        drawn = (fan_in / fan_in_before) ** -0.5
    elif name in getattr(type(owner), FAN_AVERAGE, ()):
        drawn = math.sqrt(sum(before) / (outputs + inputs))
    attention = 1.0
    for (module, field), (smaller_module, _) in zip(owners, others, strict=True):
        if isinstance(module, eqx.nn.MultiheadAttention) and field == "query_proj":
            attention = (module.qk_size / smaller_module.qk_size) ** -0.5
    return found._replace(drawn=drawn, attention=attention)


def _sizes(owner: Any, name: str, shape: tuple[int, ...]) -> tuple[int, int]:
    """The numbers of outputs and inputs of an array."""
    declared: Mapping[str, int] = getattr(type(owner), INPUT_AXES, {})
    if name in declared:
        axis = declared[name]
        return math.prod(shape) // max(shape[axis], 1), shape[axis]
    if len(shape) == 0:
        return 1, 1
    if isinstance(owner, NORMALIZATIONS):
        return math.prod(shape), 1
    *inputs, outputs = shape
    if isinstance(owner, OUTPUTS_FIRST) and inputs:
        outputs, *inputs = shape
    return outputs, math.prod(inputs)


def _refuse_unknown(owner: Any, name: str, path: Any, shape: tuple[int, ...], smaller: tuple[int, ...]) -> None:
    """Raises ``ValueError`` if it matters which axis of an array is that of the inputs, and its module does not say."""
    known = (*OUTPUTS_FIRST, *NORMALIZATIONS, eqx.nn.Embedding)
    declared = name in getattr(type(owner), INPUT_AXES, {})
    if not isinstance(owner, eqx.Module) or isinstance(owner, Applied):
        grew = [size != before for size, before in zip(shape, smaller, strict=True)]
        if sum(grew[:-1]) > 1 and not grew[-1]:
            raise ValueError(
                f"{jax.tree_util.keystr(path)} {shape} has axes that grew and a last one that did not, as where the "
                "number of heads of attention grows: which axes are those of its outputs is not known; let the size of "
                "a head grow"
            )
        return
    if isinstance(owner, known) or declared:
        return
    if len(shape) < 2 or shape[0] / smaller[0] == shape[-1] / smaller[-1]:
        return
    raise ValueError(
        f"which axis of {jax.tree_util.keystr(path)} {shape} is that of its inputs is not known: say so in its class, "
        f"{type(owner).__name__}, by INPUT_AXES = {{{name!r}: {len(shape) - 1}}} for outputs first, or "
        f"{{{name!r}: {len(shape) - 2}}} for inputs first"
    )


def _modules(model: PyTree, path: Any) -> list[tuple[Any, str]]:
    """The modules that an array is in, from the outermost, each with the name of its attribute that leads there."""
    found: list[tuple[Any, str]] = [(None, "")]
    node = model
    for key in path:
        if isinstance(key, jax.tree_util.GetAttrKey):
            found.append((node, key.name))
            node = getattr(node, key.name)
        elif isinstance(key, jax.tree_util.SequenceKey):
            node = node[key.idx]
        elif isinstance(key, jax.tree_util.DictKey):
            node = node[key.key]
        else:  # of a node of another kind, into which no names lead
            break
    return found


def has_shape(leaf: Any) -> bool:
    """Whether this is an array of floating-point or complex numbers, or its shape."""
    return hasattr(leaf, "shape") and hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.inexact)
