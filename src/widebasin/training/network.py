"""A model as a function of its parameters, its state and a batch."""

import contextlib
import inspect
import pickle
import random
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr
from jaxtyping import Array, Key, PyTree

from widebasin.models import BATCH_AXIS, count_parameters

PRECISIONS = ("float32", "bfloat16", "float64")


@contextlib.contextmanager
def computing_in(precision: str) -> Iterator[None]:
    """A context that fixes all JAX settings that affect results, except the precision of matrix products and the offset
    of random seeds.

    These two are set by the user and recorded with a sweep.

    64-bit types are enabled as the precision needs. Keys use Threefry, and random numbers do not depend on how arrays
    are split over devices. Types and ranks are promoted as in NumPy, and divergence raises no error, because training
    marks diverged networks.
    """
    with (
        jax.enable_x64(precision == "float64"),
        jax.default_prng_impl("threefry2x32"),
        jax.threefry_partitionable(True),
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
        jax.debug_nans(False),
        jax.debug_infs(False),
    ):
        yield


class Network:
    """What all networks with the same architecture share: everything except the values of their arrays.

    A model maps one example to outputs; a model with a state (the running statistics of batch normalization) maps
    ``(example, state)`` to ``(outputs, state)``. ``build`` returns either; batches come from ``jax.vmap``.

    Attributes:
        structure: the built model, with shapes instead of arrays.
        static: the parts of the model that are not arrays.
        stateful: whether the model has a state.
        takes_key: whether the model is called with ``key=`` in training, for dropout.
        num_params: number of its parameters.

    Raises:
        ValueError: if ``build`` does not return a model, gives other arrays when it is called again with the same key,
            or draws numbers that Python's or NumPy's shared generators have, or if the model has arrays that are not
            floating-point, which would be neither trained nor kept.
    """

    def __init__(self, build: Callable[[Key[Array, ""]], eqx.Module], precision: str = "float32") -> None:
        # Libraries such as Flax make float32 parameters whatever JAX's default type is.
        own = _in_double_precision(build) if precision == "float64" else build
        self._build = eqx.nn.make_with_state(own)
        with computing_in(precision):
            generators = _generators()
            jaxpr, arrays, others = eqx.filter_make_jaxpr(self._build)(jax.random.key(0))
            if jaxpr.consts or _generators() != generators:
                _refuse_random(jaxpr, eqx.filter_make_jaxpr(self._build)(jax.random.key(0))[0])
        model, state = eqx.combine(arrays, others)
        if not callable(model):
            raise ValueError(  # noqa: TRY004 (shown like other models that do not fit)
                f"build must return a model that is called with one example, got {_kind(model)}; for parameters and a "
                "function of parameters and a batch, return models.Applied(params, apply)"
            )
        _refuse_other_arrays(model)
        self.structure: Any = model
        self.static: Any = eqx.filter(model, _is_shape, inverse=True)
        self.shapes: Any = eqx.filter(model, _is_shape)
        self.state_shapes, self._state_structure = jax.tree.flatten(state)
        self.stateful = bool(self.state_shapes)
        key = _parameters_of_call(self.static).get("key")
        self.takes_key = key is not None
        # Outside training; most models can be called without one.
        self.without_key = {"key": None} if key is not None and key.default is key.empty else {}
        self.num_params = count_parameters(model)
        if not self.num_params:
            raise ValueError(
                "the model has no parameters, which are its floating-point arrays: there is nothing to train"
            )
        self.dtype = jnp.dtype(jnp.bfloat16) if precision == "bfloat16" else None

    def initialize(self, key: Key[Array, ""]) -> tuple[PyTree, list[Array]]:
        """Parameters, as a pytree with ``None`` for everything else, and the leaves of the state."""
        model, state = self._build(key)
        params = jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array))
        # What is no array is that of the first building: functions of other libraries are made anew in every one.
        return jax.tree.unflatten(jax.tree.structure(self.shapes), params), jax.tree.leaves(state)

    def outputs(
        self,
        params: PyTree,
        state: list[Array],
        inputs: PyTree,
        *,
        training: bool,
        keys: Key[Array, " batch"] | None = None,
        given: Mapping[str, Array] | None = None,
    ) -> tuple[PyTree, list[Array]]:
        """The outputs for a batch in at least float32, and the state after it.

        Args:
            params: from ``initialize``.
            state: from ``initialize``.
            inputs: inputs of the model, leading axis over examples.
            training: whether batch normalization uses the statistics of this batch and updates the running ones, and
                dropout is active.
            keys: one key per example, for models that take a key in training.
            given: other keyword arguments of the model, the same for all examples.
        """
        if self.dtype is not None:
            params = jax.tree.map(lambda leaf: leaf.astype(self.dtype), params)
            inputs = jax.tree.map(self._narrowed, inputs)
        model = eqx.combine(params, self.static)
        model = model if training else eqx.nn.inference_mode(model)
        keywords = dict(given or {})
        own = {"key": keys} if self.takes_key and training and keys is not None else self.without_key
        if not self.stateful:
            outputs = jax.vmap(lambda x, named: model(x, **named, **keywords), in_axes=(0, 0))(inputs, own)
        else:
            tree = jax.tree.unflatten(self._state_structure, state)
            batched = jax.vmap(
                lambda x, named, tree: model(x, tree, **named, **keywords),
                axis_name=BATCH_AXIS,
                in_axes=(0, 0, None),
                out_axes=(0, None),
            )
            outputs, tree = batched(inputs, own, tree)
            state = jax.tree.leaves(tree) if training else state
        return outputs if self.dtype is None else jax.tree.map(_widened, outputs), state

    def _narrowed(self, leaf: Array) -> Array:
        return leaf.astype(self.dtype) if jnp.issubdtype(leaf.dtype, jnp.inexact) else leaf

    def inference_model(self, params: PyTree, state: list[Array], given: Mapping[str, float] | None = None) -> Any:
        """The trained model as a function of one example; its floating-point arrays are its parameters.

        Args:
            params: trained parameters.
            state: trained state.
            given: keyword arguments of the model, as in training.
        """
        model = eqx.nn.inference_mode(eqx.combine(params, self.static))
        keywords = self.without_key | dict(given or {})
        if not self.stateful and not keywords and all(eqx.is_array(leaf) for leaf in jax.tree.leaves(model)):
            return model
        whole = jax.tree.unflatten(self._state_structure, state) if self.stateful else None
        return InferenceModel(model, whole, keywords)


class InferenceModel(eqx.Module):
    """A trained model whose leaves are arrays, and whose floating-point arrays are its parameters.

    Attributes:
        params: the model's parameters.
        state_bits: its state, if any; floating-point arrays are stored as integers with the same bits, so that running
            statistics are not mistaken for parameters, which are the floating-point arrays.
        given: keyword arguments of the model, as pairs.
    """

    params: Any
    state_bits: Any
    given: tuple[tuple[str, float | None], ...] = eqx.field(static=True)
    _static: Any = eqx.field(static=True)
    _state_dtypes: tuple[str, ...] = eqx.field(static=True)

    def __init__(self, model: Any, state: Any, given: Mapping[str, float | None] | None = None) -> None:
        """Takes a model in inference mode, its final state (``None`` if it has none) and its keyword arguments."""
        self.given = tuple((given or {}).items())
        self.params, self._static = eqx.partition(model, eqx.is_array)
        self._state_dtypes = tuple(leaf.dtype.name for leaf in jax.tree.leaves(state))
        self.state_bits = jax.tree.map(_bits, state)

    def __call__(self, example: PyTree) -> PyTree:
        """The outputs for one example.

        Raises:
            ValueError: if the state is in double precision but JAX's 64-bit types are disabled.
        """
        if "float64" in self._state_dtypes and jnp.result_type(float) != jnp.float64:
            raise ValueError("the model is in float64: call it within jax.enable_x64(True)")
        model = eqx.combine(self.params, self._static)
        bits, structure = jax.tree.flatten(self.state_bits)
        if not bits:
            return model(example, **dict(self.given))
        state = [_of_bits(*pair) for pair in zip(bits, self._state_dtypes, strict=True)]
        return model(example, jax.tree.unflatten(structure, state), **dict(self.given))[0]


def _bits(leaf: Array) -> Array:
    """Floating-point numbers as integers with the same bits; others unchanged."""
    floating = jnp.issubdtype(leaf.dtype, jnp.inexact)
    return jax.lax.bitcast_convert_type(leaf, f"uint{8 * leaf.dtype.itemsize}") if floating else leaf


def _of_bits(bits: Array, dtype: str) -> Array:
    return bits if bits.dtype == dtype else jax.lax.bitcast_convert_type(bits, dtype)


def _in_double_precision(build: Callable[[Key[Array, ""]], eqx.Module]) -> Callable[[Key[Array, ""]], Any]:
    def widened(key: Key[Array, ""]) -> Any:
        return jax.tree.map(lambda leaf: leaf.astype(float) if eqx.is_inexact_array(leaf) else leaf, build(key))

    return widened


def _kind(model: Any) -> str:
    return "None: end it with return" if model is None else f"one of type {type(model).__name__}"


def _refuse_other_arrays(model: PyTree) -> None:
    for path, leaf in jax.tree.leaves_with_path(model):
        if _is_shape(leaf) and not jnp.issubdtype(leaf.dtype, jnp.inexact):
            raise ValueError(
                f"the model's {jax.tree_util.keystr(path).lstrip('.')} is an array of {leaf.dtype}: arrays of a model "
                "are its parameters and must be floating-point; keep constants in a tuple, other arrays in its state"
            )
        if _is_shape(leaf) and leaf.dtype.itemsize < 4:
            raise ValueError(
                f"the model's {jax.tree_util.keystr(path).lstrip('.')} is an array of {leaf.dtype}: parameters are "
                "kept in float32; to compute in bfloat16, give the recipe precision='bfloat16'"
            )


def _generators() -> tuple[Any, bytes]:
    """The states of the random generators that Python and NumPy share between all who draw."""
    return random.getstate(), pickle.dumps(np.random.get_state(legacy=False))  # noqa: NPY002 (models may draw from it)


def _refuse_random(jaxpr: ClosedJaxpr, again: ClosedJaxpr) -> None:
    """Raises ``ValueError`` if building a model twice by one key gave other numbers.

    They would be the same for all networks of a program and others in the next one: no pair of networks would begin
    alike, nor a sweep go on where it was.
    """
    same = len(jaxpr.consts) == len(again.consts) and all(map(_are_equal, jaxpr.consts, again.consts))
    # Single numbers are part of the text, which has addresses of functions too.
    one, other = (re.sub(r" at 0x\w+", "", str(made.jaxpr)) for made in (jaxpr, again))
    if not same or one != other:
        raise ValueError(
            "build gave another model when it was called again with the same key: networks are compared in pairs that "
            "begin alike, so draw all random numbers from the key, by jax.random"
        )


def _are_equal(one: Any, other: Any) -> bool:
    if jnp.issubdtype(one.dtype, jax.dtypes.prng_key):
        one, other = jax.random.key_data(one), jax.random.key_data(other)
    return np.array_equal(np.asarray(one), np.asarray(other), equal_nan=True)


def _widened(leaf: Array) -> Array:
    return leaf.astype(jnp.float32) if jnp.issubdtype(leaf.dtype, jnp.inexact) else leaf


def _parameters_of_call(model: Any) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(type(model).__call__).parameters if callable(model) else {}


def _is_shape(leaf: Any) -> bool:
    return isinstance(leaf, jax.ShapeDtypeStruct)
