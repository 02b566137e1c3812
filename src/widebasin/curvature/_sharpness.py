"""How far the loss rises nearby: in the worst direction, and on average over random ones."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PyTree

from widebasin.curvature._flat import Flattening, NotFiniteError, Where, batch_size, checked_chunk_size, checked_key
from widebasin.curvature._krylov import euclidean_norm
from widebasin.curvature._mean_loss import MeanLoss, check_mean_loss, mean_over_chunks


@dataclass(frozen=True)
class Sharpness:
    """The worst rise of the loss within a radius.

    Attributes:
        value: the mean over groups of examples. Each rise was reached, so it is a lower bound of the largest.
        standard_error: of that mean, from the spread between groups, and rounding; nan for one group.
        groups: ``(groups,)``, the rise of each.
        rounding: what the rounding of the losses makes of a rise, see ``AverageSharpness``.
    """

    value: float
    standard_error: float
    groups: np.ndarray
    rounding: float


@dataclass(frozen=True)
class AverageSharpness:
    """The mean rise of the loss over random perturbations.

    Attributes:
        value: the mean over samples.
        standard_error: of that mean, from the spread between samples, and rounding.
        samples: ``(samples,)``, each the mean rise along a random perturbation and its opposite.
        rounding: what the rounding of the losses makes of a rise: their size times the relative error of their type. A
            rise below it, as within a very small radius, says nothing.
    """

    value: float
    standard_error: float
    samples: np.ndarray
    rounding: float


def worst_case_sharpness(
    loss_fn: MeanLoss,
    params: PyTree,
    batch: PyTree,
    *,
    rho: float,
    m: int | None = 128,
    steps: int = 20,
    adaptive: bool = False,
    where: Where | None = None,
) -> Sharpness:
    """The mean over groups of ``m`` examples of ``max_{||e||_2 <= rho} L(w + c e) - L(w)``, the loss of that group.

    By projected gradient ascent in the ball, in the manner of Auto-PGD: steps along the normalized gradient of length
    ``2 rho`` at first, with momentum, halved and taken up again from the best point when it no longer improves. The
    best point counts, so the value is a lower bound of the maximum, and never below 0. Memory is that of one group.

    The protocol of the source is 1,024 examples, ``m = 128``, 20 steps, and a loss of ``normalized_logits``.

    Args:
        loss_fn: see ``hessian``.
        params: see ``hessian``.
        batch: see ``hessian``.
        rho: radius of the ball, > 0.
        m: examples of a group, a divisor of their number; ``None`` for the whole batch as one group.
        steps: of the ascent; one gradient each, and one more.
        adaptive: ``c = |w|``, entry by entry, else 1. It then does not change where layers are rescaled against each
            other without changing the function.
        where: see ``hessian``; the arrays to perturb.

    Raises:
        ValueError: as ``hessian``; if ``rho`` is not positive, ``steps`` below 1, or ``m`` no divisor.

    Source: Andriushchenko et al. 2023 (arXiv 2302.07011); Auto-PGD: Croce & Hein 2020 (arXiv 2003.01690).
    """
    _check_radius(rho)
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    count = batch_size(batch)
    m = count if m is None else m
    if m < 1 or count % m:
        raise ValueError(f"m must divide the {count} examples into groups, or be None for all of them, got {m}")
    check_mean_loss(loss_fn, params, batch, m)
    flattening, arrays = Flattening.of(params, where)
    point = flattening.vector(params)
    rises, losses, slopes = _worst_rises(loss_fn, flattening, m, steps, adaptive, rho, point, arrays, batch)
    groups, slopes = np.asarray(rises, np.float64), np.asarray(slopes, np.float64)
    _check_finite(groups, slopes)
    rounding = _rounding(losses)
    return Sharpness(float(groups.mean()), _standard_error(groups, rounding), groups, rounding)


def average_sharpness(
    loss_fn: MeanLoss,
    params: PyTree,
    batch: PyTree,
    *,
    rho: float,
    key: Key[Array, ""],
    samples: int = 100,
    adaptive: bool = False,
    where: Where | None = None,
    chunk_size: int | None = None,
) -> AverageSharpness:
    """``E L(w + c e) - L(w)`` over ``e ~ N(0, rho^2 I)``; ``rho^2 / 2 tr(c H c)`` for a small radius.

    Every perturbation is taken with its opposite, so that the gradient, which adds nothing to the mean, adds no noise.

    Args:
        loss_fn: see ``hessian``.
        params: see ``hessian``.
        batch: see ``hessian``.
        rho: standard deviation of every entry, > 0.
        key: of the perturbations.
        samples: at least 2; two losses each.
        adaptive: ``c = |w|``, entry by entry, else 1.
        where: see ``hessian``; the arrays to perturb.
        chunk_size: see ``hessian``.

    Raises:
        ValueError: as ``hessian``; if ``rho`` is not positive or ``samples`` below 2.

    Source: Andriushchenko et al. 2023 (arXiv 2302.07011).
    """
    _check_radius(rho)
    if samples < 2:
        raise ValueError(f"samples must be at least 2, to tell the standard error, got {samples}")
    check_mean_loss(loss_fn, params, batch, checked_chunk_size(chunk_size))
    flattening, arrays = Flattening.of(params, where)
    point, keys = flattening.vector(params), jax.random.split(checked_key(key), samples)
    losses = _losses_around(loss_fn, flattening, chunk_size, adaptive, keys, rho, point, arrays, batch)
    # In double precision: a difference of rounded losses is rounded no further.
    at_point, *sides = np.split(np.asarray(losses, np.float64), [1, samples + 1])
    rises = sum(sides) / 2 - at_point
    _check_finite(rises)
    rounding = _rounding(losses)
    return AverageSharpness(float(rises.mean()), _standard_error(rises, rounding), rises, rounding)


def normalized_logits(logits: Float[Array, "*batch classes"]) -> Float[Array, "*batch classes"]:
    """``f / sqrt(mean_k (f_k - mean f)^2)``: logits of standard deviation 1.

    In a loss, it makes sharpness independent of the scale of the logits, which training drives up and which changes no
    prediction. Logits that are all equal stay as they are.

    Source: Tsuzuku et al. 2020 (arXiv 1901.04653).
    """
    variance = jnp.var(logits, axis=-1, keepdims=True)
    spread = jnp.ptp(logits, axis=-1, keepdims=True)
    # Of equal logits the variance is a rounding error. Chosen before the root, whose derivative at 0 is infinite.
    return logits / jnp.sqrt(jnp.where((spread > 0) & (variance > 0), variance, 1))


def _check_radius(rho: float) -> None:
    if not (math.isfinite(rho) and rho > 0):
        raise ValueError(f"rho must be a finite number > 0, got {rho}")


def _check_finite(*values: np.ndarray) -> None:
    if not all(np.isfinite(one).all() for one in values):
        raise NotFiniteError("loss_fn or its gradient is not finite within this radius: take a smaller rho")


def _rounding(losses: Array) -> float:
    """The error of a difference of losses that their type makes: the same in every sample, so no mean averages it."""
    return float(jnp.finfo(losses.dtype).eps * jnp.abs(losses).max())


def _standard_error(values: np.ndarray, rounding: float) -> float:
    """Of a mean, from the spread of its values and the rounding that all of them share; nan for one value."""
    return math.hypot(float(values.std(ddof=1)) / len(values) ** 0.5, rounding) if len(values) > 1 else math.nan


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _worst_rises(
    loss_fn: MeanLoss,
    flattening: Flattening,
    m: int,
    steps: int,
    adaptive: bool | Array,
    rho: float | Array,
    point: Array,
    arrays: list[Array],
    batch: PyTree,
) -> tuple[Array, Array, Array]:
    scale = jnp.where(adaptive, jnp.abs(point), 1)

    def of_group(group: PyTree) -> tuple[Array, Array, Array]:
        def loss(perturbation: Array) -> Array:
            return loss_fn(flattening.params(point + scale * perturbation, arrays), group)

        return _ascent(jax.value_and_grad(loss), jnp.asarray(rho, point.dtype), jnp.zeros_like(point), steps)

    return jax.lax.map(of_group, jax.tree.map(lambda leaf: leaf.reshape(-1, m, *leaf.shape[1:]), batch))


class _Visited(NamedTuple):
    perturbation: Array
    value: Array
    gradient: Array


class _State(NamedTuple):
    origin: Array  # the loss before the first step
    here: _Visited
    before: Array  # the perturbation one step ago
    best: _Visited
    checked: Array  # the best value at the last check
    step: Array
    rises: Array  # steps since the last check that rose
    halved: Array  # whether the last check halved the step
    slope: Array  # largest gradient norm met


def _ascent(
    value_and_gradient: Callable[[Array], tuple[Array, Array]], rho: Array, zero: Array, steps: int
) -> tuple[Array, Array, Array]:
    """The largest rise over the value at zero within the ball, the largest value, and the largest gradient norm met.

    At a minimum the gradient is zero and shows no direction: a random one does. The value at zero comes from the loop
    that all others come from: compiled twice, the same loss may be rounded otherwise.
    """
    anywhere = jax.random.normal(jax.random.key(0), zero.shape, zero.dtype)

    def projected(vector: Array) -> Array:
        return vector * (rho / jnp.maximum(euclidean_norm(vector), rho))

    def one(state: _State, now: tuple[Array, Array, Array, Array]) -> tuple[_State, None]:
        is_first, momentum, is_check, needed = now
        here, best = state.here, state.best
        direction = jnp.where(jnp.any(here.gradient != 0), here.gradient, anywhere)
        ahead = projected(here.perturbation + state.step * direction / euclidean_norm(direction))
        forward, carried = ahead - here.perturbation, here.perturbation - state.before
        there = projected(here.perturbation + (1 - momentum) * forward + momentum * carried)
        there = jnp.where(is_first, 0, there)
        new = _Visited(there, *value_and_gradient(there))
        best = _chosen(is_first | (new.value > best.value), new, best)
        rises = jnp.where(new.value > here.value, state.rises + 1, state.rises)
        halve = is_check & ((rises < needed) | (~state.halved & (best.value <= state.checked)))
        return _State(
            origin=jnp.where(is_first, new.value, state.origin),
            here=_chosen(halve, best, new),
            before=jnp.where(halve, best.perturbation, here.perturbation),
            best=best,
            checked=jnp.where(is_first | is_check, best.value, state.checked),
            step=jnp.where(halve, state.step / 2, state.step),
            rises=jnp.where(is_first | is_check, 0, rises),
            halved=jnp.where(is_check, halve, state.halved),
            slope=jnp.maximum(state.slope, euclidean_norm(new.gradient)),
        ), None

    nothing = jnp.zeros((), jax.eval_shape(value_and_gradient, zero)[0].dtype)
    nowhere = _Visited(zero, nothing, zero)
    start = _State(
        origin=nothing,
        here=nowhere,
        before=zero,
        best=nowhere,
        checked=nothing,
        step=2 * rho,
        rises=jnp.int32(0),
        halved=jnp.bool_(False),
        slope=jnp.zeros((), zero.dtype),
    )
    # The point itself first, then the steps, the first of which has no momentum yet.
    is_first = np.arange(steps + 1) == 0
    momentum = jnp.asarray(np.where(np.arange(steps + 1) <= 1, 0.0, 0.25), zero.dtype)
    checks = [jnp.pad(one, (1, 0)) for one in _checks(steps)]
    last, _ = jax.lax.scan(one, start, (jnp.asarray(is_first), momentum, *checks))
    return last.best.value - last.origin, last.best.value, last.slope


def _chosen(condition: Array, yes: _Visited, no: _Visited) -> _Visited:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)


def _checks(steps: int) -> tuple[Array, Array]:
    """After which steps to look whether it improves, and how many since the last look (75%) must have risen.

    Looks come more often with time: at first after 22% of the steps, then each time 3% earlier, at last every 6%.
    """
    checks, needed = np.zeros(steps, bool), np.zeros(steps, np.int32)
    interval, step = max(math.ceil(0.22 * steps), 1), 0
    while (step := step + interval) <= steps:
        checks[step - 1], needed[step - 1] = True, math.ceil(0.75 * interval)
        interval = max(interval - math.ceil(0.03 * steps), math.ceil(0.06 * steps))
    return jnp.asarray(checks), jnp.asarray(needed)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _losses_around(
    loss_fn: MeanLoss,
    flattening: Flattening,
    chunk_size: int | None,
    adaptive: bool | Array,
    keys: Key[Array, " samples"],
    rho: float | Array,
    point: Array,
    arrays: list[Array],
    batch: PyTree,
) -> Array:
    """The loss at the point, at every perturbed one, and opposite to it: all by one program, rounded alike."""
    scale = jnp.asarray(rho, point.dtype) * jnp.where(adaptive, jnp.abs(point), 1)

    def loss(key_and_sign: tuple[Array, Array]) -> Array:
        key, sign = key_and_sign
        perturbation = sign * scale * jax.random.normal(key, point.shape, point.dtype)
        return mean_over_chunks(loss_fn, flattening.params(point + perturbation, arrays), batch, chunk_size)

    signs = jnp.asarray(np.repeat([0.0, 1.0, -1.0], [1, len(keys), len(keys)]), point.dtype)
    return jax.lax.map(loss, (jnp.concatenate([keys[:1], keys, keys]), signs))
