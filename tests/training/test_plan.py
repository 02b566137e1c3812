import jax
import pytest
from hypothesis import given
from hypothesis import strategies as st
from together import together
from training.tasks import CONVOLUTIONAL, DIGITS

from widebasin.training import Plan, choose_plan
from widebasin.training.memory import bytes_ahead, bytes_in_training, bytes_of
from widebasin.training.plan import MEMORY, SHARE_OF_MEMORY
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


@together("width, at_once", [(3, 6), (128, 6), (256, 4), (300, 2), (1000, 1)])
def test_dense_networks_go_a_few_at_a_time_on_cpu_within_the_bound_on_parameters(width, at_once):
    """Tests have two devices. How many networks there are does not matter, so that a sweep may grow."""
    problem = WORKLOADS["digits-mlp"].problem(width, DIGITS.recipe)
    assert {how(problem, networks) for networks in (1, 5, 30, 31)} == {(at_once, "scan")}


def test_more_of_the_smallest_networks_go_at_a_time():
    problem = WORKLOADS["line-mlp"].problem(100, WORKLOADS["line-mlp"].recipe)
    assert how(problem, 1) == (24, "scan")


def test_convolutions_on_cpu_go_one_by_one_and_step_by_step():
    assert how(CONVOLUTIONAL, 35) == (1, "step")
    assert how(WORKLOADS["digits-resnet"].problem(2, DIGITS.recipe), 6) == (1, "step")


def test_attention_goes_a_few_at_a_time_on_cpu_within_the_bound_on_parameters():
    assert how(WORKLOADS["digits-vit"].problem(8, DIGITS.recipe), 6) == (6, "scan")
    assert how(WORKLOADS["digits-vit"].problem(128, DIGITS.recipe), 6) == (2, "scan")


def test_what_the_host_plays_goes_step_by_step():
    pytest.importorskip("ale_py")
    assert how(WORKLOADS["atari-ppo"].problem(8, WORKLOADS["atari-ppo"].recipe), 6) == (2, "step")
    assert how(WORKLOADS["atari-ppo"].problem(32, WORKLOADS["atari-ppo"].recipe), 6) == (1, "step")


@pytest.mark.slow
def test_accelerators_train_as_many_networks_as_fit_whatever_they_are_made_of(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(jax, "local_device_count", lambda: 1)
    for name in ("digits-mlp", "digits-vit", "phrases-lstm"):
        workload = WORKLOADS[name]
        problem = workload.problem(8, workload.recipe)
        # The next group is prepared while one trains.
        one, shared = bytes_in_training(problem) + bytes_ahead(problem), 2 * bytes_of(problem.data)
        fitting = [choose_plan(problem, 12, memory=shared + count * one).networks_at_once for count in (0, 1, 4, 50)]
        assert fitting == [1, 1, 4, 12], name
        assert choose_plan(problem, 12, memory=shared + 50 * one).loop == "scan"


def test_the_memory_is_what_the_device_tells_or_that_of_the_table(monkeypatch):
    class Device:
        def __init__(self, told):
            self.told = told

        def memory_stats(self):
            return self.told

    def at_once(told):
        monkeypatch.setattr(jax, "local_devices", lambda: [Device(told)])
        return choose_plan(DIGITS, 35).networks_at_once

    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(jax, "local_device_count", lambda: 1)
    needed = 2 * bytes_of(DIGITS.data) + 7 * (bytes_in_training(DIGITS) + bytes_ahead(DIGITS))
    assert at_once({"bytes_limit": int(needed / SHARE_OF_MEMORY) + 10}) == 7
    assert at_once(None) == at_once({}) == 35
    monkeypatch.setitem(MEMORY, "gpu", needed)
    assert at_once(None) == 7


def test_on_accelerators_dense_networks_are_batched_and_every_epoch_is_one_loop(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert how(WORKLOADS["digits-mlp"].problem(128, DIGITS.recipe), 30) == (30, "scan")
    assert how(CONVOLUTIONAL, 30) == (1, "scan")


def test_devices_share_the_networks_evenly_and_those_of_accelerators_the_batch(monkeypatch):
    """Groups are filled up; the batch of 50 of a single network is split where a device is no core of a CPU."""
    monkeypatch.setattr(jax, "local_device_count", lambda: 4)
    assert {(plan.networks_at_once, plan.devices) for plan in (choose_plan(DIGITS, n) for n in (1, 8))} == {(12, 4)}
    assert choose_plan(CONVOLUTIONAL, 8).devices == 1
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert choose_plan(CONVOLUTIONAL, 8).devices == 2
    plans = [choose_plan(DIGITS, count) for count in (6, 8, 5, 3, 1)]
    assert [(plan.networks_at_once, plan.devices) for plan in plans] == [(8, 4), (8, 4), (8, 4), (3, 3), (1, 2)]


def test_memory_bounds_the_batch(monkeypatch):
    monkeypatch.setitem(MEMORY, "cpu", 2**19)
    assert 1 <= choose_plan(DIGITS, 35).networks_at_once < 35
    monkeypatch.setitem(MEMORY, "cpu", 1)
    assert choose_plan(DIGITS, 35).networks_at_once == 1


def test_a_state_too_large_for_a_device_of_an_accelerator_is_split_over_those_of_all_hosts(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(jax, "local_device_count", lambda: 4)
    state = 24 * (64 * 12 + 12 + 12 * 10 + 10)  # six copies of the parameters, in bytes
    for memory, sharded in ((state, False), (state - 1, True)):
        monkeypatch.setitem(MEMORY, "gpu", memory)
        assert (choose_plan(DIGITS, 1).sharded, choose_plan(DIGITS, 1).devices) == (sharded, 2)
    monkeypatch.setattr(jax, "process_count", lambda: 5)
    plan = choose_plan(DIGITS, 30)
    assert (plan.networks_at_once, plan.hosts, plan.devices, plan.devices_of_all) == (1, 5, 2, 10)
    assert plan.sharded
    monkeypatch.setattr(jax, "local_device_count", lambda: 1)
    monkeypatch.setattr(jax, "process_count", lambda: 1)
    assert not choose_plan(DIGITS, 1).sharded


@together(
    "impossible, named",
    [
        ({"networks_at_once": 0}, "networks_at_once must be at least 1, got 0"),
        ({"loop": "skan"}, "loop must be one of scan, step, got 'skan'"),
        ({"devices": 0}, "devices must be at least 1 and workers at least 0, got 0 and 0"),
        ({"workers": -1}, "devices must be at least 1 and workers at least 0, got 1 and -1"),
        ({"microbatch": 0}, "microbatch must be at least 1, got 0"),
        ({"hosts": 0}, "hosts must be at least 1, got 0"),
    ],
)
def test_impossible_plans_are_refused(impossible, named):
    with pytest.raises(ValueError, match=named):
        Plan(**{"networks_at_once": 1, "loop": "scan", "platform": "cpu"} | impossible)
