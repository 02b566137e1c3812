"""The family as optax gradient transformations."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PyTree

from widebasin.sam._batch import Batch
from widebasin.sam._esam import ESAM
from widebasin.sam._loss_scale import all_finite, keep_if
from widebasin.sam._method import Method, Perturbing, step_of
from widebasin.sam._ssam import SSAM
from widebasin.sam._wsam import WSAM

Schedule = Callable[..., Float[Array, ""] | float]


class SharpnessAwareState(NamedTuple):
    """State of ``gradient_transformation``.

    Attributes:
        count: number of finished steps, for the schedule of the radius.
        method: the method's own state.
    """

    count: Int[Array, ""]
    method: PyTree


def gradient_transformation(method: Method, rho: Schedule | None = None) -> optax.GradientTransformationExtraArgs:
    """A method as an optax transformation: plain gradients in, the method's gradients out.

    Chain it before any optimizer, and pass the gradient function of the step's batch to ``update``::

        optimizer = optax.chain(sam.gradient_transformation(sam.SAM(rho=0.05)), optax.adamw(1e-3))
        gradients = jax.grad(loss_fn)(params, batch)
        updates, state = optimizer.update(gradients, state, params, grad_fn=lambda w: jax.grad(loss_fn)(w, batch))

    The given gradients are the first pass, so SAM costs one call of ``grad_fn``. If a gradient of either pass is not
    finite, all results are NaN and the state is unchanged; ``optax.apply_if_finite`` around the optimizer, after this
    transformation in the chain, then skips the step.

    ``grad_fn`` must use the same examples as the given gradients. So accumulate after this transformation,
    ``chain(gradient_transformation(...), optax.MultiSteps(...))``, not around it, and average over devices in
    ``grad_fn`` as in the gradients. To perturb only some parameters, use the method's ``mask``: ``optax.masked`` and
    ``optax.multi_transform`` would hide the others from it.

    Args:
        method: the method; its ``m`` must be ``None``, and it must not select examples, which a gradient function
            hides.
        rho: step -> radius, replaces the method's radius; see also ``radius_schedule``. It advances with every update.

    Returns:
        A transformation whose ``update(gradients, state, params, *, grad_fn, key=None)`` needs ``grad_fn``
        (parameters -> gradients), and ``key`` for methods that draw random numbers.

    Raises:
        ValueError: if the method needs to see examples.
    """
    if not isinstance(method, Method):
        raise TypeError(f"method must be a method of the SAM family, such as sam.SAM(rho=0.05), got {method!r}")
    _refuse_examples(method)
    if rho is not None and not callable(rho):
        raise TypeError(f"rho must be a schedule (step -> radius), got {rho!r}; set a fixed radius in the method")
    if rho is not None and not isinstance(method, Perturbing):
        raise ValueError(f"rho is a schedule of the radius, but {type(method).__name__} has no radius")

    def at(count: Int[Array, ""]) -> Method:
        return dataclasses.replace(method, rho=rho(count)) if rho and isinstance(method, Perturbing) else method

    def init(params: PyTree) -> SharpnessAwareState:
        return SharpnessAwareState(jnp.zeros((), jnp.int32), method.init(params))

    def update(
        updates: PyTree, state: Any, params: PyTree | None = None, *, key: Any = None, **extra: Any
    ) -> tuple[PyTree, SharpnessAwareState]:
        batch = _known(updates, params, extra.get("grad_fn"))
        _, gradients, after = step_of(at(state.count), batch, state.method, key)
        return gradients, SharpnessAwareState(state.count + 1, after)

    return optax.GradientTransformationExtraArgs(init, update)


class DecoupledState(NamedTuple):
    """State of ``decoupled_wsam``.

    Attributes:
        count: number of finished steps, for the schedule of the learning rate.
        optimizer: state of the base optimizer.
    """

    count: Int[Array, ""]
    optimizer: PyTree


def decoupled_wsam(
    optimizer: optax.GradientTransformation,
    learning_rate: float | Schedule,
    method: WSAM,
) -> optax.GradientTransformationExtraArgs:
    """Weighted SAM as in the paper: the base optimizer uses the plain gradient, the sharpness is applied separately.

    ``update = optimizer(g) - learning_rate gamma / (1 - gamma) (g_s - g)``: momentum and preconditioning of the base
    optimizer do not affect the sharpness term. With plain gradient descent this is ``WSAM``.

    Args:
        optimizer: the base optimizer, with its own learning rate.
        learning_rate: learning rate of the sharpness term; a number or a schedule, usually the optimizer's.
        method: the method; its ``m`` must be ``None``.

    Returns:
        A transformation whose ``update(gradients, state, params, *, grad_fn)`` needs ``grad_fn``. If a gradient is not
        finite, the update is NaN and the optimizer's state is unchanged. The sharpness moves every parameter: to freeze
        some, do it after this transformation, not in ``optimizer``, by ``optax.chain(decoupled_wsam(...),
        optax.masked(optax.set_to_zero(), frozen))``.

    Source: Yue et al. 2023, algorithm 1.
    """
    if not isinstance(method, WSAM):
        raise TypeError(f"method must be a sam.WSAM, whose two terms are applied separately, got {method!r}")
    _refuse_examples(method)
    optimizer = optax.with_extra_args_support(optimizer)

    def init(params: PyTree) -> DecoupledState:
        return DecoupledState(jnp.zeros((), jnp.int32), optimizer.init(params))

    def update(
        updates: PyTree, state: Any, params: PyTree | None = None, **extra: Any
    ) -> tuple[PyTree, DecoupledState]:
        batch = _known(updates, params, extra.pop("grad_fn", None))
        _, combined, _ = step_of(method, batch, ())
        rate = learning_rate(state.count) if callable(learning_rate) else learning_rate
        steps, after = optimizer.update(updates, state.optimizer, params, **extra)
        # combined = g + gamma / (1 - gamma) (g_s - g)
        steps = jax.tree.map(lambda s, c, g: s - (rate * (c - g)).astype(s.dtype), steps, combined, updates)
        after = keep_if(all_finite(combined), after, state.optimizer)
        return steps, DecoupledState(state.count + 1, after)

    return optax.GradientTransformationExtraArgs(init, update)


@dataclass(frozen=True, eq=False)
class _KnownBatch(Batch):
    """A batch with a known gradient at the parameters, and a function for the gradient elsewhere."""

    known: PyTree = None

    def clean(self) -> tuple[Any, PyTree]:
        return None, self.known

    def value(self) -> Any:
        return None


def _known(gradients: PyTree, params: PyTree | None, grad_fn: Callable[[PyTree], PyTree] | None) -> Batch:
    if grad_fn is None:
        raise ValueError(
            "update needs grad_fn, the gradient function of the step's batch: "
            "optimizer.update(gradients, state, params, grad_fn=lambda w: jax.grad(loss_fn)(w, batch))"
        )
    if params is None:
        raise ValueError("update needs params: the ascent starts there")
    if any(map(_is_masked, jax.tree.leaves(params, is_leaf=_is_masked))):
        raise ValueError(
            "within optax.masked or optax.multi_transform grad_fn would be called without the other parameters: put "
            "this transformation before them in optax.chain, with mask= for what is perturbed"
        )
    expected = jax.tree.structure(gradients)

    def gradient(point: PyTree) -> PyTree:
        found = grad_fn(point)
        if jax.tree.structure(found) != expected:
            raise ValueError(
                f"grad_fn must return only gradients, with the structure {expected}, got {jax.tree.structure(found)}; "
                "without the value: grad_fn=lambda w: jax.grad(loss_fn)(w, batch)"
            )
        return found

    return _KnownBatch(
        params=params,
        loss_fn=gradient,
        differentiate=lambda w: (None, gradient(w)),
        has_aux=False,
        args=(params,),
        kwargs={},
        params_argnums=0,
        example_argnums=(),
        axis_name=None,
        merge_aux=lambda stacked: stacked,
        known=gradients,
    )


def _is_masked(node: Any) -> bool:
    return isinstance(node, optax.MaskedNode)


def _refuse_examples(method: Method) -> None:
    fisher = isinstance(method, SSAM) and method.scores == "fisher"
    selects = isinstance(method, ESAM) and method.gamma < 1
    if method.m is not None or fisher or selects:
        what = "m" if method.m is not None else "its choice of " + ("examples" if selects else "parameters")
        raise ValueError(
            f"{type(method).__name__} cannot be a gradient transformation: {what} needs to see single examples, which "
            "the gradient function hides; use method.value_and_grad(loss_fn) and chain nothing before the optimizer"
        )
