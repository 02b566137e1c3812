"""How much the loss rises nearby: in the worst case, and on average over random directions."""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PyTree

from widebasin.curvature._flat import (
    Flattening,
    NotFiniteError,
    Where,
    at_least_single,
    batch_size,
    checked_chunk_size,
    checked_key,
    compiled,
)
from widebasin.curvature._krylov import euclidean_norm
from widebasin.curvature._mean_loss import MeanLoss, check_mean_loss, mean_over_chunks


@dataclass(frozen=True)
class Sharpness:
    """The largest rise of the loss within a radius.

    Attributes:
        value: the mean over groups of examples. Each rise was attained, so this is a lower bound on the maximum.
        standard_error: standard error of that mean, from the spread between groups and from rounding; NaN for one
            group.
        groups: ``(groups,)``, the rise of each group.
        rounding: rounding error of a rise, see ``AverageSharpness``.
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
        standard_error: standard error of that mean, from the spread between samples and from rounding.
        samples: ``(samples,)``, each the mean rise along a random perturbation and its opposite.
        rounding: rounding error of a rise: the size of the losses times the relative error of their type. A rise below
            it, as for a very small radius, is meaningless.
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
    norm: str = "l2",
    where: Where | None = None,
) -> Sharpness:
    """The mean over groups of ``m`` examples of ``max_{||e|| <= rho} L(w + c e) - L(w)``, with the loss of the group.

    Uses projected gradient ascent in the ball, like Auto-PGD: steps of initial length ``2 rho`` along the direction of
    steepest ascent in the norm (the normalized gradient, or its signs), with momentum; when the loss no longer
    improves, steps are halved and restart from the best point. The best point counts, so the value is a lower bound on
    the maximum, and never below 0. Memory is that of one group.

    The source uses 1,024 examples, ``m = 128``, 20 steps, and a loss with ``normalized_logits``.

    Args:
        loss_fn: see ``hessian``.
        params: see ``hessian``.
        batch: see ``hessian``.
        rho: radius of the ball, > 0.
        m: examples per group, a divisor of the number of examples; ``None`` for the whole batch as one group.
        steps: number of ascent steps, one gradient each, plus one gradient.
        adaptive: ``c = |w|``, entry by entry, else 1. It is then invariant under rescaling of layers that does not
            change the function.
        norm: norm of the ball, ``l2`` or ``l-infinity`` (the largest modulus of an entry).
        where: see ``hessian``; the arrays to perturb.

    Raises:
        ValueError: as ``hessian``; if ``rho`` is not positive, ``steps`` is below 1, ``m`` is not a divisor or ``norm``
            is unknown.

    Source: Andriushchenko et al. 2023 (arXiv 2302.07011); Auto-PGD: Croce & Hein 2020 (arXiv 2003.01690).
    """
    _check_radius(rho)
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    if norm not in _BALLS:
        raise ValueError(f"norm must be one of {', '.join(map(repr, _BALLS))}, got {norm!r}")
    count = batch_size(batch)
    m = count if m is None else m
    if m < 1 or count % m:
        raise ValueError(f"m must divide the {count} examples into groups, or be None for all of them, got {m}")
    params, batch = at_least_single((params, batch))
    check_mean_loss(loss_fn, params, batch, m)
    flattening, arrays = Flattening.of(params, where)
    point = flattening.vector(params)
    scale = jnp.abs(point) if adaptive else jnp.ones_like(point)
    in_groups = jax.tree.map(lambda leaf: leaf.reshape(-1, m, *leaf.shape[1:]), batch)
    groups = [jax.tree.map(lambda leaf, i=i: leaf[i], in_groups) for i in range(count // m)]
    start, ends = _start(rho, point, jax.eval_shape(lambda group: loss_fn(params, group), groups[0])), []
    for group in groups:
        state = start
        # Steps are programs of their own, as products are: see ``grown``.
        for turn in _schedule(steps):
            state = _stepped(loss_fn, flattening, norm, state, turn, rho, scale, point, arrays, group)
        ends.append((state.best.value, state.origin, state.slope))
    best, origin, slopes = (np.stack(jax.device_get(values)) for values in zip(*ends, strict=True))
    rises = best.astype(np.float64) - origin.astype(np.float64)
    _check_finite(rises, slopes)
    rounding = _rounding(best)
    return Sharpness(float(rises.mean()), _standard_error(rises, rounding), rises, rounding)


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

    Every perturbation is paired with its opposite, so that the gradient, which adds nothing to the mean, adds no noise.

    Args:
        loss_fn: see ``hessian``.
        params: see ``hessian``.
        batch: see ``hessian``.
        rho: standard deviation of every entry, > 0.
        key: key for the perturbations.
        samples: number of samples, at least 2; each needs two losses.
        adaptive: ``c = |w|``, entry by entry, else 1.
        where: see ``hessian``; the arrays to perturb.
        chunk_size: see ``hessian``.

    Raises:
        ValueError: as ``hessian``; if ``rho`` is not positive or ``samples`` below 2.

    Source: Andriushchenko et al. 2023 (arXiv 2302.07011).
    """
    _check_radius(rho)
    if samples < 2:
        raise ValueError(f"samples must be at least 2, for a standard error, got {samples}")
    params, batch = at_least_single((params, batch))
    check_mean_loss(loss_fn, params, batch, checked_chunk_size(chunk_size))
    flattening, arrays = Flattening.of(params, where)
    point, keys = flattening.vector(params), jax.random.split(checked_key(key), samples)
    scale = rho * jnp.abs(point) if adaptive else jnp.full_like(point, rho)
    # All by one program, and so rounded alike.
    sides = [(0.0, 0), *itertools.product((1.0, -1.0), range(samples))]
    losses = [
        _loss_beside(loss_fn, flattening, chunk_size, keys, i, sign, scale, point, arrays, batch) for sign, i in sides
    ]
    losses = np.stack(jax.device_get(losses))
    # In double precision: a difference of rounded losses is rounded no further.
    at_point, *beside = np.split(losses.astype(np.float64), [1, samples + 1])
    rises = sum(beside) / 2 - at_point
    _check_finite(rises)
    rounding = _rounding(losses)
    return AverageSharpness(float(rises.mean()), _standard_error(rises, rounding), rises, rounding)


def normalized_logits(logits: Float[Array, "*batch classes"]) -> Float[Array, "*batch classes"]:
    """``f / sqrt(mean_k (f_k - mean f)^2)``: logits scaled to standard deviation 1.

    In a loss, it makes sharpness independent of the scale of the logits, which grows in training but changes no
    prediction. Logits that are all equal are not changed.

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
        raise NotFiniteError("loss_fn or its gradient is not finite within this radius: use a smaller rho")


def _rounding(losses: np.ndarray) -> float:
    """The rounding error of a difference of losses: it is the same in every sample, so averaging does not reduce it."""
    return float(jnp.finfo(losses.dtype).eps) * float(np.abs(losses).max())


def _standard_error(values: np.ndarray, rounding: float) -> float:
    """The standard error of a mean, from the spread of its values and their common rounding; NaN for one value."""
    return math.hypot(float(values.std(ddof=1)) / len(values) ** 0.5, rounding) if len(values) > 1 else math.nan


class _Ball(NamedTuple):
    projected: Callable[[Array, Array], Array]  # (perturbation, rho) -> the nearest within
    steepest: Callable[[Array], Array]  # of a gradient other than 0: the direction of length 1 that rises most


_BALLS = {
    "l2": _Ball(
        lambda vector, rho: vector * (rho / jnp.maximum(euclidean_norm(vector), rho)),
        lambda gradient: gradient / euclidean_norm(gradient),
    ),
    "l-infinity": _Ball(lambda vector, rho: jnp.clip(vector, -rho, rho), jnp.sign),
}


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


class _Turn(NamedTuple):
    is_first: np.ndarray  # the point itself, before any step
    momentum: np.ndarray
    is_check: np.ndarray  # whether to look whether it improves
    needed: np.ndarray  # how many steps since the last look must have risen


def _schedule(steps: int) -> list[_Turn]:
    """The schedule of the ascent: the point itself, then the steps; the first step has no momentum."""
    is_first, momentum = np.arange(steps + 1) == 0, np.where(np.arange(steps + 1) <= 1, 0, 0.25).astype(np.float32)
    return list(map(_Turn, is_first, momentum, *(np.pad(one, (1, 0)) for one in _checks(steps))))


def _start(rho: float, point: Array, loss: Any) -> _State:
    nothing, zero = jnp.zeros((), loss.dtype), jnp.zeros_like(point)
    nowhere = _Visited(zero, nothing, zero)
    return _State(
        origin=nothing,
        here=nowhere,
        before=zero,
        best=nowhere,
        checked=nothing,
        step=jnp.asarray(2 * rho, point.dtype),
        rises=jnp.int32(0),
        halved=jnp.bool_(False),
        slope=jnp.zeros((), point.dtype),
    )


@compiled(0, 1, 2)
def _stepped(
    loss_fn: MeanLoss,
    flattening: Flattening,
    norm: str,
    state: _State,
    turn: _Turn,
    rho: float | Array,
    scale: Array,
    point: Array,
    arrays: list[Array],
    group: PyTree,
) -> _State:
    """One step of the ascent; the first evaluates the point itself with the same program, so that rounding is the same.

    If the gradient is zero, as at a minimum, a random direction is used.
    """
    rho, momentum = jnp.asarray(rho, point.dtype), turn.momentum.astype(point.dtype)
    here, best, ball = state.here, state.best, _BALLS[norm]
    anywhere = jax.random.normal(jax.random.key(0), point.shape, point.dtype)
    direction = ball.steepest(jnp.where(jnp.any(here.gradient != 0), here.gradient, anywhere))
    ahead = ball.projected(here.perturbation + state.step * direction, rho)
    forward, carried = ahead - here.perturbation, here.perturbation - state.before
    there = ball.projected(here.perturbation + (1 - momentum) * forward + momentum * carried, rho)
    there = jnp.where(turn.is_first, 0, there)

    def loss(perturbation: Array) -> Array:
        return loss_fn(flattening.params(point + scale * perturbation, arrays), group)

    new = _Visited(there, *jax.value_and_grad(loss)(there))
    best = _chosen(jnp.asarray(turn.is_first) | (new.value > best.value), new, best)
    rises = jnp.where(new.value > here.value, state.rises + 1, state.rises)
    halve = jnp.asarray(turn.is_check) & ((rises < turn.needed) | (~state.halved & (best.value <= state.checked)))
    return _State(
        origin=jnp.where(turn.is_first, new.value, state.origin),
        here=_chosen(halve, best, new),
        before=jnp.where(halve, best.perturbation, here.perturbation),
        best=best,
        checked=jnp.where(turn.is_first | turn.is_check, best.value, state.checked),
        step=jnp.where(halve, state.step / 2, state.step),
        rises=jnp.where(turn.is_first | turn.is_check, 0, rises),
        halved=jnp.where(turn.is_check, halve, state.halved),
        slope=jnp.maximum(state.slope, euclidean_norm(new.gradient)),
    )


def _chosen(condition: Array, yes: _Visited, no: _Visited) -> _Visited:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)


def _checks(steps: int) -> tuple[np.ndarray, np.ndarray]:
    """The steps after which to check for improvement, and how many since the last check (75%) must have improved.

    Checks become more frequent: the first after 22% of the steps, then each interval is 3% shorter, down to 6%.
    """
    checks, needed = np.zeros(steps, bool), np.zeros(steps, np.int32)
    interval, step = max(math.ceil(0.22 * steps), 1), 0
    while (step := step + interval) <= steps:
        checks[step - 1], needed[step - 1] = True, math.ceil(0.75 * interval)
        interval = max(interval - math.ceil(0.03 * steps), math.ceil(0.06 * steps))
    return checks, needed


@compiled(0, 1, 2)
def _loss_beside(
    loss_fn: MeanLoss,
    flattening: Flattening,
    chunk_size: int | None,
    keys: Key[Array, " samples"],
    i: int | Array,
    sign: float | Array,
    scale: Array,
    point: Array,
    arrays: list[Array],
    batch: PyTree,
) -> Array:
    """The loss at the perturbation from key ``i`` times a sign; sign 0 is the point itself."""
    perturbation = scale * jax.random.normal(keys[i], point.shape, point.dtype)
    perturbed = point + jnp.asarray(sign, point.dtype) * perturbation
    return mean_over_chunks(loss_fn, flattening.params(perturbed, arrays), batch, chunk_size)
