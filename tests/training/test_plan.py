import jax
import pytest
from hypothesis import given
from hypothesis import strategies as st
from training.tasks import CONVOLUTIONAL, DIGITS

from widebasin.training import Plan, choose_plan
from widebasin.training.plan import MEMORY
from widebasin.workloads import WORKLOADS


@given(st.integers(0, 100), st.integers(1, 40))
def test_groups_are_few_even_and_keep_the_order(count, at_once):
    groups = list(Plan(at_once, "scan", "cpu").groups(range(count)))
    assert [item for group in groups for item in group] == list(range(count))
    assert len(groups) == -(-count // at_once)
    sizes = [len(group) for group in groups]
    assert all(size <= at_once for size in sizes)
    assert not sizes or max(sizes) - min(sizes) <= 1


def how(task, replicates):
    plan = choose_plan(task, replicates)
    assert plan.platform == jax.default_backend()
    assert plan.workers == 0
    return plan.networks_at_once, plan.loop


def test_dense_networks_are_batched_and_scanned():
    assert how(DIGITS, 35) == (36, "scan")  # as many on each of the two devices that tests have


def test_wide_networks_are_batched_a_few_at_a_time_in_even_groups_on_cpu():
    wide = WORKLOADS["digits-mlp"].problem(128, DIGITS.recipe)
    assert how(wide, 30) == (10, "scan")
    assert how(wide, 5) == (6, "scan")
    assert how(wide, 31) == (12, "scan")
    assert how(WORKLOADS["digits-mlp"].problem(1000, DIGITS.recipe), 30) == (6, "scan")


def test_convolutions_on_cpu_go_one_by_one_and_step_by_step():
    assert how(CONVOLUTIONAL, 35) == (1, "step")
    assert how(WORKLOADS["digits-resnet"].problem(2, DIGITS.recipe), 6) == (1, "step")


def test_attention_goes_a_few_at_a_time_on_cpu_within_the_bound_on_parameters():
    assert how(WORKLOADS["digits-vit"].problem(8, DIGITS.recipe), 6) == (6, "scan")
    assert how(WORKLOADS["digits-vit"].problem(128, DIGITS.recipe), 6) == (2, "scan")


def test_attention_goes_one_by_one_on_accelerators(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert how(WORKLOADS["digits-vit"].problem(8, DIGITS.recipe), 6) == (1, "scan")


def test_on_accelerators_dense_networks_are_batched_and_every_epoch_is_one_loop(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert how(WORKLOADS["digits-mlp"].problem(128, DIGITS.recipe), 30) == (30, "scan")
    assert how(CONVOLUTIONAL, 30) == (1, "scan")


def test_devices_share_the_networks_evenly_and_those_of_accelerators_the_batch(monkeypatch):
    """Groups are filled up; the batch of 50 of a single network is split where a device is no core of a CPU."""
    monkeypatch.setattr(jax, "local_device_count", lambda: 4)
    plans = [choose_plan(DIGITS, count) for count in (6, 8, 5, 3, 1)]
    assert [(plan.networks_at_once, plan.devices) for plan in plans] == [(8, 4), (8, 4), (8, 4), (3, 3), (1, 1)]
    assert choose_plan(CONVOLUTIONAL, 8).devices == 1
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert choose_plan(CONVOLUTIONAL, 8).devices == 2


def test_memory_bounds_the_batch(monkeypatch):
    monkeypatch.setitem(MEMORY, "cpu", 2**19)
    assert 1 <= choose_plan(DIGITS, 35).networks_at_once < 35
    monkeypatch.setitem(MEMORY, "cpu", 1)
    assert choose_plan(DIGITS, 35).networks_at_once == 1


@pytest.mark.parametrize(("at_once", "loop", "named"), [(0, "scan", "networks_at_once"), (1, "skan", "skan")])
def test_impossible_plans_are_refused(at_once, loop, named):
    with pytest.raises(ValueError, match=named):
        Plan(at_once, loop, "cpu")
