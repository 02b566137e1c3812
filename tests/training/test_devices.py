"""What is trained does not depend on the number of devices; ``devices.py`` holds the runs on four of them."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from compiling import xla_flags
from sweep.commands import widebasin
from training.tasks import DIGITS, leaves, point, program_of

from widebasin.models import MLP
from widebasin.sweep import Execution, Spec, UsageError, resolve
from widebasin.sweep.cells import cells
from widebasin.sweep.plans import plan_for
from widebasin.training import Plan
from widebasin.training.supervised import Positions

TESTS = Path(__file__).parents[1]


@pytest.mark.slow
def test_networks_that_share_devices_never_wait_for_each_other(tmp_path):
    """No program has a collective, as a thread that compiles ahead runs programs beside those that train."""
    flags = f"--xla_dump_to={tmp_path / 'programs'} --xla_dump_hlo_as_text"
    environment = os.environ | {"XLA_FLAGS": xla_flags(2, flags), "JAX_ENABLE_COMPILATION_CACHE": "false"}
    grid = {"widths": "4 8", "rhos": "0.1", "sparsity": "0 0.5", "pruners": "random snip", "seeds": "2", "epochs": "1"}
    words = [word for flag, values in grid.items() for word in (f"--{flag}", *values.split())]
    widebasin("sweep", *words, "--quiet", "--out", tmp_path / "r", env=environment, check=0)
    programs = [path.read_text() for path in (tmp_path / "programs").glob("*after_optimizations.txt")]
    assert sum("num_partitions=2" in program for program in programs) > 4
    collectives = re.compile(r" (all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter)(-start)?\(")
    assert not [program.partition("\n")[0] for program in programs if collectives.search(program)]


@pytest.mark.slow
def test_networks_are_the_same_on_1_2_and_4_devices():
    """One network by its batch, with and without groups, and four networks; parameters, batch statistics, norms."""
    finished = subprocess.run(
        [sys.executable, "-m", "training.devices"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    runs = json.loads(finished.stdout)
    assert {(run["run"], run["devices"]) for run in runs} == {
        ("dense", 4),
        ("dense, m = 10", 4),
        ("dense, four networks", 2),
        ("dense, four networks", 4),
        ("residual", 2),
        ("residual", 4),
    }
    for run in runs:
        assert max(run["differences"].values()) < 1e-12, run
        assert run["gradient_norm"] > 0.1
        assert (run["statistics"] > 0) == (run["run"] == "residual")
        # Several networks are split; one is on all devices, which split its batch.
        share = 1 / run["devices"] if "four" in run["run"] else 1.0
        assert run["shares"] == [share] * run["devices"]


MANY_FACTORIZATIONS = """
from dataclasses import replace
import equinox as eqx, jax
from training.tasks import DIGITS, point, program_of
from widebasin.models import MLP
from widebasin.training import Plan

class Orthogonal(eqx.Module):
    layers: list

    def __init__(self, key):
        orthogonal = jax.nn.initializers.orthogonal()
        self.layers = [orthogonal(key, (128, 128)) for key in jax.random.split(key, 12)]

    def __call__(self, x):
        return self.layers[0][:10, :64] @ x

program = program_of(replace(DIGITS, build=Orthogonal), "sam", Plan(6, "scan", "cpu"))
state, *_ = program.start([point(seed=seed) for seed in range(6)])
first = jax.numpy.asarray(state.params.layers[0])
print(abs(first @ first.mT - jax.numpy.eye(128)).max() < 1e-5)
"""


@pytest.mark.slow
def test_orthogonal_initialization_of_many_networks_ends():
    """Batched factorizations that run at the same time wait for each other's threads for ever."""
    finished = subprocess.run(
        [sys.executable, "-c", MANY_FACTORIZATIONS],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert finished.stdout.strip() == "True", finished.stderr


@pytest.mark.slow
def test_a_batch_on_two_devices_is_computed_by_both():
    """Each device has its share of the examples, and the gradients meet."""
    program = program_of(DIGITS, "sam", Plan(1, "step", "cpu", devices=2))
    state, examples, hyperparameters = program.start([point(rho=0.1)])
    arguments = (state, examples, hyperparameters, Positions(np.zeros((1, 50), np.int32)), 0, program.data)
    compiled = program.loop._steps[0].lower(*arguments).compile().as_text()
    assert "all-reduce" in compiled
    assert "f32[25,10]" in compiled
    assert "f32[50,10]" not in compiled


@pytest.mark.slow
def test_a_group_is_filled_up_where_devices_cannot_share_it():
    """The last group of a sweep may be smaller than the others: three networks on two devices, and one along."""
    group = [point(rho=0.1, seed=seed) for seed in range(3)]
    found = []
    for devices in (1, 2):
        program = program_of(DIGITS, "sam", Plan(4, "scan", "cpu", devices))
        state, examples, hyperparameters = program.start(group)
        state, metrics = program.epoch(state, examples, hyperparameters, last=True)
        found.append(([leaf[:3] for leaf in leaves(state)], {name: one[:3] for name, one in metrics.items()}))
    (alone, metrics), (shared, shared_metrics) = found
    for one, other in zip(alone, shared, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)
    for name, values in metrics.items():
        np.testing.assert_allclose(values, shared_metrics[name], rtol=1e-5)


@pytest.mark.slow
def test_a_sharded_state_is_split_over_devices_and_trains_the_same():
    """Each of two devices holds half of the large arrays, also after an epoch; numbers are those of one device."""
    wide = replace(DIGITS, build=lambda key: MLP((64, 256, 64, 10), key=key))
    found = []
    for chosen in (Plan(1, "scan", "cpu"), Plan(1, "scan", "cpu", devices=2, sharded=True)):
        program = program_of(wide, "sam", chosen)
        state, examples, hyperparameters = program.start([point(rho=0.1, seed=3)])
        shares = [share(state)]
        for _ in range(2):
            state, metrics = program.epoch(state, examples, hyperparameters, last=True)
            shares.append(share(state))
        found.append((leaves(state), metrics, shares))
    (alone, metrics, whole), (split, split_metrics, shares) = found
    assert whole == [1, 1, 1]
    # Of the 33,738 parameters, 970 are small arrays, which both have: biases and the last layer.
    assert shares == pytest.approx([(1 + 970 / 33_738) / 2] * 3, abs=1e-4)
    for one, other in zip(alone, split, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)
    for name, values in metrics.items():
        np.testing.assert_allclose(values, split_metrics[name], rtol=1e-5)


def share(state):
    """The share of the bytes of the parameters and of the optimizer's state that a device holds."""
    arrays = jax.tree.leaves((state.params, state.optimizer))
    return sum(one.addressable_shards[0].data.nbytes for one in arrays) / sum(one.nbytes for one in arrays)


def plan(execution, **grid):
    (cell,) = cells(resolve(Spec(widths=(4,), methods=("sgd",), **grid)))
    return plan_for(cell, execution)


def test_devices_that_cannot_share_the_work_are_refused_with_the_reason():
    with pytest.raises(UsageError, match="devices = 2: must divide the 25 examples of a batch"):
        plan(Execution(devices=2, networks_at_once=1), seeds=3, batch_size=25)
    alone = Execution(devices=2, networks_at_once=1)
    assert plan(alone, seeds=3, batch_size=50).devices == 2
    available = jax.local_device_count()
    with pytest.raises(UsageError, match=f"must be at most {available}, the devices that this process has"):
        plan(replace(alone, devices=available + 1))
    with pytest.raises(UsageError, match="devices = 0: must be a whole number of at least 1"):
        Execution(devices=0).check()


def test_devices_that_nobody_asked_for_share_the_networks():
    for seeds in (4, 1):
        chosen = plan(Execution(), seeds=seeds)
        assert (chosen.networks_at_once, chosen.devices) == (6, 2)
    # The cores of a CPU share one network's steps without being told.
    assert plan(Execution(networks_at_once=1), seeds=4, batch_size=50).devices == 1
    assert plan(Execution(networks_at_once=1, workers=3), seeds=4).workers == 3
