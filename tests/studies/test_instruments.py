"""What the instruments measure, against dense matrices and closed forms."""

import dataclasses
from types import SimpleNamespace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from training.sized import PLAIN
from training.tasks import point

from widebasin.curvature import NotFiniteError
from widebasin.studies import instruments
from widebasin.studies.instruments import (
    activations_instrument,
    constants_instrument,
    curvature_instrument,
    density_instrument,
    example_loss_of,
    landscape_instrument,
    layers_instrument,
    linearized_radius,
    mean_loss_of,
    sharpness_instrument,
    simulated_growth,
    solution_instrument,
    stability_instrument,
    training_examples,
)
from widebasin.sweep import Execution, Spec, resolve
from widebasin.sweep.cells import cells
from widebasin.sweep.networks import TrainedNetwork, load_network
from widebasin.sweep.run import run
from widebasin.training import CLASSIFICATION, REGRESSION, Batch, Model
from widebasin.training.network import InferenceModel


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A network of 10 parameters on 12 points, trained by unnormalized SAM."""
    spec = Spec(workload="line-mlp", widths=(3,), methods=("unnormalized-sam",), rhos=(0.01,), seeds=1, epochs=300)
    folder = run(spec, tmp_path_factory.mktemp("line"), execution=Execution(keep_parameters=True))
    return load_network(folder.path)


@pytest.fixture(scope="module")
def hessians(trained):
    """Of every example, dense."""
    flat, unravel = ravel_pytree(trained.model)
    loss = example_loss_of(REGRESSION)
    batch = training_examples(trained)
    return np.asarray(jax.vmap(jax.hessian(lambda v, *one: loss(unravel(v), one)), (None, 0, 0))(flat, *batch), float)


def diverged(network):
    return dataclasses.replace(network, model=jax.tree.map(lambda leaf: leaf * jnp.nan, network.model))


@pytest.mark.slow
def test_curvature_equals_that_of_dense_hessians(trained, hessians):
    (row,) = curvature_instrument(12).rows(trained)
    mean = hessians.mean(0)
    values = np.linalg.eigvalsh(mean)
    assert row["converged"]
    assert row["examples"] == 12
    np.testing.assert_allclose((row["sharpness"], row["lowest"]), (values[-1], values[0]), rtol=1e-4, atol=1e-4)
    for order in (2, 3, 4):
        power = np.linalg.matrix_power
        moment = np.mean([power(one, order) for one in hessians], 0) - power(mean, order)
        np.testing.assert_allclose(row[f"s{order}"] ** order, max(np.linalg.eigvalsh(moment)[-1], 0), rtol=1e-3)
    assert abs(row["trace"] - np.trace(mean)) < 6 * row["trace_error"] + 1e-4 * np.trace(mean)
    loss, gradient = jax.value_and_grad(mean_loss_of(REGRESSION))(trained.model, training_examples(trained))
    np.testing.assert_allclose(row["loss"], loss, rtol=1e-5)
    np.testing.assert_allclose(row["gradient_norm"], jnp.linalg.norm(ravel_pytree(gradient)[0]), rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tagged", "graphs"])
def test_weighted_examples_have_the_loss_of_training_and_its_curvature(name):
    """Numbers of words and of known labels differ between examples, and some have none."""
    problem = PLAIN[name]
    at = point(**dict.fromkeys(problem.given, 0.0))
    examples = problem.examples_of(at)
    params, state = problem.initial_model(0)
    model = problem.network.inference_model(params, state)
    network = SimpleNamespace(problem=problem, examples=examples, model=model, point=at)
    batch = training_examples(network)
    targets = jax.tree.map(np.asarray, examples.train_targets)
    whole, _ = problem.losses(Model(params, state), examples, Batch(batch[0], targets), None, training=False)
    loss = float(problem.minimized(whole, examples))
    assert float(mean_loss_of(problem.objective)(model, batch)) == pytest.approx(loss, rel=1e-5)
    (row,) = curvature_instrument(len(targets)).rows(network)
    flat, unravel = ravel_pytree(eqx.filter(model, eqx.is_inexact_array))
    rest = eqx.filter(model, eqx.is_inexact_array, inverse=True)
    mean_loss = mean_loss_of(problem.objective)
    dense = jax.hessian(lambda v: mean_loss(eqx.combine(unravel(v), rest), batch))(flat)
    values = np.linalg.eigvalsh(np.asarray(dense, float))
    assert row["loss"] == pytest.approx(loss, rel=1e-5)
    np.testing.assert_allclose((row["sharpness"], row["lowest"]), (values[-1], values[0]), rtol=2e-3, atol=1e-4)
    assert np.isfinite([row["s2"], row["s3"], row["s4"], row["trace"]]).all()


@pytest.mark.slow
def test_stability_equals_the_dense_operator_and_one_simulated_step(trained, hessians):
    learning_rate, rho = trained.point["learning_rate"], trained.point["rho"]
    rows = stability_instrument(12, (1.0, 10.0)).rows(trained)
    assert [row["tested_learning_rate"] for row in rows] == pytest.approx([learning_rate, 10 * learning_rate])
    for row in rows:
        eta = row["tested_learning_rate"]
        steps = np.eye(hessians.shape[1]) - eta * hessians - eta * rho * hessians @ hessians
        largest = np.linalg.eigvalsh(np.mean(steps @ steps, 0))[-1]
        np.testing.assert_allclose(row["second_moment"], largest, rtol=1e-4)
        np.testing.assert_allclose(row["one_step"], largest, rtol=1e-4)
        assert row["stable"] == (largest <= 1.001)
        assert row["tested_rho"] == rho
    assert not rows[1]["stable"]
    assert rows[1]["growth"] > 1


@pytest.mark.parametrize("rho", [0.0, 0.3])
def test_growth_of_one_quadratic_is_its_closed_form(rho):
    curvatures = jnp.array([0.5, 3.0])

    def loss(w, example):
        return 0.5 * jnp.sum(curvatures * w**2) + 0 * example[0]

    eta, batch = 0.9, (jnp.zeros(5), jnp.zeros(5))
    for axis, h in enumerate(np.asarray(curvatures)):
        step = (1 - eta * h * (1 + rho * h)) ** 2
        found = simulated_growth(
            loss, jnp.zeros(2), batch, jnp.eye(2)[axis], learning_rate=eta, rho=rho, key=jax.random.key(0)
        )
        np.testing.assert_allclose(found, (step, step, 0.0), rtol=1e-4, atol=1e-8)


class Shifted(eqx.Module):
    """A model with a state, which is added to its outputs, and a leaf that is no array."""

    model: eqx.Module
    shift: eqx.nn.StateIndex
    inference: bool = True

    def __call__(self, x, state):
        assert self.inference
        return self.model(x) + state.get(self.shift), state


@pytest.mark.slow
@pytest.mark.slow
def test_running_statistics_and_flags_of_a_model_are_no_parameters(trained):
    model, state = eqx.nn.make_with_state(lambda: Shifted(trained.model, eqx.nn.StateIndex(jnp.zeros(1))))()
    stateful = dataclasses.replace(trained, model=InferenceModel(model, state))
    np.testing.assert_array_equal(stateful.model(jnp.ones(1)), trained.model(jnp.ones(1)))
    for instrument in (curvature_instrument(12), stability_instrument(12, (1.0,))):
        (plain,), (wrapped,) = instrument.rows(trained), instrument.rows(stateful)
        for name, value in plain.items():
            # The trace is estimated with other random vectors where leaves are others.
            assert wrapped[name] == pytest.approx(value, rel=0.02 if "trace" in name else 1e-3, abs=1e-6), name


def test_the_radius_judged_is_that_of_the_method_that_has_a_linearization():
    assert linearized_radius("unnormalized-sam", 0.01) == linearized_radius("linearized-sam", 0.01) == 0.01
    assert linearized_radius("sam", 0.01) == linearized_radius("sgd", 0.0) == 0.0


@pytest.mark.slow
def test_sharpness_is_positive_and_at_worst_no_less_than_on_average_in_the_ball(trained):
    (row,) = sharpness_instrument(0.01).rows(trained)
    # Gaussian noise of variance rho^2 per entry is about sqrt(10) times as long as the ball's radius.
    assert row["worst_case"] > row["average"] / 10
    assert row["adaptive"] > 0


def test_cross_entropy_is_measured_on_normalized_logits():
    loss = instruments.sharpness_loss_of(CLASSIFICATION)
    model = lambda x: 5.0 * x  # noqa: E731
    batch = (jax.random.normal(jax.random.key(0), (4, 3)), jnp.array([0, 1, 2, 0]))
    np.testing.assert_allclose(loss(model, batch), loss(lambda x: x, batch), rtol=1e-5)
    assert instruments.sharpness_loss_of(REGRESSION) is mean_loss_of(REGRESSION)


@pytest.mark.slow
def test_layers_are_the_blocks_of_the_dense_hessian(trained, hessians):
    rows = layers_instrument(12).rows(trained)
    assert [row["layer"] for row in rows] == ["weights[0]", "weights[1]", "biases[0]", "biases[1]"]
    mean, start = hessians.mean(0), 0
    for row in rows:
        stop = start + row["layer_parameters"]
        block = mean[start:stop, start:stop]
        np.testing.assert_allclose(row["sharpness"], np.linalg.eigvalsh(block)[-1], rtol=1e-3, atol=1e-4)
        start = stop
    assert start == len(mean)


@pytest.mark.slow
def test_the_density_has_the_first_moments_of_the_spectrum(trained, hessians):
    rows = density_instrument(12).rows(trained)
    nodes, weights = (np.array([row[name] for row in rows]) for name in ("eigenvalue", "weight"))
    values = np.linalg.eigvalsh(hessians.mean(0))
    np.testing.assert_allclose(weights.sum(), 1, rtol=1e-5)
    # Every probe's quadrature is exact in all directions it sees; over probes the mean is within their spread.
    assert abs(weights @ nodes - values.mean()) < values[-1] / 2
    assert values[0] - 1e-3 < nodes.min()
    assert nodes.max() < values[-1] + 1e-3


@pytest.mark.slow
def test_the_landscape_has_the_loss_at_its_middle_and_the_curvature_of_the_eigenvector(trained, hessians):
    rows = landscape_instrument(12).rows(trained)
    loss = float(mean_loss_of(REGRESSION)(trained.model, training_examples(trained)))
    for direction in ("random", "eigenvector"):
        values = {round(row["offset"], 6): row["loss"] for row in rows if row["direction"] == direction}
        assert len(values) == 41
        np.testing.assert_allclose(values[0.0], loss, rtol=1e-5)
    second = (values[0.05] + values[-0.05] - 2 * values[0.0]) / 0.05**2
    np.testing.assert_allclose(second, np.linalg.eigvalsh(hessians.mean(0))[-1], rtol=0.1)


def untrained(workload, width):
    """A network of a workload as it is before the first step, without a sweep."""
    spec = resolve(Spec(workload=workload, widths=(width,), methods=("sgd",), seeds=1, precision="float32"))
    (cell,) = cells(spec)
    problem = cell.problem().plain
    model, examples = problem.build(jax.random.key(0)), problem.examples_of(cell.points[0])
    network = TrainedNetwork(model, cell, cell.points[0], examples)
    return dataclasses.replace(network, model=network.initial_model())


def disturbed(network, scale=0.3):
    """Every parameter moved by some normal noise."""
    random = np.random.default_rng(0)
    model = jax.tree.map(lambda leaf: leaf + scale * random.normal(size=leaf.shape).astype(leaf.dtype), network.model)
    return dataclasses.replace(network, model=model)


def dense_patterns(model, x):
    """Which neurons of an MLP are active, in NumPy."""
    found = []
    x = x.reshape(len(x), -1)
    for weight, bias in zip(model.weights[:-1], model.biases[:-1], strict=True):
        x = x @ np.asarray(weight, float).T + np.asarray(bias, float)
        found.append(x > 0)
        x = np.maximum(x, 0)
    return found


def convolutional_patterns(model, x):
    """Which neurons of a VGG are active, and which of four pixels is the largest, in NumPy."""
    found = []
    for stage in model.stages:
        for convolution in stage:
            kernel, (height, width) = np.asarray(convolution.kernel, float), x.shape[1:3]
            padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
            windows = [padded[:, i : i + height, j : j + width] @ kernel[i, j] for i in range(3) for j in range(3)]
            x = sum(windows) + np.asarray(convolution.bias, float)
            found.append(x > 0)
            x = np.maximum(x, 0)
        pixels = np.stack([x[:, i::2, j::2] for i in (0, 1) for j in (0, 1)])
        found.append(pixels.argmax(0))
        x = pixels.max(0)
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("workload", "width", "patterns"),
    [("digits-mlp", 5, dense_patterns), ("digits-vgg11-lazy", 2, convolutional_patterns)],
    ids=["MLP", "VGG-11"],
)
def test_unchanged_activations_are_counted_as_by_hand(workload, width, patterns):
    before = untrained(workload, width)
    after = disturbed(before)
    instrument = activations_instrument(16)
    assert instrument.rows(before) == [{"examples": 16, "unchanged": 1.0}]
    (row,) = instrument.rows(after)
    dataset = before.problem.dataset
    inputs = np.asarray(dataset.prepared(dataset.inputs[np.asarray(before.examples.test)[:16]]), float)
    pairs = zip(patterns(before.model, inputs), patterns(after.model, inputs), strict=True)
    same = np.concatenate([np.ravel(one == other) for one, other in pairs])
    assert row["examples"] == 16
    # A sum that is 0 up to rounding may have another sign here.
    assert row["unchanged"] == pytest.approx(same.mean(), abs=1.5 / same.size)
    assert 0.3 < same.mean() < 0.95


@pytest.mark.slow
def test_a_network_that_diverged_has_no_activations():
    lost = diverged(untrained("digits-mlp", 5))
    with pytest.raises(NotFiniteError, match="diverged"):
        activations_instrument(16).rows(lost)
    assert set(activations_instrument(16).nothing) == {"examples", "unchanged"}


def test_a_solution_is_its_outputs_and_its_parameters(trained):
    rows = solution_instrument().rows(trained)
    outputs = [row for row in rows if row["kind"] == "output"]
    parameters = [row["value"] for row in rows if row["kind"] == "parameter"]
    assert len(outputs) == 201
    np.testing.assert_allclose(parameters, ravel_pytree(trained.model)[0])
    one = outputs[17]
    np.testing.assert_allclose(trained.model(jnp.array([one["position"]]))[0], one["value"], rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_constants_of_least_squares_are_those_of_the_data(tmp_path):
    spec = Spec(workload="least-squares", widths=(20, 400), methods=("sgd",), seeds=1, epochs=200)
    folder = run(spec, tmp_path, execution=Execution(keep_parameters=True))
    (narrow,) = constants_instrument().rows(load_network(folder.path, width=20))
    assert narrow["kind"] == "none"
    assert np.isnan(narrow["pl"])
    network = load_network(folder.path, width=400)
    (wide,) = constants_instrument().rows(network)
    inputs = np.asarray(training_examples(network)[0], float)
    values = 2 * np.linalg.svd(inputs, compute_uv=False) ** 2 / len(inputs)
    assert wide["kind"] == "exact, from the data"
    np.testing.assert_allclose(wide["smoothness"], values[0], rtol=1e-6)
    np.testing.assert_allclose(wide["smoothness_each"], 2 * (inputs**2).sum(1).max(), rtol=1e-6)
    np.testing.assert_allclose(wide["pl"], values[-1], rtol=1e-4)


@pytest.mark.slow
def test_of_a_network_that_diverged_nothing_is_measured_and_the_columns_stay(trained):
    lost = diverged(trained)
    for instrument in (
        curvature_instrument(12),
        stability_instrument(12, (1.0,)),
        sharpness_instrument(0.1),
        layers_instrument(12),
        density_instrument(12),
        landscape_instrument(12),
    ):
        with pytest.raises(NotFiniteError):
            instrument.rows(lost)
        assert set(instrument.nothing) == set(instrument.rows(trained)[0]), instrument.name
    (row,) = constants_instrument().rows(lost)
    assert row["kind"] == "none"
