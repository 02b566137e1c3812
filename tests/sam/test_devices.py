"""At a fixed m the result does not depend on the number of devices; ``devices.py`` holds the runs."""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from sam.regression import NAMES, key_at, loss, method_called, regression

from widebasin import sam

TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def mesh():
    return Mesh(np.array(jax.devices("cpu")[:2]), ("batch",))


def on_two_devices(mesh, function, check_vma=True):
    """``function(params, inputs, targets)`` with the examples split over two devices."""
    return jax.jit(
        jax.shard_map(function, mesh=mesh, in_specs=(P(), P("batch"), P("batch")), out_specs=P(), check_vma=check_vma)
    )


@pytest.mark.slow
@pytest.mark.parametrize("m", ["none", "2", "16"])
def test_every_method_gives_the_same_on_1_2_4_and_8_devices(m):
    """Values, gradients and states of two steps, in float64, under ``jax.jit`` and in ``jax.shard_map``."""
    finished = subprocess.run(
        [sys.executable, "-m", "sam.devices", m],
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    runs = json.loads(finished.stdout)
    assert {run["devices"] for run in runs} >= {2, 4, 8}
    for run in runs:
        without = set() if run["way"] == "jit" or "esam" in run["differences"] else {"esam"}
        assert set(run["differences"]) == set(NAMES) - without
        too_far = {name: far for name, far in run["differences"].items() if not far < 1e-13}
        assert not too_far, f"{too_far} on {run['devices']} devices by {run['way']}"


@pytest.mark.parametrize("check_vma", [True, False])
@pytest.mark.parametrize("m", [None, 4])
def test_the_drop_in_function_takes_an_axis(mesh, m, check_vma):
    problem = regression()
    actual = on_two_devices(mesh, sam.value_and_grad(loss, rho=0.3, m=m, axis_name="batch"), check_vma)
    expected = sam.value_and_grad(loss, rho=0.3, m=m)(problem.params, *problem.batch)
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, atol=1e-6), actual(problem.params, *problem.batch), expected
    )


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", ["sam", "gsam"])
def test_without_check_vma_an_axis_is_what_averages_both_passes(mesh, name):
    """Averaging the gradients that come out is another thing: each device then climbs for its own examples."""
    problem, method = regression(), method_called(name)

    def together(params, inputs, targets):
        return method.value_and_grad(loss, axis_name="batch")(params, (), inputs, targets)[1]

    def apart(params, inputs, targets):
        return jax.lax.pmean(method.value_and_grad(loss)(params, (), inputs, targets)[1], "batch")

    whole = method.value_and_grad(loss)(problem.params, (), *problem.batch)[1]
    halves = method_called(name, m=16).value_and_grad(loss)(problem.params, (), *problem.batch)[1]
    close = functools.partial(np.testing.assert_allclose, rtol=1e-12)
    arguments = (problem.params, *problem.batch)
    jax.tree.map(close, on_two_devices(mesh, together, check_vma=False)(*arguments), whole)
    jax.tree.map(close, on_two_devices(mesh, apart, check_vma=False)(*arguments), halves)
    assert not np.allclose(whole["in"], halves["in"], rtol=1e-3)


def test_averaging_the_loss_and_naming_the_axis_too_is_refused(mesh):
    """The gradient would be averaged twice: too small by the number of devices."""
    problem = regression()

    def averaged(params, inputs, targets):
        return jax.lax.pmean(loss(params, inputs, targets), "batch")

    with pytest.raises(ValueError, match="average it inside loss_fn, or give axis_name='batch', not both"):
        on_two_devices(mesh, sam.value_and_grad(averaged, axis_name="batch"))(problem.params, *problem.batch)
    both = on_two_devices(mesh, sam.value_and_grad(averaged, rho=0.3, axis_name="batch"), check_vma=False)
    expected = sam.value_and_grad(loss, rho=0.3)(problem.params, *problem.batch)
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, atol=1e-6), both(problem.params, *problem.batch), expected
    )


@pytest.mark.parametrize("m", [None, 32])
def test_selecting_examples_across_devices_is_refused_with_a_remedy(mesh, m):
    problem, method = regression(), method_called("esam", m)

    def gradient(params, inputs, targets):
        return method.value_and_grad(loss, axis_name="batch")(params, (), inputs, targets, key=key_at(0))[1]

    with pytest.raises(ValueError, match=r"across the devices of 'batch'.*give an m that divides.*or use jax\.jit"):
        on_two_devices(mesh, gradient)(problem.params, *problem.batch)


def test_an_m_that_splits_devices_unevenly_is_refused_with_a_remedy(mesh):
    """24 examples: 3 groups of 8, of which the second lies half on each device."""
    problem = regression()
    batch = jax.tree.map(lambda leaf: leaf[:24], problem.batch)
    with pytest.raises(ValueError, match=r"m = 8 splits the 12 examples that each of 2 devices holds unevenly"):
        on_two_devices(mesh, sam.value_and_grad(loss, m=8, axis_name="batch"))(problem.params, *batch)


def test_an_m_that_does_not_divide_the_whole_batch_is_refused(mesh):
    problem = regression()
    with pytest.raises(ValueError, match="m = 5 does not divide the batch of 32 examples"):
        on_two_devices(mesh, sam.value_and_grad(loss, m=5, axis_name="batch"))(problem.params, *problem.batch)


@pytest.mark.parametrize("check_vma", [True, False])
@pytest.mark.parametrize("m", [None, 4])
def test_the_value_is_that_of_all_devices_and_aux_each_device_s_own(mesh, m, check_vma):
    """Statistics in ``aux`` are averaged by the caller, over the axis; groups on a device are merged before."""
    problem = regression()

    def with_mean(params, inputs, targets):
        return loss(params, inputs, targets), inputs.mean(0)

    @functools.partial(on_two_devices, mesh, check_vma=check_vma)
    def step(params, inputs, targets):
        (value, mean), _ = sam.value_and_grad(with_mean, has_aux=True, m=m, axis_name="batch")(params, inputs, targets)
        return value, jax.lax.pmean(mean, "batch")

    value, mean = step(problem.params, *problem.batch)
    np.testing.assert_allclose(value, loss(problem.params, *problem.batch), rtol=1e-6)
    np.testing.assert_allclose(mean, problem.batch[0].mean(0), atol=1e-6)


def test_parameters_that_a_device_holds_alone_pass(mesh):
    """The parameters may vary over the axis already: what ``lax.pcast`` refuses to do twice is left as it is."""
    problem = regression()

    @functools.partial(on_two_devices, mesh)
    def gradient(params, inputs, targets):
        params = jax.lax.pcast(params, "batch", to="varying")
        gradients = sam.value_and_grad(loss, rho=0.3, axis_name="batch")(params, inputs, targets)[1]
        return jax.lax.pmean(gradients, "batch")

    expected = sam.value_and_grad(loss, rho=0.3)(problem.params, *problem.batch)[1]
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, atol=1e-6), gradient(problem.params, *problem.batch), expected
    )


def test_a_non_finite_example_on_one_device_holds_the_state_on_all(mesh):
    problem, method = regression(), method_called("friendly-sam")
    state = method.init(problem.params)
    inputs = problem.batch[0].at[20, 0].set(jnp.nan)

    @functools.partial(on_two_devices, mesh)
    def step(params, inputs, targets):
        return method.value_and_grad(loss, axis_name="batch")(params, state, inputs, targets)[1:]

    gradients, after = step(problem.params, inputs, problem.batch[1])
    assert all(np.isnan(leaf).all() for leaf in jax.tree.leaves(gradients))
    jax.tree.map(np.testing.assert_array_equal, after, state)
