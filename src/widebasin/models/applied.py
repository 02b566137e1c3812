"""Models of other libraries: parameters, perhaps a state, and a function of them and a batch."""

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
    """A model of any library: a function ``apply`` of parameters and a batch, here as a model of one example.

    Without a state it is ``apply(params, inputs) -> outputs``, and is applied to every example by itself, so that what
    dropout drops belongs to the example, whatever group or device it is in. With a state, such as the running
    statistics of batch normalization, it is ``apply(params, state, inputs) -> (outputs, state)``, and is applied to
    whole batches in training, within ``jax.vmap(..., axis_name=BATCH_AXIS)``. Either may have further arguments, by
    their names:

        training: whether a step is taken, or the network is judged.
        key: of this step, for dropout, the same in both passes of SAM; ``None`` outside of training.

    and those that the workload gives (``given``). ``from_linen``, ``from_nnx`` and ``from_haiku`` make one of a module.

    Attributes:
        params: what is trained, a pytree of floating-point arrays.
        apply: the function; inputs and outputs have the examples along the leading axis.
        state: the initial state, a pytree of arrays, or ``None``.
        inference: whether the network is judged; see ``equinox.nn.inference_mode``.

    Raises:
        ValueError: if ``apply`` is no function; in training with a state outside of a batch; if ``apply`` returns a
            state of another form than it was given.
    """

    params: PyTree
    apply: Callable[..., Any] = eqx.field(static=True)
    state: eqx.nn.StateIndex | None
    inference: bool

    def __init__(self, params: PyTree, apply: Any, state: PyTree = None) -> None:
        """A model of parameters, a function and, if the function takes one, a state."""
        if not callable(apply) or hasattr(apply, "apply"):
            given = type(apply).__name__
            remedy = (
                "give its apply, as Applied(params, module.apply)" if hasattr(apply, "apply") else "it comes second"
            )
            raise ValueError(f"apply must be a function (params, inputs) -> outputs, got {given}; {remedy}")
        others = sorted(set(params) - {"params"}) if isinstance(params, Mapping) and "params" in params else []
        if others and not jax.tree.leaves(state):
            raise ValueError(
                f"params has the collections {', '.join(map(str, others))} beside params, which would be trained like "
                "parameters; take from_linen(module, key, inputs)"
            )
        self.params, self.apply = params, apply
        self.state = eqx.nn.StateIndex(state) if jax.tree.leaves(state) else None
        self.inference = False

    def __call__(
        self, x: PyTree, state: eqx.nn.State | None = None, *, key: Key[Array, ""] | None = None, **given: Any
    ) -> Any:
        """The outputs for one example; with a state, that after the batch beside them."""
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
                f"apply must return (outputs, state), the state as it was given, {jax.tree.structure(before)}; got "
                f"{jax.tree.structure(after)}"
            )
        after = jax.tree.map(lambda new, old: jnp.asarray(new, old.dtype), after, before)
        return jax.tree.map(lambda leaf: leaf[number], outputs), state.set(self.state, after)

    def _applied(self, state: PyTree, inputs: PyTree, given: dict[str, Any]) -> tuple[PyTree, PyTree]:
        found = self.apply(self.params, state, inputs, **given)
        if not isinstance(found, tuple) or len(found) != 2:
            raise ValueError(f"apply must return (outputs, state), as it is given a state; got {type(found).__name__}")
        return found


def from_linen(module: Any, key: Key[Array, ""], inputs: PyTree) -> Applied:
    """A module of Flax linen with new parameters.

    Batch normalization and whatever else changes a collection of variables travel as the state; a key is there for
    dropout and all other streams of random numbers. Where the module has an argument ``training``, ``train`` or
    ``is_training``, or ``deterministic``, it is told by it whether it trains.

    Args:
        module: called with a batch.
        key: decides the parameters.
        inputs: a batch of any size, of which only the shapes matter.
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
    """A module of Flax NNX with its parameters: ``from_nnx(Network(width, nnx.Rngs(key)))``.

    ``nnx.Param`` is trained, all other variables travel as the state, and the streams of random numbers begin anew
    from the step's key. Whether it trains the module is told by ``module.train()`` and ``module.eval()``, and by an
    argument as in ``from_linen``, if it has one.

    Args:
        module: called with a batch.
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
    """A function that ``hk.transform`` or ``hk.transform_with_state`` has transformed, with new parameters.

    Where the function has an argument ``is_training``, or another one as in ``from_linen``, it is told by it whether it
    trains.

    Args:
        transformed: of a function of a batch.
        key: decides the parameters.
        inputs: a batch of any size, of which only the shapes matter.
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
    """Whether this is a model with kernels of convolutions, as far as the dimensions of its parameters tell."""
    return isinstance(node, Applied) and any(
        len(leaf.shape) >= KERNEL_DIMENSIONS for leaf in jax.tree.leaves(node.params)
    )


def _with_state(params: PyTree, apply: Callable[..., Any], state: PyTree) -> Applied:
    """A model of a function that takes a state in any case; without one, examples are taken one by one."""
    if jax.tree.leaves(state):
        return Applied(params, apply, state)

    def stateless(params: PyTree, inputs: PyTree, *, training: bool, key: Any, **given: Any) -> Any:
        return apply(params, state, inputs, training=training, key=key, **given)[0]

    return Applied(params, stateless)


def _telling(call: Callable[..., Any]) -> Callable[[bool], dict[str, bool]]:
    """How a module is told whether it trains: arguments by their names."""
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
    return jax.tree.map(lambda leaf: leaf[0], outputs)
