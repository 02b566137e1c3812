"""The contenders of the step, and the command that shows them."""

import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import optax
import pytest

from widebasin import sam
from widebasin.benchmarks import step
from widebasin.benchmarks.synthetic import mnist_shaped


@pytest.fixture(scope="module")
def batch():
    data = mnist_shaped(step.BATCH_SIZE)
    return jnp.asarray(data.inputs), jnp.asarray(data.targets)


@pytest.mark.slow
def test_sam_step_is_two_gradients_and_an_update(batch):
    params = step.initial_model()
    gradients = jax.grad(step.loss_fn)(params, *batch)
    norm = optax.tree.norm(gradients)
    ascent = jax.tree.map(lambda p, g: p + step.RHO * g / norm, params, gradients)
    gradients = jax.grad(step.loss_fn)(ascent, *batch)
    recipe = step.RECIPE
    # The first step of momentum is a step of plain gradient descent.
    expected = jax.tree.map(lambda p, g: p - recipe.learning_rate * (g + recipe.weight_decay * p), params, gradients)
    advance, state = step._update(sam.SAM(rho=step.RHO), batch)
    (found, *_), value = advance(state)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert float(jnp.abs(a - b).max()) < 1e-6
    assert value == pytest.approx(float(step.loss_fn(params, *batch)), rel=1e-5)


@pytest.mark.slow
def test_gradient_contender_leaves_the_parameters_as_they_are(batch):
    advance, state = step._gradient(jax.value_and_grad(step.loss_fn), batch)
    params, (_, gradients) = advance(state)
    start = step.initial_model()
    assert all(bool((a == b).all()) for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(start), strict=True))
    expected = jax.grad(step.loss_fn)(start, *batch)
    for a, b in zip(jax.tree.leaves(gradients), jax.tree.leaves(expected), strict=True):
        assert float(jnp.abs(a - b).max()) < 1e-6


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "widebasin.cli", "bench", *arguments], capture_output=True, text=True, timeout=300
    )


@pytest.mark.slow
def test_command_prints_the_machine_and_the_rows(tmp_path):
    file = tmp_path / "step.json"
    done = command("step", "--rounds", "2", "--json", str(file))
    assert done.returncode == 0, done.stderr
    for text in (
        "Machine",
        "jax ",
        "median ms",
        "SAM gradient",
        "SGD step",
        "SAM step",
        "≤ 2.1",
        "Medians of 2 rounds",
    ):
        assert text in done.stdout
    record = json.loads(file.read_text())
    (found,) = record["benchmarks"]
    assert found["name"] == "step"
    assert all(len(row["seconds"]) == 2 for row in found["rows"])
    assert "jax" in record["machine"]["versions"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("step", "--rounds", "0"), "rounds = 0: must be at least 1"),
        (("step", "--json", "no/such/folder/step.json"), "cannot be written"),
    ],
)
def test_command_refuses_before_it_measures(arguments, message):
    done = command(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stdout == ""
