"""Models of other libraries: parameters, an optional state, and a function of these and a batch."""

import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree

from widebasin.models.normalization import BATCH_AXIS

# By which arguments a module is told that it trains, and that it does not.
TRAINING, NOT_TRAINING = ("training", "train", "is_training"), ("deterministic",)
# Kernels of convolutions have at least so many dimensions; those of attention have three.
KERNEL_DIMENSIONS = 4


class Applied(eqx.Module):
    """Turns a function ``apply`` of parameters and a batch, from any library, into a model of one example.

    Without a state, ``apply(params, inputs) -> outputs`` is applied to every example separately, so that dropout
    depends on the example only, whatever its group or device. With a state, such as the running statistics of batch
    normalization, ``apply(params, state, inputs) -> (outputs, state)`` is applied to whole batches in training, within
    ``jax.vmap(..., axis_name=BATCH_AXIS)``. Both may have further keyword arguments:

        training: true in a training step, false in an evaluation. key: key of this step, for dropout, the same in both
        passes of SAM; ``None`` outside of training.

    and those given by the workload (``given``). ``from_linen``, ``from_nnx`` and ``from_haiku`` convert a module.

    Attributes:
        params: the trained parameters, a pytree of floating-point arrays.
        apply: the function; inputs and outputs have the examples along the leading axis.
        state: the initial state, a pytree of arrays, or ``None``.
        inference: whether the model is in inference mode; see ``equinox.nn.inference_mode``.

    Raises:
        ValueError: if ``apply`` is not a function; if a model with a state is called in training outside of a batch; if
            ``apply`` returns a state with another structure than it was given.
    """

    params: PyTree
    apply: Callable[..., Any] = eqx.field(static=True)
    state: eqx.nn.StateIndex | None
    inference: bool

    def __init__(self, params: PyTree, apply: Any, state: PyTree = None) -> None:
        """Takes parameters, a function and, if the function needs one, a state."""
        if not callable(apply) or hasattr(apply, "apply"):
            given = type(apply).__name__
            remedy = (
                "give its apply, as Applied(params, module.apply)" if hasattr(apply, "apply") else "it comes second"
            )
            raise ValueError(f"apply must be a function (params, inputs) -> outputs, got {given}; {remedy}")
        others = sorted(set(params) - {"params"}) if isinstance(params, Mapping) and "params" in params else []
        if others and not jax.tree.leaves(state):
            raise ValueError(
                f"params has the collections {', '.join(map(str, others))} besides params, which would be trained like "
                "parameters; use from_linen(module, key, inputs)"
            )
        self.params, self.apply = params, apply
        self.state = eqx.nn.StateIndex(state) if jax.tree.leaves(state) else None
        self.inference = False

    def __call__(
        self, x: PyTree, state: eqx.nn.State | None = None, *, key: Key[Array, ""] | None = None, **given: Any
    ) -> Any:
        """The outputs for one example; with a state, also the state after the batch."""
        wanted = inspect.signature(self.apply).parameters
        given |= {"training": not self.inference} if "training" in wanted else {}
        if self.state is None:
            given |= {"key": key} if "key" in wanted else {}
            return _first(self.apply(self.params, _alone(x), **given))
        assert state is not None
        before = state.get(self.state)
        if self.inference:
            given |= {"key": None} if "key" in wanted else {}
            return _first(self._applied(before, _alone(x), given)[0]), state
        try:
            # Within vmap all examples of a batch are one array: nothing is copied or computed twice.
            batch = jax.lax.all_gather(x, BATCH_AXIS)
            number = jax.lax.axis_index(BATCH_AXIS)
            keys = None if key is None else jax.lax.all_gather(key, BATCH_AXIS)
        except NameError as error:
            raise ValueError(
                f"a model with a state needs the batch in training: call jax.vmap(model, in_axes=(0, None), "
                f"out_axes=(0, None), axis_name={BATCH_AXIS!r}), or equinox.nn.inference_mode(model) on one example"
            ) from error
        given |= {"key": None if keys is None else keys[0]} if "key" in wanted else {}
        outputs, after = self._applied(before, batch, given)
        if jax.tree.structure(after) != jax.tree.structure(before):
            raise ValueError(
                f"apply must return (outputs, state) with the state's structure {jax.tree.structure(before)}; got "
                f"{jax.tree.structure(after)}"
            )
        after = jax.tree.map(lambda new, old: jnp.asarray(new, old.dtype), after, before)
        return jax.tree.map(lambda leaf: leaf[number], outputs), state.set(self.state, after)

    def _applied(self, state: PyTree, inputs: PyTree, given: dict[str, Any]) -> tuple[PyTree, PyTree]:
        found = self.apply(self.params, state, inputs, **given)
        if not isinstance(found, tuple) or len(found) != 2:
            raise ValueError(f"apply must return (outputs, state), as it takes a state; got {type(found).__name__}")
        return found


def from_linen(module: Any, key: Key[Array, ""], inputs: PyTree) -> Applied:
    """Converts a Flax linen module, with new parameters.

    Collections of variables that change, such as those of batch normalization, become the state; a key is provided for
    dropout and all other random streams. If the module has an argument ``training``, ``train``, ``is_training`` or
    ``deterministic``, it is set accordingly.

    Args:
        module: the module, called with a batch.
        key: key for the parameters.
        inputs: a batch of any size; only its shapes matter.
    """
    told = _telling(type(module).__call__)
    params, state = _without_params(module.init(key, inputs, **told(False)))

    def apply(params: PyTree, state: PyTree, inputs: PyTree, *, training: bool, key: Any, **given: Any) -> Any:
        variables, rngs = {"params": params, **state}, None if key is None else {"params": key}
        # A module does not change variables, and asks for no keys, unless it trains.
        mutable = list(state) if training and state else False
        found = module.apply(variables, inputs, rngs=rngs, mutable=mutable, **told(training), **given)
        return found if mutable else (found, state)

    return _with_state(params, apply, state)


def from_nnx(module: Any) -> Applied:
    """Converts a Flax NNX module, with its parameters: ``from_nnx(Network(width, nnx.Rngs(key)))``.

    ``nnx.Param`` variables are trained, all others become the state, and random streams restart from the step's key.
    The module is switched by ``module.train()`` and ``module.eval()``, and by an argument as in ``from_linen``, if it
    has one.

    Args:
        module: the module, called with a batch.
    """
    nnx: Any = importlib.import_module("flax.nnx")  # Flax is installed where there is a module
    told = _telling(type(module).__call__)
    graph, *parts = nnx.split(module, nnx.Param, nnx.RngState, ...)
    # As plain dictionaries: arrays have readable names in them, and files keep them.
    params, _, state = (nnx.to_pure_dict(part) for part in parts)
    structures = [jax.tree.structure(part) for part in parts]
    streams = [jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) for leaf in jax.tree.leaves(parts[1])]

    def apply(params: PyTree, state: PyTree, inputs: PyTree, *, training: bool, key: Any, **given: Any) -> Any:
        own = jax.random.key(0) if key is None else key
        random = [
            jax.random.fold_in(own, number) if is_key else jnp.zeros((), jnp.uint32)
            for number, is_key in enumerate(streams)
        ]
        leaves = (jax.tree.leaves(params), random, jax.tree.leaves(state))
        merged = nnx.merge(graph, *map(jax.tree.unflatten, structures, leaves), copy=True)
        (merged.train if training else merged.eval)()
        outputs = merged(inputs, **told(training), **given)
        return outputs, nnx.to_pure_dict(nnx.split(merged, nnx.Param, nnx.RngState, ...)[3])

    return _with_state(params, apply, state)


def from_haiku(transformed: Any, key: Key[Array, ""], inputs: PyTree) -> Applied:
    """Converts a function transformed by ``hk.transform`` or ``hk.transform_with_state``, with new parameters.

    If the function has an argument ``is_training``, or another one as in ``from_linen``, it is set accordingly.

    Args:
        transformed: the transformed function of a batch.
        key: key for the parameters.
        inputs: a batch of any size; only its shapes matter.
    """
    names = inspect.signature(transformed.apply).parameters
    told, has_state, has_key = _telling(transformed.apply), "state" in names, "rng" in names
    # Haiku creates the averages only in training mode.
    made = transformed.init(key, inputs, **told(True))
    params, state = made if has_state else (made, None)

    def apply(params: PyTree, state: PyTree, inputs: PyTree, *, training: bool, key: Any, **given: Any) -> Any:
        before = (params, state) if has_state else (params,)
        found = transformed.apply(*before, *((key,) if has_key else ()), inputs, **told(training), **given)
        return found if has_state else (found, state)

    return _with_state(params, apply, state)


def is_convolution_of_another_library(node: object) -> bool:
    """Whether this is a model with convolution kernels, judging by the dimensions of its parameters."""
    return isinstance(node, Applied) and any(
        len(leaf.shape) >= KERNEL_DIMENSIONS for leaf in jax.tree.leaves(node.params)
    )


def _with_state(params: PyTree, apply: Callable[..., Any], state: PyTree) -> Applied:
    """A model from a function that always takes a state; if the state is empty, examples are processed one by one."""
    if jax.tree.leaves(state):
        return Applied(params, apply, state)

    def stateless(params: PyTree, inputs: PyTree, *, training: bool, key: Any, **given: Any) -> Any:
        return apply(params, state, inputs, training=training, key=key, **given)[0]

    return Applied(params, stateless)


def _telling(call: Callable[..., Any]) -> Callable[[bool], dict[str, bool]]:
    """The keyword arguments that switch a module between training and evaluation."""
    names = inspect.signature(call).parameters
    return lambda training: {
        **{name: training for name in TRAINING if name in names},
        **{name: not training for name in NOT_TRAINING if name in names},
    }


def _without_params(variables: Any) -> tuple[PyTree, PyTree]:
    return variables["params"], {name: tree for name, tree in variables.items() if name != "params"}


def _alone(x: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[None], x)


def _first(outputs: PyTree) -> PyTree:
    """The outputs for the only example.

    Raises:
        ValueError: if they are not for one example.
    """
    for leaf in jax.tree.leaves(outputs):
        if jnp.shape(leaf)[:1] != (1,):
            raise ValueError(
                f"apply returned outputs of shape {jnp.shape(leaf)} for a batch of 1 example; they must have a leading "
                "axis over the examples"
            )
    return jax.tree.map(lambda leaf: leaf[0], outputs)
