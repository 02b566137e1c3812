"""Instruments: each makes one kind of measurement on trained networks."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Key, PyTree

from widebasin import curvature
from widebasin.data import key_for
from widebasin.models import LinearRegression, count_parameters
from widebasin.report.mechanism_tables import TOLERANCE
from widebasin.sam import LinearizedSAM
from widebasin.studies.measuring import Instrument, Row
from widebasin.sweep.networks import TrainedNetwork
from widebasin.training import CLASSIFICATION, Objective

# Of the simulated linearized dynamics.
TRAJECTORIES, STEPS = 1_024, 10

# The protocol of Andriushchenko et al. 2023 for worst-case sharpness.
WORST_CASE_EXAMPLES, WORST_CASE_GROUP = 1_024, 128

# How constants are found that hold everywhere.
EXACT = "exact, from the data"
# A minimum is interpolating where the loss is this share of that of a model of zeros; its curvature is taken densely.
NEGLIGIBLE, LARGEST_DENSE = 1e-6, 2_000
# Eigenvalues below this share of the largest are flat directions: the minimum is known to float32 only.
POSITIVE = 1e-5


@functools.lru_cache(maxsize=16)
def example_loss_of(objective: Objective) -> Callable[[PyTree, tuple[Any, ...]], Float[Array, ""]]:
    """The loss of one example of ``training_examples`` as a function of the model; one object, so it compiles once.

    The mean over the examples is the loss of training: the sum over an example's positions is divided by the mean
    number of positions per example.
    """

    def example_loss(model: Any, example: tuple[Any, ...]) -> Float[Array, ""]:
        inputs, target, *positions = example
        value = objective.loss(model(inputs), target)
        return value[0] / positions[0] if isinstance(value, tuple) else value

    return example_loss


@functools.lru_cache(maxsize=16)
def mean_loss_of(objective: Objective) -> Callable[[PyTree, tuple[Any, ...]], Float[Array, ""]]:
    """The loss over a batch of ``training_examples`` as a function of the model, weighted as in training."""
    example_loss = example_loss_of(objective)

    def mean_loss(model: Any, batch: tuple[Any, ...]) -> Float[Array, ""]:
        return jnp.mean(jax.vmap(lambda *example: example_loss(model, example))(*batch))

    return mean_loss


def training_examples(network: TrainedNetwork, samples: int | None = None) -> tuple[Any, ...]:
    """Inputs and targets (wrong labels included) that a network was trained on: all, or the first ``samples``.

    The order of a split is random, so the first are a random subset; networks of one seed share it. If examples have
    weights, such as numbers of words or of known labels, the third entry is their mean, the same for every example.
    """
    dataset, objective = network.problem.dataset, network.problem.objective
    at = np.asarray(network.examples.train)[:samples]
    inputs = dataset.prepared(jax.tree.map(lambda leaf: leaf[at], dataset.inputs))
    targets = jax.tree.map(lambda leaf: leaf[:samples], network.examples.train_targets)
    values = jax.eval_shape(jax.vmap(lambda x, y: objective.loss(network.model(x), y)), inputs, targets)  # pyright: ignore[reportCallIssue]
    if not isinstance(values, tuple):
        return inputs, targets
    mean = jnp.mean(_weights(objective, network.model, inputs, targets))
    return inputs, targets, jnp.full(len(at), jnp.where(mean > 0, mean, 1))


@functools.partial(jax.jit, static_argnums=0)
def _weights(objective: Objective, model: Any, inputs: PyTree, targets: PyTree) -> Float[Array, " examples"]:
    return jax.vmap(lambda x, y: objective.loss(model(x), y)[1])(inputs, targets)


def curvature_instrument(samples: int, tolerance: float = TOLERANCE) -> Instrument:
    """Sharpness, non-uniformity of the per-sample Hessians, and trace, on a subset of the training examples.

    Columns: ``examples``; ``loss`` and ``gradient_norm`` over them; ``sharpness``, ``s2``, ``s3``, ``s4`` as
    ``curvature.hessian_moments`` defines them; ``lowest``, the smallest eigenvalue of the Hessian; ``trace`` with
    ``trace_error``, its standard error; ``converged``, whether all eigenvalues converged.
    """

    def rows(network: TrainedNetwork) -> list[Row]:
        objective = network.problem.objective
        batch = training_examples(network, samples)
        loss, gradient = _value_and_gradient(mean_loss_of(objective), network.model, batch)
        moments = curvature.hessian_moments(example_loss_of(objective), network.model, batch, tolerance=tolerance)
        lowest = curvature.bottom_eigenvalues(mean_loss_of(objective), network.model, batch, tolerance=tolerance)
        key = key_for(jax.random.key(network.point.seed), "trace")
        trace = curvature.trace(mean_loss_of(objective), network.model, batch, key=key)
        return [
            {
                "examples": len(jax.tree.leaves(batch[0])[0]),
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

    numbers = ("loss", "gradient_norm", "sharpness", "lowest", "s2", "s3", "s4", "trace", "trace_error")
    nothing = _nothing(*numbers) | {"examples": 0, "converged": False}
    return Instrument("curvature", {"samples": samples, "tolerance": tolerance}, rows, nothing)


def _nothing(*columns: str) -> Row:
    return dict.fromkeys(columns, float("nan"))


def sharpness_instrument(rho: float) -> Instrument:
    """How much the loss rises within a radius: worst case, average, and worst case relative to the weights.

    Follows the protocol of Andriushchenko et al. 2023 if there are enough examples: 1,024 training examples in groups
    of 128, 20 steps; logits of classifiers with cross entropy are normalized.

    Columns: ``worst_case``, ``average`` and ``adaptive``, each with its standard error in ``COLUMN_error``.
    """
    columns = ("worst_case", "average", "adaptive")

    def rows(network: TrainedNetwork) -> list[Row]:
        loss = sharpness_loss_of(network.problem.objective)
        count = min(WORST_CASE_EXAMPLES, len(network.examples.train))
        m = min(WORST_CASE_GROUP, count)
        batch = training_examples(network, count - count % m)
        key = key_for(jax.random.key(network.point.seed), "sharpness")
        found = (
            curvature.worst_case_sharpness(loss, network.model, batch, rho=rho, m=m),
            curvature.average_sharpness(loss, network.model, batch, rho=rho, key=key),
            curvature.worst_case_sharpness(loss, network.model, batch, rho=rho, m=m, adaptive=True),
        )
        row = {}
        for column, one in zip(columns, found, strict=True):
            row |= {column: one.value, f"{column}_error": one.standard_error}
        return [row]

    nothing = _nothing(*columns, *(f"{column}_error" for column in columns))
    return Instrument("sharpness", {"sharpness_rho": rho}, rows, nothing)


@functools.lru_cache(maxsize=16)
def sharpness_loss_of(objective: Objective) -> Callable[[PyTree, tuple[Array, Array]], Float[Array, ""]]:
    """The mean loss over a batch; a cross entropy uses normalized logits, so that their scale does not matter."""
    if objective is not CLASSIFICATION:
        return mean_loss_of(objective)

    def loss(model: Any, batch: tuple[Array, Array]) -> Float[Array, ""]:
        inputs, targets = batch
        return jnp.mean(jax.vmap(objective.loss)(curvature.normalized_logits(jax.vmap(model)(inputs)), targets))

    return loss


def layers_instrument(samples: int) -> Instrument:
    """Sharpness and trace of each layer's block of the Hessian.

    Columns: ``layer``, the path of its array; ``layer_parameters``, ``sharpness``, ``trace``, ``trace_error``.
    """

    def rows(network: TrainedNetwork) -> list[Row]:
        loss = mean_loss_of(network.problem.objective)
        key = key_for(jax.random.key(network.point.seed), "trace")
        found = curvature.by_layer(loss, network.model, training_examples(network, samples), key=key)
        return [
            {
                "layer": name.lstrip(".").removeprefix("params."),
                "layer_parameters": layer.num_params,
                "sharpness": float(layer.top.eigenvalues[0]),
                "trace": layer.trace.estimate,
                "trace_error": layer.trace.standard_error,
            }
            for name, layer in found.items()
        ]

    nothing = _nothing("sharpness", "trace", "trace_error") | {"layer": "", "layer_parameters": 0}
    return Instrument("layers", {"samples": samples}, rows, nothing)


def density_instrument(samples: int) -> Instrument:
    """The spectrum of the Hessian as nodes and weights, which sum to 1.

    Columns: ``eigenvalue``, ``weight``.
    """

    def rows(network: TrainedNetwork) -> list[Row]:
        loss = mean_loss_of(network.problem.objective)
        key = key_for(jax.random.key(network.point.seed), "density")
        dimension = min(64, count_parameters(network.model))
        found = curvature.spectral_density(
            loss, network.model, training_examples(network, samples), key=key, dimension=dimension
        )
        weights = found.weights / len(found.weights)
        return [
            {"eigenvalue": float(node), "weight": float(weight)}
            for node, weight in zip(found.nodes.ravel(), weights.ravel(), strict=True)
        ]

    return Instrument("density", {"samples": samples}, rows, _nothing("eigenvalue", "weight"))


def landscape_instrument(samples: int) -> Instrument:
    """The loss along a filter-normalized random direction and along the top eigenvector of the Hessian.

    Columns: ``direction``, ``random`` or ``eigenvector``; ``offset`` of the parameters in units of the direction (the
    eigenvector has length 1); ``loss``.
    """

    def rows(network: TrainedNetwork) -> list[Row]:
        loss = mean_loss_of(network.problem.objective)
        batch = training_examples(network, samples)
        key = key_for(jax.random.key(network.point.seed), "landscape")
        top = curvature.top_eigenvalues(loss, network.model, batch)
        eigenvector = curvature.hessian(loss, network.model, batch).direction(top.eigenvectors[0])
        random = curvature.filter_normalized_direction(network.model, key=key)
        found = []
        for name, direction in (("random", random), ("eigenvector", eigenvector)):
            one = curvature.landscape(loss, network.model, batch, [direction])
            found += [
                {"direction": name, "offset": float(offset), "loss": float(value)}
                for offset, value in zip(one.offsets, one.losses, strict=True)
            ]
        return found

    return Instrument("landscape", {"samples": samples}, rows, _nothing("offset", "loss") | {"direction": "random"})


def activations_instrument(samples: int) -> Instrument:
    """How many activation patterns of a network are the same as at initialization, on the first test examples.

    Columns: ``examples``; ``unchanged``, the fraction of ReLU patterns (active or not) and max-pooling patterns (which
    pixel) that are the same, over all layers, from the model's ``activation_patterns``.
    """

    def rows(network: TrainedNetwork) -> list[Row]:
        dataset = network.problem.dataset
        inputs = dataset.prepared(dataset.inputs[np.asarray(network.examples.test)[:samples]])
        if not all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(network.model)):
            raise curvature.NotFiniteError("the network diverged: its activations have no patterns")
        same, patterns = _unchanged_patterns(network.initial_model(), network.model, jnp.asarray(inputs))
        return [{"examples": len(inputs), "unchanged": int(same) / int(patterns)}]

    nothing = _nothing("unchanged") | {"examples": 0}
    return Instrument("activations", {"samples": samples}, rows, nothing)


@eqx.filter_jit
def _unchanged_patterns(before: Any, after: Any, inputs: Array) -> tuple[Array, Array]:
    """Number of unchanged patterns in a batch, and number of all patterns."""
    patterns = [jax.vmap(lambda x, m=model: m.activation_patterns(x))(inputs) for model in (before, after)]
    same = [jnp.sum(one == other) for one, other in zip(*patterns, strict=True)]
    return sum(same, start=jnp.zeros((), int)), jnp.asarray(sum(one.size for one in patterns[0]))


def solution_instrument() -> Instrument:
    """The function of a one-input network at the test inputs, and its parameters.

    Columns: ``kind``, ``output`` or ``parameter``; ``position``, the input, or the number of the parameter; ``value``.
    """

    def rows(network: TrainedNetwork) -> list[Row]:
        inputs = network.problem.dataset.inputs[np.asarray(network.examples.test)]
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

    return Instrument("solution", {}, rows, _nothing("position", "value") | {"kind": "output"})


def points_instrument() -> Instrument:
    """The points that a one-input network was trained on.

    Columns: ``x``, the input, and ``y``, the target.
    """

    def rows(network: TrainedNetwork) -> list[Row]:
        inputs, targets = (np.asarray(one)[:, 0] for one in training_examples(network))
        return [{"x": float(x), "y": float(y)} for x, y in zip(inputs, targets, strict=True)]

    return Instrument("points", {}, rows, _nothing("x", "y"))


def constants_instrument() -> Instrument:
    """The constants of the convergence theorem where they are known, in double precision.

    * for least squares: exactly, from the data;
    * for other small networks whose loss is nearly zero: for the quadratic model at the minimum.

    Columns: ``smoothness_each``, ``smoothness``, ``pl`` in the convention ``half`` (NaN where they are not known), and
    ``kind``, how they were found.
    """
    nothing = _nothing("smoothness_each", "smoothness", "pl") | {"kind": "none"}

    def rows(network: TrainedNetwork) -> list[Row]:
        objective = network.problem.objective
        with jax.enable_x64(True):
            model, batch = jax.tree.map(
                lambda leaf: (
                    jnp.asarray(np.asarray(leaf, np.float64)) if jnp.issubdtype(leaf.dtype, jnp.inexact) else leaf
                ),
                (network.model, training_examples(network)),
            )
            loss = float(mean_loss_of(objective)(model, batch))
            at_zero = float(mean_loss_of(objective)(jax.tree.map(jnp.zeros_like, model), batch))
            if not loss <= NEGLIGIBLE * at_zero or count_parameters(model) > LARGEST_DENSE:
                return [nothing]
            if isinstance(network.model, LinearRegression):
                found = curvature.least_squares_constants(batch[0][:, : network.model.weight.shape[1]])
                kind = EXACT
            else:
                found = curvature.constants_at_minimum(example_loss_of(objective), model, batch, threshold=POSITIVE)
                kind = "of the quadratic model at the minimum reached"
            return [found.values | {"kind": kind}]

    return Instrument("constants", {}, rows, nothing)


def linearized_radius(method: str, rho: float) -> float:
    """The radius of a method's linearized dynamics: its own for unnormalized SAM, else 0, as for SGD.

    The normalized ascent has length ``rho`` however small the gradient, so it has no linearization at a minimum.
    """
    return rho if method in ("unnormalized-sam", "linearized-sam") else 0.0


def stability_instrument(samples: int, multiples: Sequence[float], tolerance: float = TOLERANCE) -> Instrument:
    """Condition (6) at multiples of the learning rate of training, and the linearized dynamics simulated.

    Columns: ``multiple``, ``tested_learning_rate``, ``tested_rho`` (see ``linearized_radius``); ``second_moment``,
    ``lambda_max(S)``; ``stable``, whether it is at most 1; ``one_step``, the mean over examples of ``||w_1||^2`` after
    one step of ``sam.LinearizedSAM`` from the eigenvector, ``||w_0|| = 1``; ``growth``, the factor per step of the mean
    squared distance over ``TRAJECTORIES`` runs of ``STEPS`` steps from there, with its standard error in
    ``growth_error``; ``converged``.
    """

    def rows(network: TrainedNetwork) -> list[Row]:
        example_loss = example_loss_of(network.problem.objective)
        batch = training_examples(network, samples)
        rho = linearized_radius(network.point["method"], network.point["rho"])
        found = []
        mean = curvature.hessian(mean_loss_of(network.problem.objective), network.model, batch)
        for multiple in multiples:
            learning_rate = multiple * network.point["learning_rate"]
            judged = curvature.stability(
                example_loss, network.model, batch, learning_rate=learning_rate, rho=rho, tolerance=tolerance
            )
            direction = mean.direction(judged.eigenpairs.eigenvectors[0])
            key = key_for(jax.random.key(network.point.seed), "linearized dynamics")
            one_step, growth, error = simulated_growth(
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
                    "growth_error": error,
                    "converged": judged.converged,
                }
            )
        return found

    settings = {"samples": samples, "multiples": " ".join(f"{m:g}" for m in multiples), "tolerance": tolerance}
    numbers = ("multiple", "tested_learning_rate", "tested_rho", "second_moment", "one_step", "growth", "growth_error")
    return Instrument("stability", settings, rows, _nothing(*numbers) | {"stable": False, "converged": False})


def batch_stability_instrument(samples: int, multiples: Sequence[float], tolerance: float = TOLERANCE) -> Instrument:
    """Condition (6) of stochastic gradient descent at the batch size of training, at multiples of its learning rate.

    Columns: ``multiple``, ``tested_learning_rate``, ``batch_size``; ``second_moment``, ``stable`` and ``converged`` as
    in ``stability_instrument``. Networks of unnormalized SAM, whose condition is known for single examples only, and
    those trained on single examples have NaN.
    """

    def rows(network: TrainedNetwork) -> list[Row]:
        size = network.problem.recipe.batch_size
        known = size > 1 and not linearized_radius(network.point["method"], network.point["rho"])
        example_loss = example_loss_of(network.problem.objective)
        found = []
        for multiple in multiples:
            learning_rate = multiple * network.point["learning_rate"]
            row = {"multiple": float(multiple), "tested_learning_rate": learning_rate, "batch_size": float(size)}
            if known:
                judged = curvature.stability(
                    example_loss,
                    network.model,
                    training_examples(network, samples),
                    learning_rate=learning_rate,
                    examples_per_step=size,
                    tolerance=tolerance,
                )
                row |= {"second_moment": judged.value, "stable": judged.stable, "converged": judged.converged}
            else:
                row |= {"second_moment": np.nan, "stable": False, "converged": True}
            found.append(row)
        return found

    settings = {"samples": samples, "multiples": " ".join(f"{m:g}" for m in multiples), "tolerance": tolerance}
    numbers = ("multiple", "tested_learning_rate", "batch_size", "second_moment")
    return Instrument("batch-stability", settings, rows, _nothing(*numbers) | {"stable": False, "converged": False})


@functools.partial(jax.jit, static_argnums=0)
def _value_and_gradient(mean_loss: Callable[..., Any], model: PyTree, batch: PyTree) -> tuple[Array, Array]:
    value, gradient = eqx.filter_value_and_grad(mean_loss)(model, batch)
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
) -> tuple[float, float, float]:
    """Runs SAM on the quadratic model of every example's loss around a minimum, one example per step.

    Args:
        example_loss: (model, example) -> loss.
        model: the minimum.
        batch: the examples, drawn with replacement.
        direction: the starting point relative to the minimum, of length 1.
        learning_rate: learning rate of the steps.
        rho: radius of the unnormalized ascent.
        key: random key for drawing the examples.

    Returns:
        ``E ||v_1||^2``, exactly: the mean over all examples; ``(E ||v_T||^2)^(1/T)`` over ``TRAJECTORIES`` runs of ``T
        = STEPS`` steps; and the standard error of the latter. The steps are few: over many steps, the mean is dominated
        by very rare runs and would be underestimated. Computed by ``sam.LinearizedSAM``, independently of
        ``curvature``.
    """
    one_step, logarithms = _simulated(
        example_loss, model, batch, direction, jnp.asarray(learning_rate), jnp.asarray(rho), key
    )
    squares = np.exp(np.asarray(logarithms, np.float64))
    growth = float(squares.mean()) ** (1 / STEPS)
    relative_error = float(squares.std(ddof=1) / squares.mean()) / TRAJECTORIES**0.5
    return float(one_step), growth, growth * relative_error / STEPS


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
    params, rest = eqx.partition(model, eqx.is_inexact_array)
    direction = eqx.filter(direction, eqx.is_inexact_array)
    state = method.init(params)
    gradient = method.value_and_grad(lambda params, example: example_loss(eqx.combine(params, rest), example))

    def step(offset: PyTree, index: Array) -> PyTree:
        example = jax.tree.map(lambda leaf: leaf[index], batch)
        _, gradients, _ = gradient(jax.tree.map(jnp.add, params, offset), state, example)
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
    runs = jax.random.randint(key, (TRAJECTORIES, STEPS), 0, count)
    return once.mean(), jax.lax.map(trajectory, runs, batch_size=64)
