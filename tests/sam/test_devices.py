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
from sam.family import each_compiled, loss, problem
from together import together

from widebasin import sam

TESTS = Path(__file__).parents[1]
PARAMS, ((INPUTS, TARGETS), *_) = problem()
CHECKED = pytest.mark.parametrize("check_vma", [True, False])


def on_two_devices(function, check_vma=True):
    """``function(params, inputs, targets)`` with the examples split over two devices."""
    mesh = Mesh(np.array(jax.devices("cpu")[:2]), ("batch",))
    return jax.jit(
        jax.shard_map(function, mesh=mesh, in_specs=(P(), P("batch"), P("batch")), out_specs=P(), check_vma=check_vma)
    )


def assert_close(actual, expected):
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), actual, expected)


@pytest.mark.slow
@pytest.mark.parametrize("m", ["none", "8"])
def test_every_method_gives_the_same_on_1_2_4_and_8_devices(m):
    """Values, gradients and states of two steps, in float64, under ``jax.jit`` and in ``jax.shard_map``."""
    finished = subprocess.run(
        [sys.executable, "-m", "sam.devices", m],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    runs = json.loads(finished.stdout)
    assert {run["devices"] for run in runs} == {2 if m == "none" else 4, 8}
    for run in runs:
        selects = run["way"] == "jit" or (m != "none" and int(m) <= 16 // run["devices"])
        assert set(run["differences"]) == set(sam.METHODS) - (set() if selects else {"esam"})
        too_far = {name: far for name, far in run["differences"].items() if not far < 1e-13}
        assert not too_far, f"{too_far} on {run['devices']} devices by {run['way']}"


@pytest.mark.slow
@CHECKED
@together("m", [None, 4])
def test_the_drop_in_function_takes_an_axis(m, check_vma):
    actual = on_two_devices(sam.value_and_grad(loss, rho=0.3, m=m, axis_name="batch"), check_vma)
    expected = sam.value_and_grad(loss, rho=0.3, m=m)(PARAMS, INPUTS, TARGETS)
    assert_close(actual(PARAMS, INPUTS, TARGETS), expected)


@pytest.mark.slow
@each_compiled({"SAM": sam.SAM, "GSAM": sam.GSAM})
def test_averaging_gradients_that_come_out_is_m_sharpness_and_an_axis_is_the_whole_batch(method):
    def jointly(params, inputs, targets):
        return method(0.3).value_and_grad(loss, axis_name="batch")(params, (), inputs, targets)[1]

    def apart(params, inputs, targets):
        return jax.lax.pmean(method(0.3).value_and_grad(loss)(params, (), inputs, targets)[1], "batch")

    whole = method(0.3).value_and_grad(loss)(PARAMS, (), INPUTS, TARGETS)[1]
    halves = method(0.3, m=8).value_and_grad(loss)(PARAMS, (), INPUTS, TARGETS)[1]
    assert_close(on_two_devices(jointly, check_vma=False)(PARAMS, INPUTS, TARGETS), whole)
    assert_close(on_two_devices(apart, check_vma=False)(PARAMS, INPUTS, TARGETS), halves)
    assert not np.allclose(whole["in"], halves["in"], atol=1e-3)


def averaged_loss(params, inputs, targets):
    return jax.lax.pmean(loss(params, inputs, targets), "batch")


@pytest.mark.slow
def test_averaging_the_loss_and_naming_the_axis_too_is_refused():
    """The gradient would be averaged twice: too small by the number of devices. Unchecked, JAX averages once."""
    both = sam.value_and_grad(averaged_loss, rho=0.3, axis_name="batch")
    with pytest.raises(ValueError, match="average it inside loss_fn or give axis_name='batch', not both"):
        on_two_devices(both)(PARAMS, INPUTS, TARGETS)
    expected = sam.value_and_grad(loss, rho=0.3)(PARAMS, INPUTS, TARGETS)
    assert_close(on_two_devices(both, check_vma=False)(PARAMS, INPUTS, TARGETS), expected)


@pytest.mark.slow
@each_compiled({"SAM": sam.SAM(0.3), "F-SAM": sam.FriendlySAM(0.3), "LookSAM": sam.LookSAM(0.3), "WSAM": sam.WSAM(0.3)})
def test_averaging_the_loss_alone_is_enough_where_it_is_checked(method):
    state = method.init(PARAMS)
    actual = on_two_devices(lambda params, *batch: method.value_and_grad(averaged_loss)(params, state, *batch))
    expected = method.value_and_grad(loss)(PARAMS, state, INPUTS, TARGETS)
    assert_close(actual(PARAMS, INPUTS, TARGETS), expected)


@together("m", [None, 16])
def test_selecting_examples_across_devices_is_refused_with_a_remedy(m):
    method = sam.ESAM(0.3, m=m)

    def gradient(params, inputs, targets):
        function = method.value_and_grad(loss, axis_name="batch")
        return function(params, (), inputs, targets, key=jax.random.key(0))[1]

    with pytest.raises(ValueError, match=r"across the devices of 'batch'.*choose an m that divides.*or use jax\.jit"):
        on_two_devices(gradient)(PARAMS, INPUTS, TARGETS)


def test_an_m_that_splits_devices_unevenly_is_refused_with_a_remedy():
    """12 examples: 3 groups of 4, of which the second lies half on each device."""
    with pytest.raises(ValueError, match="m = 4 splits the 6 examples on each of 2 devices unevenly"):
        on_two_devices(sam.value_and_grad(loss, m=4, axis_name="batch"))(PARAMS, INPUTS[:12], TARGETS[:12])


def test_an_m_that_does_not_divide_the_whole_batch_is_refused():
    with pytest.raises(ValueError, match="m = 5 does not divide the batch of 16 examples"):
        on_two_devices(sam.value_and_grad(loss, m=5, axis_name="batch"))(PARAMS, INPUTS, TARGETS)


@pytest.mark.slow
@CHECKED
@together("m", [None, 4])
def test_the_value_is_that_of_all_devices_and_aux_each_device_has_its_own(m, check_vma):
    """Statistics in ``aux`` are averaged over the axis by the caller; groups on one device are merged before."""

    def with_mean(params, inputs, targets):
        return loss(params, inputs, targets), inputs.mean(0)

    def step(params, inputs, targets):
        (value, mean), _ = sam.value_and_grad(with_mean, has_aux=True, m=m, axis_name="batch")(params, inputs, targets)
        return value, jax.lax.pmean(mean, "batch")

    value, mean = on_two_devices(step, check_vma)(PARAMS, INPUTS, TARGETS)
    np.testing.assert_allclose(value, loss(PARAMS, INPUTS, TARGETS), rtol=1e-6)
    np.testing.assert_allclose(mean, INPUTS.mean(0), atol=1e-6)


@pytest.mark.slow
def test_parameters_that_vary_over_the_axis_already_are_taken():
    def gradient(params, inputs, targets):
        params = jax.lax.pcast(params, "batch", to="varying")
        gradients = sam.value_and_grad(loss, rho=0.3, axis_name="batch")(params, inputs, targets)[1]
        return jax.lax.pmean(gradients, "batch")

    expected = sam.value_and_grad(loss, rho=0.3)(PARAMS, INPUTS, TARGETS)[1]
    assert_close(on_two_devices(gradient)(PARAMS, INPUTS, TARGETS), expected)


@pytest.mark.slow
@CHECKED
def test_an_example_on_one_device_that_is_not_finite_holds_the_state_on_all(check_vma):
    method = sam.FriendlySAM(0.3)
    state = method.init(PARAMS)

    def step(params, inputs, targets):
        return method.value_and_grad(loss, axis_name="batch")(params, state, inputs, targets)[1:]

    gradients, after = on_two_devices(step, check_vma)(PARAMS, INPUTS.at[12, 0].set(jnp.nan), TARGETS)
    assert all(np.isnan(leaf).all() for leaf in jax.tree.leaves(gradients))
    jax.tree.map(np.testing.assert_array_equal, after, state)


@together("compiled", [lambda function: function, jax.jit], ids=["as it is", "jit"])
def test_the_axis_may_be_that_of_vmap(compiled):
    """Also within a compiled program, and where the pass at the ascent point is in a branch of one."""
    w, x = jnp.array([1.0, 2.0]), jnp.arange(8.0).reshape(4, 2)

    def square(w, x):
        return jnp.mean((x @ w) ** 2)

    method = sam.SAMEveryK(0.3, 2)
    whole = method.value_and_grad(square)(w, method.init(w), x)[1]
    function = method.value_and_grad(square, axis_name="parts")
    split = compiled(jax.vmap(lambda part: function(w, method.init(w), part)[1], axis_name="parts"))
    np.testing.assert_allclose(split(x.reshape(2, 2, 2)), [whole, whole], rtol=1e-5)
