"""The loss of a batch as a function of the parameters only; methods are written in terms of it."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from widebasin.sam._ascent import is_number, norm, widened
from widebasin.sam._nnx import refuse_modules


def average_over_groups(stacked: PyTree) -> PyTree:
    """The mean over the leading axis of every leaf.

    Raises:
        TypeError: if a leaf is not floating-point, because only you can say how to merge it over groups.
    """

    def average(path: Any, leaf: Array) -> Array:
        if not jnp.issubdtype(leaf.dtype, jnp.inexact):
            name = jax.tree_util.keystr(path) or "aux"
            raise TypeError(
                f"the auxiliary output {name} has dtype {leaf.dtype}, which cannot be averaged over groups of "
                "examples; define how to merge it: merge_aux=lambda stacked: ..., with a leading axis over groups"
            )
        return widened(leaf).mean(0).astype(leaf.dtype)

    return jax.tree_util.tree_map_with_path(average, stacked)


def concatenate_over_groups(stacked: PyTree) -> PyTree:
    """Restores one row per example: joins the leading axes over groups and over examples in a group.

    For ``aux`` with one entry per example, such as logits: ``merge_aux=sam.concatenate_over_groups``.
    """
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), stacked)


@dataclass(frozen=True)
class Devices:
    """The devices of a mesh axis that share a group of examples, in ``jax.shard_map``.

    Attributes:
        axis_name: name of the mesh axis.
        size: number of devices along it.
        sharing: number of consecutive devices that share one group.
    """

    axis_name: str
    size: int
    sharing: int

    @property
    def all_together(self) -> bool:
        """Whether all devices of the axis share one group."""
        return self.sharing == self.size

    def own_copy(self, tree: PyTree) -> PyTree:
        """The same values, but differentiated per device: the gradient is then that of the device's own examples."""

        def vary(leaf: Any) -> Any:
            if not isinstance(leaf, jax.Array) or not jnp.issubdtype(leaf.dtype, jnp.inexact):
                return leaf
            varying = self._made_varying(leaf)
            return leaf if varying is None else varying

        return jax.tree.map(vary, tree)

    def refuse_averaged(self, loss: Any) -> None:
        """Raises if the loss is the same on all devices although it is differentiated per device.

        Its gradient would be averaged twice. With ``check_vma=False`` this cannot be detected, and it is averaged once.
        """
        probe = self._made_varying(jnp.zeros(()))
        if probe is None:  # the axis is that of ``jax.vmap``, which does not tell
            return
        if self._made_varying(probe) is None and self._made_varying(loss) is not None:
            raise ValueError(
                f"the loss is the same on all devices of {self.axis_name!r}: either average it inside loss_fn or give "
                f"axis_name={self.axis_name!r}, not both"
            )

    def _made_varying(self, leaf: Any) -> Array | None:
        """The leaf as one that differs between devices; ``None`` if it does already, or the axis is a ``vmap``'s.

        JAX refuses by ``ValueError``, in a trace within ``jax.vmap`` by a failed assertion.
        """
        try:
            return jax.lax.pcast(leaf, self.axis_name, to="varying")
        except (ValueError, AssertionError):
            return None

    def mean(self, tree: PyTree) -> PyTree:
        """Average over the devices that share a group."""
        if self.all_together:
            return jax.lax.pmean(tree, self.axis_name)
        if self.sharing == 1:
            return tree

        # Round the ring of each group of devices; groups of an axis are not implemented for pmean in shard_map.
        def around(leaf: Array) -> Array:
            total = passing = leaf
            for _ in range(self.sharing - 1):
                passing = jax.lax.ppermute(passing, self.axis_name, self._ring())
                total = total + passing
            return total / self.sharing

        return jax.tree.map(around, tree)

    def _ring(self) -> list[tuple[int, int]]:
        k = self.sharing
        return [(i, i // k * k + (i + 1) % k) for i in range(self.size)]

    def mean_over_all(self, tree: PyTree) -> PyTree:
        """Average of floating-point leaves over all devices; other leaves are equal on all devices."""
        if self.all_together:
            return tree
        return jax.tree.map(
            lambda leaf: jax.lax.pmean(leaf, self.axis_name) if jnp.issubdtype(leaf.dtype, jnp.inexact) else leaf, tree
        )


@dataclass(frozen=True, eq=False)
class Batch:
    """The loss on given examples, as a function of the parameters.

    Attributes:
        params: the point of the clean pass.
        loss_fn: the loss, a function of all arguments.
        differentiate: value and gradient of ``loss_fn``.
        has_aux: whether ``loss_fn`` returns auxiliary data.
        args: positional arguments of ``loss_fn``.
        kwargs: keyword arguments of ``loss_fn``.
        params_argnums: which of ``args`` are the parameters, as in ``jax.value_and_grad``.
        example_argnums: which of ``args`` hold examples.
        axis_name: see ``Method.value_and_grad``.
        merge_aux: see ``Method.value_and_grad``.
        losses_of_examples: see ``Method.value_and_grad``.
        group_weight: see ``Method.value_and_grad``.
        differentiate_ascent: value of ``loss_fn``, and gradient of the loss that the ascent follows; ``None`` if it is
            the same loss.
        devices: the devices that share the examples; ``None`` outside ``jax.shard_map``.
    """

    params: PyTree
    loss_fn: Callable[..., Any]
    differentiate: Callable[..., Any]
    has_aux: bool
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    params_argnums: int | tuple[int, ...]
    example_argnums: tuple[int, ...]
    axis_name: str | None
    merge_aux: Callable[[PyTree], PyTree]
    losses_of_examples: Callable[..., Float[Array, " examples"]] | None = None
    group_weight: Callable[[PyTree], Any] | None = None
    differentiate_ascent: Callable[..., Any] | None = None
    devices: Devices | None = None

    @classmethod
    def of(
        cls,
        loss_fn: Callable[..., Any],
        differentiate: Callable[..., Any],
        has_aux: bool,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        *,
        params_argnums: int | tuple[int, ...],
        batch_argnums: int | Sequence[int] | None,
        axis_name: str | None,
        merge_aux: Callable[[PyTree], PyTree],
        losses_of_examples: Callable[..., Float[Array, " examples"]] | None = None,
        group_weight: Callable[[PyTree], Any] | None = None,
        differentiate_ascent: Callable[..., Any] | None = None,
    ) -> "Batch":
        """Checks which arguments are parameters and which hold examples."""
        positions = (params_argnums,) if isinstance(params_argnums, int) else params_argnums
        if not all(-len(args) <= position < len(args) for position in positions):
            raise TypeError(
                f"the parameters are argument {', '.join(map(str, positions))}, counted from 0: give them by position, "
                f"got {len(args)} arguments by position"
            )
        params = args[params_argnums] if isinstance(params_argnums, int) else tuple(args[i] for i in positions)
        refuse_modules(params)
        return cls(
            params=params,
            loss_fn=loss_fn,
            differentiate=without_integers(differentiate),
            has_aux=has_aux,
            args=args,
            kwargs=kwargs,
            params_argnums=params_argnums,
            example_argnums=example_positions(batch_argnums, len(args), positions),
            axis_name=axis_name,
            merge_aux=merge_aux,
            losses_of_examples=losses_of_examples,
            group_weight=group_weight,
            differentiate_ascent=differentiate_ascent and without_integers(differentiate_ascent),
        )

    # The loss and its gradient ----------------------------------------------------------------------------------------

    def clean(self) -> tuple[Any, PyTree]:
        """Value (with ``aux``) and gradients at ``params``."""
        return self._clean(self.differentiate)

    def ascent(self) -> tuple[Any, PyTree]:
        """Value (with ``aux``) at ``params``, and the gradients that the ascent follows from there."""
        return self.clean() if self.differentiate_ascent is None else self._clean(self.differentiate_ascent)

    def _clean(self, differentiate: Callable[..., Any]) -> tuple[Any, PyTree]:
        params = self.params if self.devices is None else self.devices.own_copy(self.params)
        value, gradients = differentiate(*self._placed(params), **self.kwargs)
        return self._synchronized(value), self._shared(gradients, value)

    def value(self) -> Any:
        """Value (with ``aux``) at ``params``, by a forward pass only."""
        return self._synchronized(self.loss_fn(*self._placed(self.params), **self.kwargs))

    def gradient(self, params: PyTree) -> PyTree:
        """Gradients at any point."""
        params = params if self.devices is None else self.devices.own_copy(params)
        value, gradients = self.differentiate(*self._placed(params), **self.kwargs)
        return self._shared(gradients, value)

    def guarded(self, gradients: PyTree, clean: PyTree) -> PyTree:
        """``gradients``, or NaN everywhere if the clean ones are not finite, which the second pass could hide."""
        finite = jnp.isfinite(norm(clean))
        return jax.tree.map(lambda g: jnp.where(finite, g, jnp.nan), gradients)

    def _placed(self, params: PyTree) -> list[Any]:
        args = list(self.args)
        if isinstance(self.params_argnums, int):
            args[self.params_argnums] = params
        else:
            for i, branch in zip(self.params_argnums, params, strict=True):
                args[i] = branch
        return args

    def _shared(self, tree: PyTree, value: Any = None) -> PyTree:
        """The mean over the devices that share the examples, weighted if ``value`` has weights."""
        if self.devices is None:
            return tree
        if self.group_weight is None or value is None:
            return self.devices.mean(tree)
        weight = jnp.asarray(self.group_weight(value[1]), float)
        return self.devices.mean(scaled(tree, _relative(weight, self.devices.mean(weight))))

    def _synchronized(self, value: Any) -> Any:
        if self.devices is None:
            return value
        self.devices.refuse_averaged(value[0] if self.has_aux else value)
        return (self._shared(value[0], value), value[1]) if self.has_aux else self.devices.mean(value)

    # Its examples -----------------------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """Number of examples here (in ``jax.shard_map``: on this device).

        Raises:
            ValueError: if there are none, or arguments disagree.
        """
        lengths = {}
        for position in self.example_argnums:
            for leaf in jax.tree.leaves(self.args[position]):
                shape = jnp.shape(leaf)
                if not shape:
                    raise ValueError(
                        f"argument {position} of the loss is not an array of examples: it has a leaf of shape (); name "
                        "the arguments with examples by batch_argnums="
                    )
                lengths.setdefault(shape[0], position)
        if len(lengths) > 1:
            found = ", ".join(f"{length} in argument {position}" for length, position in lengths.items())
            raise ValueError(
                f"the arguments of the loss have different numbers of examples: {found}; name those with examples "
                "by batch_argnums="
            )
        if not lengths or 0 in lengths:
            raise ValueError(
                "the batch has no examples: pass them as positional arguments of the loss, or name the arguments by "
                "batch_argnums="
            )
        return next(iter(lengths))

    def at(self, indices: Int[Array, " n"]) -> "Batch":
        """The examples at these positions.

        Raises:
            ValueError: if they are on several devices.
        """
        self._refuse_several_devices()
        return self._with_examples(
            [jax.tree.map(lambda leaf: jnp.asarray(leaf)[indices], tree) for tree in self._examples()]
        )

    def example_losses(self) -> Callable[[PyTree], Float[Array, " examples"]]:
        """A function from parameters to losses of the examples: the one given, or with every example as its own batch.

        Raises:
            ValueError: if the examples are on several devices.
        """
        self._refuse_several_devices()
        size = self.size

        def losses(params: PyTree) -> Float[Array, " examples"]:
            if self.losses_of_examples is not None:
                found = self.losses_of_examples(*self._placed(params), **self.kwargs)
                if jnp.shape(found) != (size,):
                    raise ValueError(
                        f"example_losses must return one loss for each of the {size} examples, got shape "
                        f"{jnp.shape(found)}"
                    )
                return found

            def one(examples: list[Any]) -> Float[Array, ""]:
                alone = self._with_examples(jax.tree.map(lambda leaf: leaf[None], examples))
                value = self.loss_fn(*alone._placed(params), **self.kwargs)
                return value[0] if self.has_aux else value

            return jax.vmap(one)(self._examples())

        return losses

    def mean_square_of_example_gradients(self) -> PyTree:
        """The mean over examples of the squared entries of their gradients, one example at a time."""
        count = self.size
        params = self.params if self.devices is None else self.devices.own_copy(self.params)

        def squares(index: Any) -> PyTree:
            alone = self._with_examples(
                jax.tree.map(lambda leaf: jax.lax.dynamic_slice_in_dim(jnp.asarray(leaf), index, 1), self._examples())
            )
            _, gradients = self.differentiate(*alone._placed(params), **self.kwargs)
            return jax.tree.map(lambda g: jnp.abs(widened(g)) ** 2, gradients)

        def add(total: PyTree, index: Int[Array, ""]) -> tuple[PyTree, None]:
            return jax.tree.map(jnp.add, total, squares(index)), None

        total, _ = jax.lax.scan(add, squares(0), jnp.arange(1, count))
        return self._shared(jax.tree.map(lambda t: t / count, total))

    def _examples(self) -> list[Any]:
        return [self.args[i] for i in self.example_argnums]

    def _with_examples(self, examples: Sequence[Any]) -> "Batch":
        args = list(self.args)
        for i, tree in zip(self.example_argnums, examples, strict=True):
            args[i] = tree
        return dataclasses.replace(self, args=tuple(args))

    def _refuse_several_devices(self) -> None:
        if self.devices is not None and self.devices.sharing > 1:
            raise ValueError(
                f"a method that selects single examples cannot do so across the devices of {self.axis_name!r} in "
                "jax.shard_map: choose an m that divides the examples per device, or use jax.jit with sharded arrays"
            )

    # Its groups -------------------------------------------------------------------------------------------------------

    def whole(self) -> "Batch":
        """The batch over all devices of the axis together."""
        if self.axis_name is None:
            return self
        size = jax.lax.axis_size(self.axis_name)
        return dataclasses.replace(self, devices=Devices(self.axis_name, size, size))

    def averaged_over_groups(self, m: int | None, evaluate: Callable[["Batch", Any], Any]) -> Any:
        """The average of ``evaluate(group, number of the group)`` over groups of ``m`` consecutive examples.

        ``evaluate`` returns ``(value, gradients, state)``. If there is only one group, its number is ``None``.

        Raises:
            ValueError: if ``m`` does not divide the batch.
        """
        if m is None:
            return evaluate(self.whole(), None)
        here = self.size
        size = 1 if self.axis_name is None else jax.lax.axis_size(self.axis_name)
        total = here * size
        if total % m:
            divisors = [d for d in range(1, total + 1) if total % d == 0]
            nearest = min(divisors, key=lambda d: abs(d - m))
            raise ValueError(
                f"m = {m} does not divide the batch of {total} examples; choose a divisor, such as {nearest}, or a "
                "batch size that is a multiple of m (drop the incomplete last batch)"
            )
        if m == total:
            return evaluate(self.whole(), None)
        refuse_keyword_examples(self.kwargs, here)
        sharing = max(1, m // here)
        if math.gcd(m, here) not in (m, here) or size % sharing:
            raise ValueError(
                f"m = {m} splits the {here} examples on each of {size} devices unevenly; in jax.shard_map, m must "
                "divide the examples per device or be a multiple of them: choose such an m, or use jax.jit with "
                "sharded arrays"
            )
        devices = None if self.axis_name is None else Devices(self.axis_name, size, sharing)
        first = 0 if self.axis_name is None else jax.lax.axis_index(self.axis_name) // sharing * max(1, here // m)
        shared = dataclasses.replace(self, devices=devices)
        if here <= m:
            value, gradients, state = evaluate(shared, first)
            weights = None if self.group_weight is None else jnp.asarray(self.group_weight(value[1]), float)
            if weights is not None and devices is not None:
                weights = devices.mean(weights)
        else:
            count = here // m
            grouped = [
                jax.tree.map(lambda leaf: jnp.reshape(leaf, (count, m, *jnp.shape(leaf)[1:])), tree)
                for tree in self._examples()
            ]
            value, gradients, state = jax.vmap(lambda examples, i: evaluate(shared._with_examples(examples), i))(
                grouped, first + jnp.arange(count)
            )
            weights = None
            if self.group_weight is not None:
                weights = jnp.broadcast_to(jnp.asarray(self.group_weight(value[1]), float), (count,))
                shares = _relative(weights, weights.mean())
                value = (scaled(value[0], shares), value[1])
                gradients = scaled(gradients, shares)
                weights = weights.mean()
            value = (value[0].mean(0), self.merge_aux(value[1])) if self.has_aux else average_over_groups(value)
            gradients = average_over_groups(gradients)
            state = jax.tree.map(_average_or_first, state)
        if devices is not None:
            if weights is not None:
                share = _relative(weights, jax.lax.pmean(weights, self.axis_name))
                value, gradients = (scaled(value[0], share), value[1]), scaled(gradients, share)
            value = (devices.mean_over_all(value[0]), value[1]) if self.has_aux else devices.mean_over_all(value)
            gradients, state = devices.mean_over_all((gradients, state))
        return value, gradients, state


def _relative(weights: Array, mean: Array) -> Array:
    """Weights divided by their mean; 1 if all are 0."""
    return jnp.where(mean == 0, 1, weights / jnp.where(mean == 0, 1, mean))


def scaled(tree: PyTree, factors: Array) -> PyTree:
    """Every leaf times one factor, or times one factor per row."""

    def one(leaf: Array) -> Array:
        wide = factors.reshape(factors.shape + (1,) * (leaf.ndim - factors.ndim))
        return (leaf * wide).astype(leaf.dtype)

    return jax.tree.map(one, tree)


def refuse_keyword_examples(kwargs: Mapping[str, Any], size: int) -> None:
    """Raises ``ValueError`` if a keyword argument looks like examples: only positional arguments are split."""
    for name, tree in kwargs.items():
        if any(jnp.ndim(leaf) and jnp.shape(leaf)[0] == size for leaf in jax.tree.leaves(tree)):
            raise ValueError(
                f"the keyword argument {name!r} has as many rows as there are examples ({size}), but only positional "
                "arguments are split: pass examples by position, or close over arrays that are not examples"
            )


def _average_or_first(leaf: Array) -> Array:
    """The average over groups of a floating-point leaf; other leaves, such as counts, are equal in all groups.

    Values that are equal in all groups are kept to the bit; their mean might round, and a state kept over many steps
    would drift.
    """
    return leaf[0] + (leaf - leaf[0]).mean(0) if jnp.issubdtype(leaf.dtype, jnp.inexact) else leaf[0]


def without_integers(differentiate: Callable[..., Any]) -> Callable[..., Any]:
    """The same function with ``None`` for the gradients of integers, which JAX gives where it is told to allow them."""

    def differentiated(*args: Any, **kwargs: Any) -> tuple[Any, PyTree]:
        value, gradients = differentiate(*args, **kwargs)
        return value, jax.tree.map(lambda g: None if getattr(g, "dtype", None) == jax.dtypes.float0 else g, gradients)

    return differentiated


def refusing_numbers(
    differentiate: Callable[..., Any], params_argnums: int | tuple[int, ...], method: str
) -> Callable[..., Any]:
    """The same function, which raises ``TypeError`` if it differentiates a Python number among the parameters."""

    def differentiated(*args: Any, **kwargs: Any) -> tuple[Any, PyTree]:
        value, gradients = differentiate(*args, **kwargs)
        params = args[params_argnums] if isinstance(params_argnums, int) else tuple(args[i] for i in params_argnums)

        def check(path: Any, gradient: Any, param: Any) -> None:
            if gradient is not None and is_number(param):
                raise TypeError(
                    f"params{jax.tree_util.keystr(path)} is the number {param}, which the state of {method} takes for "
                    f"a constant, but it is differentiated: make it an array, jnp.asarray({param})"
                )

        jax.tree_util.tree_map_with_path(check, gradients, params, is_leaf=lambda leaf: leaf is None)
        return value, gradients

    return differentiated


def example_positions(
    batch_argnums: int | Sequence[int] | None, arguments: int, params_argnums: tuple[int, ...]
) -> tuple[int, ...]:
    """Which positional arguments contain examples: those named, or all except the parameters.

    Raises:
        ValueError: if a named argument does not exist or is the parameters.
    """
    parameters = {position % arguments for position in params_argnums}  # -1 is the last, as in jax.value_and_grad
    if batch_argnums is None:
        return tuple(i for i in range(arguments) if i not in parameters)
    positions = (batch_argnums,) if isinstance(batch_argnums, int) else tuple(batch_argnums)
    for position in positions:
        if not 0 <= position < arguments or position in parameters:
            raise ValueError(
                f"batch_argnums must name positional arguments of the loss that are not its parameters, of {arguments} "
                f"(counted from 0, parameters {', '.join(map(str, params_argnums))}), got {position}"
            )
    return positions
