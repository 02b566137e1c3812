"""The coordinate check: how large activations are, and what moving a single layer does to the outputs."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var
from jaxtyping import Array, Float, PyTree

from widebasin.parametrization.growth import Growth, growth, has_shape

INPUT, HIDDEN, OUTPUT, FIXED = "input", "hidden", "output", "fixed"

# Operations that return the entries of their first operand, in another shape, order or type, or some of them.
REARRANGING = {
    "broadcast_in_dim",
    "convert_element_type",
    "copy",
    "dynamic_slice",
    "name",
    "reduce_precision",
    "reshape",
    "rev",
    "sharding_constraint",
    "slice",
    "split",
    "squeeze",
    "stop_gradient",
    "transpose",
}
PRODUCTS = {"dot_general", "conv_general_dilated"}
LOOKUP = "gather"
# Operations that stand for a program of other operations, run once: name -> its parameter with that program.
CALLS = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "checkpoint": "jaxpr",
    "remat2": "jaxpr",
    "closed_call": "call_jaxpr",
    "core_call": "call_jaxpr",
}


def layer_names(params: PyTree) -> tuple[str, ...]:
    """The name of the layer that every array belongs to, in the order of ``jax.tree.leaves``.

    Arrays beside each other in one module, dictionary or tuple are one layer, such as the weight and the bias of an
    ``equinox.nn.Linear``; its name is the path to them. Arrays at the same position of several lists with names are one
    layer too, such as ``weights[0]`` and ``biases[0]`` of an ``MLP``, with the path of the one that has most axes.
    Arrays at the root, and those beside modules that have arrays of their own, such as embeddings, are layers of their
    own.

    Args:
        params: any pytree of arrays, or of their shapes.

    Example:
        >>> import jax
        >>> from widebasin.models import MLP
        >>> from widebasin.parametrization import layer_names
        >>> layer_names(MLP((4, 8, 2), key=jax.random.key(0)))
        ('weights[0]', 'weights[1]', 'weights[0]', 'weights[1]')
    """
    with_paths = jax.tree_util.tree_leaves_with_path(params)
    paths = [path for path, _ in with_paths]
    root = _shared(paths)
    groups = [_group(path, paths, root) for path in paths]
    members: dict[tuple[Any, ...], list[tuple[Any, Any]]] = {}
    for group, one in zip(groups, with_paths, strict=True):
        members.setdefault(group, []).append(one)
    names = {}
    for group, of_group in members.items():
        largest, _ = max(of_group, key=lambda one: len(one[1].shape))
        names[group] = _name(group if group == largest[:-1] else largest)
    return tuple(names[group] for group in groups)


def _shared(paths: Sequence[tuple[Any, ...]]) -> int:
    """How many keys all paths begin with; the last one of a path does not count."""
    shared = 0
    for keys in zip(*(path[:-1] for path in paths), strict=False):
        if len(set(keys)) > 1:
            break
        shared += 1
    return shared


def _group(path: tuple[Any, ...], paths: Sequence[tuple[Any, ...]], root: int) -> tuple[Any, ...]:
    """What the paths of all arrays of a layer have in common, and no other path has."""
    in_sequence = [isinstance(key, jax.tree_util.SequenceKey) for key in path[-2:]]
    if in_sequence == [False, True]:
        return (*path[:-2], path[-1])
    parent = path[:-1]
    beside_modules = any(len(other) > len(path) and other[: len(parent)] == parent for other in paths)
    return path if len(parent) <= root or beside_modules else parent


def _name(path: tuple[Any, ...]) -> str:
    return jax.tree_util.keystr(path).lstrip(".")


def layer_roles(model: PyTree, base: PyTree) -> dict[str, str]:
    """Layer -> ``input``, ``hidden``, ``output`` or ``fixed``: which sides of it grow from one width to another.

    The outputs of an ``input`` layer grow, of an ``output`` layer the inputs, of a ``hidden`` one both; of a layer with
    several arrays, those of the one that has most axes. Of a ``fixed`` one neither grows.

    Args:
        model: any pytree; arrays or ``jax.ShapeDtypeStruct``.
        base: the same model at another width.

    Raises:
        ValueError: as ``growth``.
    """
    grown = growth(model, base)
    leaves = jax.tree.leaves(grown, is_leaf=lambda node: isinstance(node, Growth))
    shapes = jax.tree.map(lambda leaf: leaf if has_shape(leaf) else None, model)
    roles: dict[str, tuple[int, str]] = {}
    for name, leaf, one in zip(layer_names(shapes), jax.tree.leaves(shapes), leaves, strict=True):
        role = {(1, 1): HIDDEN, (1, 0): INPUT, (0, 1): OUTPUT, (0, 0): FIXED}[one.outputs != 1, one.inputs != 1]
        if name not in roles or len(leaf.shape) > roles[name][0]:
            roles[name] = len(leaf.shape), role
    return {name: role for name, (_, role) in roles.items()}


def layer_effects(outputs: Callable[[PyTree], PyTree], params: PyTree, moved: PyTree) -> dict[str, Float[Array, ""]]:
    """Layer -> root mean square of ``f(w with this layer of w') - f(w)`` over all outputs of a batch.

    With ``w'`` the point of SAM's ascent, it is the effect of each layer's perturbation alone; with ``w'`` the trained
    parameters and ``w`` the initial ones, that of each layer's update alone. It can be compiled, and takes as many
    evaluations as there are layers, one after the other, and one more.

    Args:
        outputs: ``f``, parameters -> outputs on a batch, an array or a pytree of arrays.
        params: ``w``, a pytree of arrays.
        moved: ``w'``, with the same structure and shapes.

    Raises:
        ValueError: if the structures differ.

    Example:
        >>> import jax.numpy as jnp
        >>> from widebasin.parametrization import layer_effects
        >>> w, moved = {"a": jnp.array([2.0]), "b": jnp.array([3.0])}, {"a": jnp.array([2.5]), "b": jnp.array([3.1])}
        >>> {name: round(float(size), 4) for name, size in layer_effects(lambda w: w["a"] * w["b"], w, moved).items()}
        {"['a']": 1.5, "['b']": 0.2}
    """
    leaves, structure = jax.tree.flatten(params)
    others, other_structure = jax.tree.flatten(moved)
    if structure != other_structure:
        raise ValueError(f"moved must have the structure of params, {structure}, got {other_structure}")
    names = layer_names(params)
    different = list(dict.fromkeys(names))
    numbers = [different.index(name) for name in names]
    before = outputs(params)

    def effect(number: Array) -> Float[Array, ""]:
        mixed = [jnp.where(number == own, new, old) for own, new, old in zip(numbers, others, leaves, strict=True)]
        after = outputs(structure.unflatten(mixed))
        return _root_mean_square(
            [_wide(b) - _wide(a) for b, a in zip(*map(jax.tree.leaves, (after, before)), strict=True)]
        )

    return dict(zip(different, jax.lax.map(effect, jnp.arange(len(different))), strict=True))


def activation_sizes(outputs: Callable[[PyTree], PyTree], params: PyTree) -> dict[str, Float[Array, ""]]:
    """Path of a parameter -> root mean square of its products with its inputs: the pre-activations without the bias.

    The function is traced. Recorded are results of matrix products and convolutions that have a parameter as one
    operand, itself or transposed, reshaped, converted, broadcast or sliced, and something else as the other one; and
    rows that are looked up in a parameter, as in an embedding, which is a product with a one-hot vector. Functions
    within, such as those of ``jax.jit``, ``jax.checkpoint`` or ``jax.custom_jvp``, are followed. Loops and branches
    (``jax.lax.scan``, ``while_loop``, ``cond``) are not: products in them, such as those of a recurrent network with
    its state, are missing. So are parameters that are added or multiplied entry by entry: biases, and scales of
    normalizations. Of a parameter with several products the mean is over all of them.

    It can be compiled, and takes one evaluation.

    Args:
        outputs: parameters -> outputs on a batch, or anything else that depends on all activations.
        params: a pytree of arrays.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from widebasin.parametrization import activation_sizes
        >>> inputs = jnp.array([[3.0, 0.0], [0.0, 4.0]])
        >>> sizes = activation_sizes(lambda w: jax.nn.relu(inputs @ w["first"]) @ w["last"],
        ...                          {"first": jnp.eye(2), "last": jnp.array([[1.0], [2.0]])})
        >>> {name: round(float(size), 4) for name, size in sizes.items()}
        {"['first']": 2.5, "['last']": 6.0415}
    """
    with_paths, structure = jax.tree_util.tree_flatten_with_path(params)
    names, leaves = [_name(path) for path, _ in with_paths], [leaf for _, leaf in with_paths]
    program = jax.make_jaxpr(lambda leaves: outputs(structure.unflatten(leaves)))(leaves)
    products: dict[str, list[Array]] = {name: [] for name in names}
    for name, product in _products(program.jaxpr, program.consts, leaves, names)[0]:
        products[name].append(product)
    return {name: _root_mean_square([_wide(one) for one in found]) for name, found in products.items() if found}


def _products(
    program: Jaxpr, constants: Sequence[Any], values: Sequence[Any], names: Sequence[str | None]
) -> tuple[list[tuple[str, Array]], list[Any], list[str | None]]:
    """Evaluates a program.

    Args:
        program: the program.
        constants: its constants.
        values: its arguments.
        names: of each argument, the parameter that it is; ``None`` if it is none.

    Returns:
        Parameters with their products; the results; and of each result, the parameter that it is.
    """
    found: list[tuple[str, Array]] = []
    known: dict[Var, Any] = dict(zip((*program.constvars, *program.invars), (*constants, *values), strict=True))
    origin: dict[Var, str | None] = dict(zip(program.invars, names, strict=True))

    def value(one: Any) -> Any:
        return one.val if isinstance(one, Literal) else known[one]

    def name(one: Any) -> str | None:
        return None if isinstance(one, Literal) else origin.get(one)

    for equation in program.eqns:
        operands, of_operands = [value(one) for one in equation.invars], [name(one) for one in equation.invars]
        kind = equation.primitive.name
        if kind in CALLS:
            inner = equation.params[CALLS[kind]]
            closed = (inner.jaxpr, inner.consts) if isinstance(inner, ClosedJaxpr) else (inner, ())
            more, results, of_results = _products(*closed, operands, of_operands)
            found += more
        else:
            results = equation.primitive.bind(*operands, **equation.params)
            results = results if equation.primitive.multiple_results else [results]
            of_results = [of_operands[0] if kind in REARRANGING else None] * len(results)
            found += [(parameter, results[0]) for parameter in _multiplied(equation, of_operands)]
        known |= dict(zip(equation.outvars, results, strict=True))
        origin |= dict(zip(equation.outvars, of_results, strict=True))
    return found, [value(one) for one in program.outvars], [name(one) for one in program.outvars]


def _multiplied(equation: JaxprEqn, names: Sequence[str | None]) -> Iterator[str]:
    """The parameter that an operation multiplies with something else, if it does."""
    first, second = (*names, None, None)[:2]
    if equation.primitive.name == LOOKUP and first is not None:
        yield first
    elif equation.primitive.name in PRODUCTS:
        # Of two parameters, the product is no activation.
        if first is not None and second is None:
            yield first
        if second is not None and first is None:
            yield second


def _wide(leaf: Array) -> Array:
    """In at least float32: half precision lacks the range of squares, and integers that of differences."""
    if not jnp.issubdtype(leaf.dtype, jnp.inexact):
        return leaf.astype(float)
    return leaf.astype(jnp.float32) if jnp.finfo(leaf.dtype).bits < 32 else leaf


def _root_mean_square(leaves: Sequence[Array]) -> Float[Array, ""]:
    """Over all entries of all arrays."""
    total = sum(jnp.sum(jnp.square(jnp.abs(leaf))) for leaf in leaves)
    return jnp.sqrt(total / sum(leaf.size for leaf in leaves))
