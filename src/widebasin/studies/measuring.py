"""Measuring trained networks: instruments give rows, rows are kept in the results folder, so that nothing is lost."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Key, PyTree

from widebasin import curvature
from widebasin.data import key_for
from widebasin.models import LinearRegression, count_parameters
from widebasin.sam import LinearizedSAM
from widebasin.sweep.folder import ResultsFolder
from widebasin.sweep.networks import StoredNetwork, TrainedNetwork
from widebasin.sweep.rows import identity_rows
from widebasin.training import Objective
from widebasin.workloads import WORKLOADS

Row = dict[str, Any]

# Of the simulated linearized dynamics.
TRAJECTORIES, STEPS = 64, 100

# A minimum is interpolating where the loss is this share of that of a model of zeros; its curvature is taken densely.
NEGLIGIBLE, LARGEST_DENSE = 1e-6, 2_000
# Eigenvalues below this share of the largest are flat directions: the minimum is known to float32 only.
POSITIVE = 1e-5


@dataclass(frozen=True)
class Instrument:
    """A way to measure a trained network.

    Attributes:
        name: of the table of its measurements in the results folder.
        settings: columns that tell one way of measuring from another; rows of other settings are measured anew.
        rows: network -> rows without the columns that say which network it is.
    """

    name: str
    settings: Mapping[str, Any]
    rows: Callable[[TrainedNetwork], list[Row]]


def measure(
    folder: ResultsFolder,
    instrument: Instrument,
    networks: Sequence[StoredNetwork],
    track: Callable[[Sequence[StoredNetwork], str], Iterator[StoredNetwork]] | None = None,
) -> pd.DataFrame:
    """The table of an instrument's measurements of networks, in their order.

    Networks that were measured before, with the same settings, are not measured again; the table is written after
    each network. Measurements of other networks of the folder stay in it.

    Args:
        folder: the results folder, which keeps the table.
        instrument: what to measure.
        networks: from ``sweep.networks.stored_networks``.
        track: (networks, title) -> the same networks, showing progress; silent by default.

    Raises:
        SweepError: if parameters were not kept, or a table is damaged.
    """
    known = folder.measurements(instrument.name)
    if known is not None and not _has_settings(known, instrument.settings):
        known = None
    identities = [identity_rows(network.cell, [network.replicate]) for network in networks]
    found = [None if known is None else _rows_of(known, identity) for identity in identities]
    missing = [network for network, rows in zip(networks, found, strict=True) if rows is None]
    for network in track(missing, f"measuring {instrument.name}") if track and missing else missing:
        rows = pd.DataFrame([dict(instrument.settings) | row for row in instrument.rows(network.load())])
        identity = identity_rows(network.cell, [network.replicate])
        table = identity.merge(rows, how="cross")
        known = table if known is None else pd.concat([known, table], ignore_index=True)
        folder.write_measurements(instrument.name, known)
    assert known is not None
    tables = [_rows_of(known, identity) for identity in identities]
    return pd.concat([table for table in tables if table is not None], ignore_index=True)


def _has_settings(table: pd.DataFrame, settings: Mapping[str, Any]) -> bool:
    return all(name in table and bool((table[name] == value).all()) for name, value in settings.items())


def _rows_of(table: pd.DataFrame, identity: pd.DataFrame) -> pd.DataFrame | None:
    columns = list(identity.columns)
    rows = table[(table[columns] == identity.iloc[0]).all(axis=1)]
    return rows if len(rows) else None


# What is measured ----------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=16)
def example_loss_of(objective: Objective) -> Callable[[PyTree, tuple[Array, Array]], Float[Array, ""]]:
    """The loss of one example ``(input, target)`` as a function of the model; one object, so that it compiles once."""

    def example_loss(model: Any, example: tuple[Array, Array]) -> Float[Array, ""]:
        inputs, target = example
        return objective.loss(model(inputs), target)

    return example_loss


@functools.lru_cache(maxsize=16)
def mean_loss_of(objective: Objective) -> Callable[[PyTree, tuple[Array, Array]], Float[Array, ""]]:
    """The mean loss over a batch ``(inputs, targets)`` as a function of the model."""
    example_loss = example_loss_of(objective)

    def mean_loss(model: Any, batch: tuple[Array, Array]) -> Float[Array, ""]:
        return jnp.mean(jax.vmap(lambda example: example_loss(model, example))(batch))

    return mean_loss


def training_examples(network: TrainedNetwork, samples: int | None = None) -> tuple[Array, Array]:
    """Inputs and targets (wrong labels included) that a network was trained on: all, or the first ``samples``.

    The order of a split is random, so the first are a random subset; networks of one seed share it.
    """
    inputs = network.cell.task().dataset.inputs[np.asarray(network.examples.train)[:samples]]
    return jnp.asarray(inputs), network.examples.train_targets[:samples]


def curvature_instrument(samples: int, tolerance: float = 1e-3) -> Instrument:
    """Sharpness, non-uniformity of the per-sample Hessians, and trace, on a subset of the training examples.

    Columns: ``examples``; ``loss`` and ``gradient_norm`` over these; ``sharpness``, ``s2``, ``s3``, ``s4`` as
    ``curvature.hessian_moments`` has them; ``lowest``, the smallest eigenvalue of the Hessian; ``trace`` with
    ``trace_error``, its standard error; ``converged``, whether all eigenvalues are.
    """

    def rows(network: TrainedNetwork) -> list[Row]:
        objective = WORKLOADS[network.cell.workload].objective
        if not is_finite(network):
            nothing = ("loss", "gradient_norm", "sharpness", "lowest", "s2", "s3", "s4", "trace", "trace_error")
            return [{"examples": 0, **dict.fromkeys(nothing, float("nan")), "converged": False}]
        batch = training_examples(network, samples)
        loss, gradient = _value_and_gradient(mean_loss_of(objective), network.model, batch)
        moments = curvature.hessian_moments(example_loss_of(objective), network.model, batch, tolerance=tolerance)
        lowest = curvature.bottom_eigenvalues(mean_loss_of(objective), network.model, batch, tolerance=tolerance)
        key = key_for(jax.random.key(network.replicate.seed), "trace")
        trace = curvature.trace(mean_loss_of(objective), network.model, batch, key=key)
        return [
            {
                "examples": len(batch[0]),
                "loss": float(loss),
                "gradient_norm": float(gradient),
                "sharpness": moments.sharpness,
                "lowest": float(lowest.eigenvalues[0]),
                **{f"s{order}": value for order, value in moments.nonuniformity.items()},
                "trace": trace.estimate,
                "trace_error": trace.standard_error,
                "converged": moments.converged and lowest.converged,
            }
        ]

    return Instrument("curvature", {"samples": samples, "tolerance": tolerance}, rows)


def is_finite(network: TrainedNetwork) -> bool:
    """Whether a network did not diverge: there is no curvature at parameters that are not finite."""
    return all(bool(np.isfinite(leaf).all()) for leaf in jax.tree.leaves(network.model))


def solution_instrument() -> Instrument:
    """The function of a network of one input at the test inputs, and its parameters one after the other.

    Columns: ``kind``, ``output`` or ``parameter``; ``position``, the input, or the number of the parameter; ``value``.
    """

    def rows(network: TrainedNetwork) -> list[Row]:
        inputs = network.cell.task().dataset.inputs[np.asarray(network.examples.test)]
        outputs = jax.vmap(lambda x: network.model(x))(jnp.asarray(inputs))  # pyright: ignore[reportCallIssue]
        parameters, _ = ravel_pytree(network.model)
        return [
            {"kind": kind, "position": float(position), "value": float(value)}
            for kind, positions, values in (
                ("output", inputs[:, 0], np.asarray(outputs)[:, 0]),
                ("parameter", range(parameters.size), np.asarray(parameters)),
            )
            for position, value in zip(positions, values, strict=True)
        ]

    return Instrument("solution", {}, rows)


def constants_instrument() -> Instrument:
    """The constants of the theorem on convergence where they are known, in double precision.

    * of least squares: exactly, from the data;
    * of another small network whose loss has all but vanished: of the quadratic model at its minimum.

    Columns: ``smoothness_each``, ``smoothness``, ``pl`` in the convention ``half`` (NaN where they are not known), and
    ``kind``, how they were found.
    """

    def rows(network: TrainedNetwork) -> list[Row]:
        nothing = dict.fromkeys(("smoothness_each", "smoothness", "pl"), float("nan")) | {"kind": "none"}
        if not is_finite(network):
            return [nothing]
        objective = WORKLOADS[network.cell.workload].objective
        with jax.enable_x64(True):
            model, (inputs, targets) = jax.tree.map(
                lambda leaf: (
                    jnp.asarray(np.asarray(leaf, np.float64)) if jnp.issubdtype(leaf.dtype, jnp.inexact) else leaf
                ),
                (network.model, training_examples(network)),
            )
            loss = float(mean_loss_of(objective)(model, (inputs, targets)))
            at_zero = float(mean_loss_of(objective)(jax.tree.map(jnp.zeros_like, model), (inputs, targets)))
            if loss > NEGLIGIBLE * at_zero or count_parameters(model) > LARGEST_DENSE:
                return [nothing]
            if isinstance(network.model, LinearRegression):
                found = curvature.least_squares_constants(inputs[:, : network.model.weight.shape[1]])
                kind = "exact, from the data"
            else:
                found = curvature.constants_at_minimum(
                    example_loss_of(objective), model, (inputs, targets), threshold=POSITIVE
                )
                kind = "of the quadratic model at the minimum reached"
            return [found.values | {"kind": kind}]

    return Instrument("constants", {}, rows)


def linearized_radius(network: TrainedNetwork) -> float:
    """The radius of the linearized dynamics of a network's method: its own for unnormalized SAM, else 0.

    The normalized ascent has length ``rho`` however small the gradient, and no linearization at a minimum.
    """
    return network.replicate.rho if network.cell.method in ("unnormalized-sam", "linearized-sam") else 0.0


def stability_instrument(samples: int, multiples: Sequence[float], tolerance: float = 1e-3) -> Instrument:
    """Condition (6) at multiples of the learning rate of training, and the linearized dynamics simulated.

    Columns: ``multiple``, ``tested_learning_rate``, ``tested_rho`` (see ``linearized_radius``); ``second_moment``,
    ``lambda_max(S)``; ``stable``, whether it is at most 1; ``one_step``, the mean over examples of ``||w_1||^2`` after
    a step of ``sam.LinearizedSAM`` from the eigenvector, ``||w_0|| = 1``; ``growth``, the factor per step of the mean
    squared distance over ``TRAJECTORIES`` runs of ``STEPS`` steps from there; ``converged``.
    """

    def rows(network: TrainedNetwork) -> list[Row]:
        example_loss = example_loss_of(WORKLOADS[network.cell.workload].objective)
        batch = training_examples(network, samples)
        rho = linearized_radius(network)
        found = []
        if not is_finite(network):
            return [{"multiple": float("nan"), "stable": False, "converged": False}]
        mean = curvature.hessian(mean_loss_of(WORKLOADS[network.cell.workload].objective), network.model, batch)
        for multiple in multiples:
            learning_rate = multiple * network.replicate.learning_rate
            judged = curvature.stability(
                example_loss, network.model, batch, learning_rate=learning_rate, rho=rho, tolerance=tolerance
            )
            direction = mean.direction(judged.eigenpairs.eigenvectors[0])
            key = key_for(jax.random.key(network.replicate.seed), "linearized dynamics")
            one_step, growth = simulated_growth(
                example_loss, network.model, batch, direction, learning_rate=learning_rate, rho=rho, key=key
            )
            found.append(
                {
                    "multiple": float(multiple),
                    "tested_learning_rate": learning_rate,
                    "tested_rho": rho,
                    "second_moment": judged.value,
                    "stable": judged.stable,
                    "one_step": one_step,
                    "growth": growth,
                    "converged": judged.converged,
                }
            )
        return found

    settings = {"samples": samples, "multiples": " ".join(f"{m:g}" for m in multiples), "tolerance": tolerance}
    return Instrument("stability", settings, rows)


@functools.partial(jax.jit, static_argnums=0)
def _value_and_gradient(mean_loss: Callable[..., Any], model: PyTree, batch: PyTree) -> tuple[Array, Array]:
    value, gradient = jax.value_and_grad(mean_loss)(model, batch)
    return value, optax.tree.norm(gradient)


def simulated_growth(
    example_loss: Callable[..., Any],
    model: PyTree,
    batch: tuple[Array, Array],
    direction: PyTree,
    *,
    learning_rate: float,
    rho: float,
    key: Key[Array, ""],
) -> tuple[float, float]:
    """Runs SAM on the quadratic model of every example's loss around a minimum, one example per step.

    Args:
        example_loss: (model, example) -> loss.
        model: the minimum.
        batch: the examples, drawn with replacement.
        direction: where to start from the minimum, of length 1.
        learning_rate: of the steps.
        rho: radius of the unnormalized ascent.
        key: of the examples drawn.

    Returns:
        ``E ||v_1||^2``, exactly: the mean over all examples; and ``(E ||v_T||^2)^(1/T)`` over ``TRAJECTORIES`` runs of
        ``T = STEPS`` steps. Computed by ``sam.LinearizedSAM``, independently of ``curvature``.
    """
    one_step, growth = _simulated(
        example_loss, model, batch, direction, jnp.asarray(learning_rate), jnp.asarray(rho), key
    )
    return float(one_step), float(growth)


@functools.partial(jax.jit, static_argnums=0)
def _simulated(
    example_loss: Callable[..., Any],
    model: PyTree,
    batch: tuple[Array, Array],
    direction: PyTree,
    learning_rate: Array,
    rho: Array,
    key: Key[Array, ""],
) -> tuple[Array, Array]:
    method = LinearizedSAM(rho, fixed_point=True)
    state = method.init(model)
    gradient = method.value_and_grad(example_loss)

    def step(offset: PyTree, index: Array) -> PyTree:
        example = jax.tree.map(lambda leaf: leaf[index], batch)
        _, gradients, _ = gradient(jax.tree.map(jnp.add, model, offset), state, example)
        return jax.tree.map(lambda v, g: v - learning_rate.astype(v.dtype) * g, offset, gradients)

    def square(offset: PyTree) -> Array:
        return optax.tree.norm(offset, squared=True)

    def trajectory(indices: Array) -> Array:
        # The logarithm of the length is kept apart: a linear process is the same at any scale.
        def normalized_step(offset: PyTree, index: Array) -> tuple[PyTree, Array]:
            offset = step(offset, index)
            size = jnp.sqrt(square(offset))
            return jax.tree.map(lambda v: v / jnp.maximum(size, 1e-30), offset), jnp.log(jnp.maximum(size, 1e-30))

        _, sizes = jax.lax.scan(normalized_step, direction, indices)
        return 2 * jnp.sum(sizes)

    count = jax.tree.leaves(batch)[0].shape[0]
    once = jax.lax.map(lambda index: square(step(direction, index)), jnp.arange(count))
    logarithms = jax.vmap(trajectory)(jax.random.randint(key, (TRAJECTORIES, STEPS), 0, count))
    mean = jax.nn.logsumexp(logarithms) - jnp.log(TRAJECTORIES)
    return once.mean(), jnp.exp(mean / STEPS)
