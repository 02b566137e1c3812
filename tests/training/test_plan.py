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


def test_dense_networks_are_batched_and_scanned():
    assert choose_plan(DIGITS, 35) == Plan(35, "scan", "cpu")


def test_wide_networks_are_batched_a_few_at_a_time_in_even_groups_on_cpu():
    wide = WORKLOADS["digits-mlp"].task(128, DIGITS.recipe)
    assert choose_plan(wide, 30) == Plan(6, "scan", "cpu")
    assert choose_plan(wide, 5) == Plan(5, "scan", "cpu")
    assert choose_plan(wide, 31) == Plan(6, "scan", "cpu")
    assert choose_plan(WORKLOADS["digits-mlp"].task(1000, DIGITS.recipe), 30) == Plan(3, "scan", "cpu")


def test_convolutions_on_cpu_go_one_by_one_and_step_by_step():
    assert choose_plan(CONVOLUTIONAL, 35) == Plan(1, "step", "cpu")


def test_memory_bounds_the_batch(monkeypatch):
    monkeypatch.setitem(MEMORY, "cpu", 2**19)
    assert 1 <= choose_plan(DIGITS, 35).replicates_at_once < 35
    monkeypatch.setitem(MEMORY, "cpu", 1)
    assert choose_plan(DIGITS, 35).replicates_at_once == 1


@pytest.mark.parametrize(("at_once", "loop", "named"), [(0, "scan", "replicates_at_once"), (1, "skan", "skan")])
def test_impossible_plans_are_refused(at_once, loop, named):
    with pytest.raises(ValueError, match=named):
        Plan(at_once, loop, "cpu")
