"""The base class of all methods of the SAM family, and the code that runs a step of any of them."""

import abc
import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, ClassVar, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PyTree

from widebasin.sam._ascent import Mask, Scaling, is_number, norm
from widebasin.sam._batch import Batch, average_over_groups, refusing_numbers
from widebasin.sam._nnx import refuse_transformation

M = TypeVar("M", bound="Method")
Gradient = Callable[..., tuple[Any, PyTree, PyTree]]
Evaluation = tuple[Any, PyTree, PyTree]
Step = Int[Array, ""] | int


class Passes(NamedTuple):
    """The average cost of one step: passes over a full batch.

    Attributes:
        forward: evaluations of the loss.
        backward: backward passes, each of which follows one of the forward passes.
    """

    forward: float
    backward: float

    @property
    def gradients(self) -> float:
        """The same as a number of gradients of a full batch, a backward pass counted as two forward passes."""
        return (self.forward + 2.0 * self.backward) / 3.0


class Method(abc.ABC):
    """A method of the family: hyperparameters in a frozen pytree, gradients out.

    To add one: a frozen dataclass, registered by ``jax.tree_util.register_dataclass``, with ``passes_per_step`` and
    ``evaluate``, and with ``init`` if it carries a state.

    Attributes:
        m: examples per ascent (m-sharpness): the method acts on every group of ``m`` consecutive examples, and values,
            gradients and states are averaged over the groups. ``None`` is the whole batch.
        takes_ascent_loss: whether the ascent may follow another loss, because the gradient at ``params`` leads to the
            ascent point and serves for nothing else, or is not needed for it.
    """

    m: int | None = None
    takes_ascent_loss: ClassVar[bool] = False

    @property
    def period(self) -> int:
        """Steps 0, ``period``, 2 ``period`` ... are of one kind, all others of another; 1 if all steps are alike."""
        return 1

    @property
    @abc.abstractmethod
    def passes_per_step(self) -> Passes:
        """Forward and backward passes of a full batch per step, averaged over steps."""

    @property
    def gradients_per_step(self) -> float:
        """How many gradients of a full batch one step costs, averaged over steps."""
        return self.passes_per_step.gradients

    def init(self, params: PyTree) -> PyTree:
        """The state that the method carries from step to step, a pytree of arrays (``()`` if none)."""
        del params
        return ()

    @abc.abstractmethod
    def evaluate(self, batch: Batch, state: PyTree, key: Key[Array, ""] | None, step: Step | None) -> Evaluation:
        """Evaluates one group: ``(value, gradients, state)``, with ``value`` from the pass at ``batch.params``."""

    def prepare(self, batch: Batch, state: PyTree, key: Key[Array, ""] | None, step: Step | None) -> PyTree:
        """Updates the state once per step with the whole batch, before its groups are evaluated."""
        del batch, key, step
        return state

    def value_and_grad(
        self,
        loss_fn: Callable[..., Any],
        has_aux: bool = False,
        base: Callable[..., Any] = jax.value_and_grad,
        *,
        batch_argnums: int | Sequence[int] | None = None,
        axis_name: str | None = None,
        merge_aux: Callable[[PyTree], PyTree] = average_over_groups,
        example_losses: Callable[..., Float[Array, " examples"]] | None = None,
        group_weight: Callable[[PyTree], Any] | None = None,
        ascent_loss: Callable[..., Any] | None = None,
    ) -> Gradient:
        """A function ``(params, state, *args, key=None, step=None) -> (value, gradients, state)``.

        Args:
            loss_fn: ``loss_fn(params, *args)`` returns a scalar, or ``(scalar, aux)`` with ``has_aux``; the scalar is
                a mean over examples. ``args`` are the same in every pass, so a dropout key among them gives every
                pass the same mask.
            has_aux: whether ``loss_fn`` returns auxiliary data; then ``value`` is ``(scalar, aux)``.
            base: the function that differentiates, with the signature of ``jax.value_and_grad``, such as
                ``equinox.filter_value_and_grad`` for a model that contains more than arrays, or
                ``sam.microbatched(32)``.
            batch_argnums: which arguments of ``loss_fn`` contain examples, along the leading axis of every leaf (the
                parameters are argument 0); by default all others. Needed for ``m`` and for methods that use single
                examples. Keyword arguments never contain examples.
            axis_name: inside ``jax.shard_map``, the mesh axis over which the examples are split (or that of
                ``jax.vmap``). Every gradient for a group of ``m`` examples is then averaged over the devices that share
                the group; the final values and gradients over all devices. Not needed under ``jax.jit`` with sharded
                arrays.
            merge_aux: from ``aux`` with a leading axis over groups to ``aux``; averages by default. Used if ``m`` makes
                several groups.
            example_losses: ``(params, *args) -> losses of the examples``, in their order, whose mean is the loss; for
                methods that compare examples (``ESAM``). By default, every example is its own batch, which is correct
                if examples do not interact (no batch norm), but slower.
            group_weight: ``aux -> weight`` of a group of examples, if the loss is a weighted mean (padding, missing
                labels): the sum of the weights of its examples. Values and gradients are then weighted means over
                groups, and over the devices that share a group. The loss of a group with weight 0 must be finite; if
                all weights are 0, all groups count equally. Needs ``has_aux``.
            ascent_loss: ``(params, *args) -> scalar``, a part of the loss, or another one, that the ascent follows; the
                gradient at its end is that of ``loss_fn``. For ``SAM`` and ``ASAM``; methods without an ascent along a
                gradient ignore it. Groups have the weights of ``loss_fn``.

        Returns:
            ``value`` and ``aux`` come from the clean pass, at ``params``. If the gradient of either pass is not finite,
            all gradients are NaN and the state is unchanged. ``key`` is for methods that draw random numbers; others
            ignore it. ``step`` replaces the step count that some methods keep in their state; it starts at 0 and should
            advance by finite steps only. Pass it, unbatched, if networks are trained together by ``jax.vmap``, so that
            cheap steps still cost one gradient. A Python number is known at compile time and leaves no branch in the
            program: compile one step with ``step=0`` and one for the other steps with ``step=1``. Convolutions on CPU
            need this, because XLA runs them several times slower inside a branch.
        """
        check_function("example_losses", example_losses)
        check_function("group_weight", group_weight)
        if group_weight is not None and not has_aux:
            raise ValueError("group_weight needs the auxiliary data of loss_fn: set has_aux=True")
        refuse_transformation(base)
        check_function("ascent_loss", ascent_loss)
        if ascent_loss is not None and not self.takes_ascent_loss:
            raise ValueError(
                f"{type(self).__name__} uses the gradient at the parameters for more than the ascent: leave out "
                "ascent_loss, or take SAM or ASAM"
            )
        differentiate = base(loss_fn, has_aux=has_aux)
        of_ascent = None if ascent_loss is None else base(_following(ascent_loss, loss_fn, has_aux), has_aux=has_aux)

        def gradient(
            params: PyTree,
            state: PyTree,
            *args: Any,
            key: Key[Array, ""] | None = None,
            step: Step | None = None,
        ) -> Evaluation:
            batch = Batch.of(
                loss_fn,
                differentiate,
                has_aux,
                (params, *args),
                {},
                params_argnums=0,
                batch_argnums=batch_argnums,
                axis_name=axis_name,
                merge_aux=merge_aux,
                losses_of_examples=example_losses,
                group_weight=group_weight,
                differentiate_ascent=of_ascent,
            )
            return step_of(self, batch, state, key, step)

        return gradient


def _following(ascent_loss: Callable[..., Any], loss_fn: Callable[..., Any], has_aux: bool) -> Callable[..., Any]:
    """A function with the value of one loss and the gradient of another; compiled, what they share is computed once."""

    def followed(*args: Any, **kwargs: Any) -> Any:
        climbed = ascent_loss(*args, **kwargs)
        value = loss_fn(*args, **kwargs)
        loss = value[0] if has_aux else value
        loss = jax.lax.stop_gradient(loss) + (climbed - jax.lax.stop_gradient(climbed))
        return (loss, value[1]) if has_aux else loss

    return followed


def step_of(method: Method, batch: Batch, state: PyTree, key: Any = None, step: Any = None) -> Evaluation:
    """Runs one step of a method on a whole batch: groups, their average, and the check that keeps the old state."""
    for leaf in jax.tree.leaves(method):
        if jnp.ndim(leaf):
            raise ValueError(
                f"hyperparameters of {type(method).__name__} must be scalars, got shape {jnp.shape(leaf)}; for "
                "several values at once, use jax.vmap over the method"
            )
    expected = jax.eval_shape(lambda: method.init(batch.params))
    for what, given, wanted in (
        ("structure", jax.tree.structure(state), jax.tree.structure(expected)),
        ("shapes", [*map(jnp.shape, jax.tree.leaves(state))], [*map(jnp.shape, jax.tree.leaves(expected))]),
    ):
        if given != wanted:
            raise ValueError(
                f"the state does not belong to {type(method).__name__} and these parameters: it has the {what} "
                f"{given}, but {type(method).__name__}.init(params) has {wanted}; make it so, and give Python numbers "
                "among the parameters as arrays both times"
            )
    if _leaves_out_numbers(method, batch.params, expected):
        refusing = refusing_numbers(batch.differentiate, batch.params_argnums, type(method).__name__)
        batch = dataclasses.replace(batch, differentiate=refusing)
    old = state
    state = method.prepare(batch.whole(), state, key, step)

    def one(group: Batch, index: Any) -> Evaluation:
        own_key = key if index is None or key is None else jax.random.fold_in(key, index)
        devices = group.devices
        own_state = state if devices is None or devices.all_together else devices.own_copy(state)
        return method.evaluate(group, own_state, own_key, step)

    value, gradients, state = batch.averaged_over_groups(method.m, one)
    finite = jnp.isfinite(norm(gradients))
    gradients = jax.tree.map(lambda g: jnp.where(finite, g, jnp.nan), gradients)
    return value, gradients, jax.tree.map(lambda new, kept: jnp.where(finite, new, kept), state, old)


def _leaves_out_numbers(method: Method, params: PyTree, state: PyTree) -> bool:
    """Whether the state of a method would have another structure if Python numbers in the parameters were arrays."""
    if not any(map(is_number, jax.tree.leaves(params))):
        return False
    as_arrays = jax.tree.map(lambda leaf: jnp.asarray(leaf) if is_number(leaf) else leaf, params)
    return jax.tree.structure(jax.eval_shape(lambda: method.init(as_arrays))) != jax.tree.structure(state)


def register_method(cls: type[M]) -> type[M]:
    """Makes a frozen dataclass a pytree: fields are leaves, except those whose metadata say ``static``.

    Like ``jax.tree_util.register_dataclass``, but nothing is checked when JAX rebuilds an instance, because leaves may
    then be axes, differences of hyperparameters, or placeholders.
    """
    static = tuple(f.name for f in dataclasses.fields(cls) if f.metadata.get("static"))  # pyright: ignore[reportArgumentType]
    leaves = tuple(f.name for f in dataclasses.fields(cls) if not f.metadata.get("static"))  # pyright: ignore[reportArgumentType]
    keys = tuple(jax.tree_util.GetAttrKey(name) for name in leaves)

    def flatten(method: M) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        return tuple(getattr(method, n) for n in leaves), tuple(getattr(method, n) for n in static)

    def flatten_with_keys(method: M) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        values, rest = flatten(method)
        return tuple(zip(keys, values, strict=True)), rest

    def unflatten(rest: tuple[Any, ...], values: Any) -> M:
        method = object.__new__(cls)
        for name, value in zip((*leaves, *static), (*values, *rest), strict=True):
            object.__setattr__(method, name, value)
        return method

    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)
    return cls


@dataclass(frozen=True)
class Perturbing(Method):
    """The base class of methods that take a gradient at a perturbed point.

    Attributes:
        rho: radius >= 0; a number or a traced scalar (a leaf of the method's pytree).
        mask: which parameters are perturbed; all by default.
        m: examples per ascent; the whole batch by default.
        scales: factors of the ascent, layer by layer, see ``Scales``; none by default. They change where the gradient
            is taken; projections and norms of gradients in a method's update stay as they are.
    """

    rho: float | Float[Array, "..."] = 0.05
    mask: Mask | None = field(default=None, kw_only=True, metadata={"static": True})
    m: int | None = field(default=None, kw_only=True, metadata={"static": True})
    scales: Scaling | None = field(default=None, kw_only=True, metadata={"static": True})

    def __post_init__(self) -> None:
        check_radius(self.rho)
        check_mask(self.mask)
        check_scales(self.scales)
        if self.m is not None and not (is_whole_number(self.m) and self.m >= 1):
            raise ValueError(f"m must be a number of examples of at least 1, or None for the whole batch, got {self.m}")


def check_mask(mask: Any, argument: str = "mask") -> None:
    """Raises ``TypeError`` if a mask is not a function."""
    if mask is not None and not callable(mask):
        raise TypeError(
            f"{argument} must be a function from gradients to booleans, got {type(mask).__name__}; "
            "for a pytree of booleans, use: lambda gradients: booleans"
        )


def check_scales(scales: Any) -> None:
    """Raises ``TypeError`` if scales are not a function."""
    if scales is not None and not callable(scales):
        raise TypeError(
            f"scales must be a function from gradients to sam.Scales, got {type(scales).__name__}; for fixed factors, "
            "use: lambda gradients: sam.Scales(numerator, norm)"
        )


def check_function(argument: str, value: Any) -> None:
    """Raises ``TypeError`` if an argument is not a function."""
    if value is not None and not callable(value):
        raise TypeError(f"{argument} must be a function, got {type(value).__name__}")


def check_radius(rho: Any) -> None:
    """Raises if ``rho`` is not a radius; the values of JAX's arrays and traced scalars are not checked.

    Raises:
        TypeError: if ``rho`` is not a number.
        ValueError: if it is a number of Python or NumPy that is negative or not finite.
    """
    if not _is_real(rho):
        raise TypeError(
            f"rho must be a number or a scalar array, got {rho!r}; for a schedule, pass its value at the step: "
            "SAM(rho=schedule(step)) inside the jitted step"
        )
    if _is_known(rho) and not (math.isfinite(rho) and float(rho) >= 0):
        raise ValueError(f"rho must be a finite number >= 0, got {rho}; rho = 0 is plain gradient descent")


def check_number(argument: str, value: Any, holds: Callable[[float], bool], wanted: str) -> None:
    """Raises if a hyperparameter is no number, or a number of Python or NumPy that is invalid.

    The values of JAX's arrays and tracers are not checked: that would wait for the device.
    """
    if not _is_real(value):
        raise TypeError(f"{argument} must be a number or a scalar array, got {value!r}")
    if _is_known(value) and not holds(float(value)):
        raise ValueError(f"{argument} must be {wanted}, got {value}")


def _is_real(value: Any) -> bool:
    """Whether a value is a real number, or an array of real numbers."""
    return isinstance(value, Real) or (hasattr(value, "dtype") and not jnp.issubdtype(value.dtype, jnp.complexfloating))


def _is_known(value: Any) -> bool:
    """Whether the value of a number can be read without waiting for a device."""
    of_numpy = hasattr(value, "item") and not isinstance(value, jax.Array)
    return isinstance(value, Real) or (of_numpy and jnp.ndim(value) == 0)


def check_count(argument: str, value: Any) -> None:
    """Raises ``ValueError`` if a value is not a whole number of at least 1."""
    if not (is_whole_number(value) and value >= 1):
        raise ValueError(f"{argument} must be a whole number of at least 1, got {value}")


def is_whole_number(value: Any) -> bool:
    """Whether a value is a Python or NumPy integer."""
    return hasattr(value, "__index__") and not isinstance(value, bool | jax.Array)


def needed_key(key: Key[Array, ""] | None, method: Method) -> Key[Array, ""]:
    """The key, or ``ValueError`` if there is none."""
    if key is None:
        raise ValueError(
            f"{type(method).__name__} draws random numbers: pass key=, a new one for every step, such as "
            "jax.random.fold_in(key, step)"
        )
    return key
