"""The running statistics after one step of SAM are those of the one clean pass, as in a step without SAM."""

import runpy
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
MOMENTUM = 0.9


@pytest.fixture(scope="module")
def batch():
    keys = jax.random.split(jax.random.key(0))
    return jax.random.uniform(keys[0], (32, 64)), jax.random.randint(keys[1], (32,), 0, 10)


def clean_statistics(weight, images):
    """Mean and variance of the first layer's outputs, and their running averages after one update from 0 and 1."""
    hidden = np.asarray(images, float) @ np.asarray(weight, float)
    mean, variance = hidden.mean(0), hidden.var(0)
    return hidden, (1 - MOMENTUM) * mean, MOMENTUM + (1 - MOMENTUM) * variance


@pytest.mark.slow
def test_equinox_statistics_are_updated_once_from_the_clean_pass(batch):
    example = runpy.run_path(str(EXAMPLES / "equinox_batch_norm.py"))
    model, state = eqx.nn.make_with_state(example["Network"])(jax.random.key(1))
    optimizer_state = example["optimizer"].init(eqx.filter(model, eqx.is_inexact_array))
    _, after_one = example["apply"](model, state, batch[0])
    _, after_two = example["apply"](model, after_one, batch[0])

    moved, after_step, _, _ = example["train_step"](model, state, optimizer_state, *batch)

    index = model.norm.batch_state_index
    _, mean, _ = clean_statistics(model.first.weight.T, batch[0])
    np.testing.assert_allclose(after_step.get(index)[0], after_one.get(index)[0], atol=1e-6)
    np.testing.assert_allclose(after_step.get(index)[1], after_one.get(index)[1], atol=1e-6)
    assert not np.allclose(after_step.get(index)[0], after_two.get(index)[0], atol=1e-4)
    assert int(after_step.get(model.norm.batch_counter)) == 1
    np.testing.assert_allclose(after_one.get(index)[0], mean, atol=1e-5)
    assert not eqx.tree_equal(moved, model)


@pytest.mark.slow
def test_flax_statistics_are_updated_once_from_the_clean_pass(batch):
    example = runpy.run_path(str(EXAMPLES / "flax_nnx.py"))
    params, statistics = example["initial_params"], example["initial_statistics"]
    optimizer_state = example["optimizer"].init(params)

    moved, after_step, _, _ = example["train_step"](params, statistics, optimizer_state, *batch)

    _, mean, variance = clean_statistics(params["first"]["kernel"][...], batch[0])
    np.testing.assert_allclose(after_step["norm"]["mean"][...], mean, atol=1e-5)
    np.testing.assert_allclose(after_step["norm"]["var"][...], variance, atol=1e-5)
    np.testing.assert_array_equal(statistics["norm"]["mean"][...], np.zeros(96))
    assert not jnp.array_equal(moved["first"]["kernel"][...], params["first"]["kernel"][...])


@pytest.mark.slow
def test_flax_statistics_passed_in_stay_as_they_were_without_jit(batch):
    example = runpy.run_path(str(EXAMPLES / "flax_nnx.py"))
    params, statistics = example["initial_params"], example["initial_statistics"]
    (_, after), _ = example["value_and_grad"](params, statistics, *batch)
    _, mean, _ = clean_statistics(params["first"]["kernel"][...], batch[0])
    np.testing.assert_allclose(after["norm"]["mean"][...], mean, atol=1e-5)
    np.testing.assert_array_equal(statistics["norm"]["mean"][...], np.zeros(96))
