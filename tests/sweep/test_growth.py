"""A sweep that grows has the numbers of one that was trained at once."""

import dataclasses
import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from studies.described import description
from sweep.test_run import assert_same, values

from widebasin.sweep import Execution, Spec, SweepError, UsageError, resolve
from widebasin.sweep.cells import cells, cells_of, contains
from widebasin.sweep.folder import ResultsFolder
from widebasin.sweep.networks import load_network
from widebasin.sweep.rows import rows_of_spec
from widebasin.sweep.run import run

SMALL = Spec(workload="line-mlp", widths=(2,), rhos=(0.1,), seeds=2, epochs=2)
LARGER = dataclasses.replace(SMALL, widths=(2, 3), rhos=(0.05, 0.1), seeds=3)

# Name -> the specs of the stages, as changes of the last one, which all have the networks of the one before.
GROWN = {
    "perceptron": (
        Spec(
            widths=(3, 5), rhos=(0.05, 0.2), seeds=3, epochs=3, methods=("sgd", "sam", "asam"), label_noise=(0.0, 0.2)
        ),
        {"widths": (5,), "rhos": (0.2,), "seeds": 1, "first_seed": 1, "methods": ("sgd",), "label_noise": (0.2,)},
        {"widths": (5,), "rhos": (0.2,), "seeds": 2, "methods": ("sgd", "sam"), "label_noise": (0.2,)},
        {"methods": ("sgd", "sam")},
    ),
    "residual network": (
        Spec(workload="digits-resnet", widths=(2,), rhos=(0.05, 0.1), seeds=2, epochs=1, train_examples=128),
        {"rhos": (0.05,), "seeds": 1},
    ),
    "pruned": (
        Spec(widths=(4, 6), sparsity=(0.0, 0.5, 0.8), pruners=("random", "snip"), rhos=(0.1,), seeds=2, epochs=2),
        {"widths": (6,), "sparsity": (0.0, 0.5), "pruners": ("random",), "seeds": 1},
        {"sparsity": (0.0, 0.8, 0.5)},
    ),
}


def networks_of(grid):
    return [(cell.width, cell.settings.own, point) for cell in grid for point in cell.points]


def apart(folder):
    """Results and history without where parameters lie: of a grown sweep in the folders of its stages."""
    results, history = values(folder)
    return results.drop(columns="parameters"), history


def assert_grown(folder, at_once):
    for mine, theirs in zip(apart(folder), apart(at_once), strict=True):
        pd.testing.assert_frame_equal(mine, theirs, check_exact=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", GROWN)
def test_a_sweep_that_grew_has_the_bits_of_one_trained_at_once(name, tmp_path):
    whole, *smaller = GROWN[name]
    for change in smaller:
        run(dataclasses.replace(whole, **change), tmp_path / "grown")
    trained = {path: path.stat().st_mtime_ns for path in (tmp_path / "grown" / "cells").rglob("*.parquet")}
    folder = run(whole, tmp_path / "grown")
    assert {path: path.stat().st_mtime_ns for path in trained} == trained
    assert folder.spec() == resolve(whole)
    assert_grown(folder, run(whole, tmp_path / "at-once"))


some = st.lists(st.integers(0, 3), min_size=1, max_size=3, unique=True)


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "widths": some.map(lambda numbers: tuple(2 + n for n in numbers)),
                "rhos": some.map(lambda numbers: tuple((1 + n) / 10 for n in numbers)),
                "label_noise": some.map(lambda numbers: tuple(n / 10 for n in numbers)),
                "sparsity": some.map(lambda numbers: tuple(n / 4 for n in numbers)),
                "methods": some.map(lambda numbers: tuple(("sgd", "sam", "asam", "gsam")[n] for n in numbers)),
                "seeds": st.integers(1, 3),
                "first_seed": st.integers(0, 2),
            }
        ),
        min_size=1,
        max_size=3,
    )
)
def test_stages_have_every_network_of_the_last_one_once(changes):
    """Each stage has the values of all before it, and of its seeds the least to the greatest."""
    stages = []
    for change in changes:
        if stages:
            before = stages[-1]
            change = {
                name: tuple(dict.fromkeys((*value, *getattr(before, name)))) if isinstance(value, tuple) else value
                for name, value in change.items()
            }
            first = min(change["first_seed"], before.first_seed)
            last = max(change["first_seed"] + change["seeds"], before.first_seed + before.seeds)
            change |= {"first_seed": first, "seeds": last - first}
        stages.append(resolve(Spec(epochs=1, **change)))
    assert all(contains(larger, smaller) for smaller, larger in itertools.pairwise(stages))
    found, wanted = networks_of(cells_of(stages)), networks_of(cells(stages[-1]))
    assert sorted(map(repr, found)) == sorted(map(repr, wanted))
    names = [cell.name for cell in cells_of(stages)]
    assert len(set(names)) == len(names)


def test_a_spec_with_fewer_networks_or_trained_in_another_way_does_not_contain_one():
    small, larger = resolve(SMALL), resolve(LARGER)
    assert contains(larger, small)
    assert contains(small, small)
    assert not contains(small, larger)
    for change in ({"epochs": 3}, {"first_seed": 1}, {"rhos": (0.05,)}, {"momentum": 0.5}, {"study": "overparam"}):
        assert not contains(resolve(dataclasses.replace(LARGER, **change)), small)
    pruned = Spec(widths=(4, 6), prune="largest", sparsity=(0.0, 0.5), epochs=1)
    wider = dataclasses.replace(pruned, widths=(4, 6, 8))  # the largest network is another one
    assert not contains(resolve(wider), resolve(pruned))


@pytest.fixture(scope="module")
def grown_at_once(tmp_path_factory):
    """The larger sweep, with its parameters."""
    return run(LARGER, tmp_path_factory.mktemp("whole") / "r", execution=Execution(keep_parameters=True))


class Ended(BaseException):
    """As if the process was killed."""


@pytest.mark.slow
@pytest.mark.parametrize("written", [0, 1, 2, 3, 5, 8])
def test_a_growing_sweep_interrupted_anywhere_is_the_small_one_or_goes_on(
    written, grown_at_once, monkeypatch, tmp_path
):
    """So many files are written, and then no more."""
    keeping = Execution(keep_parameters=True, checkpoint_seconds=0.0)
    small = run(SMALL, tmp_path / "r", execution=keeping)
    before = apart(small)
    writing, left = ResultsFolder.write, written

    def write(self, name, content):
        nonlocal left
        if left == 0:
            raise Ended
        left -= 1
        writing(self, name, content)

    with monkeypatch.context() as patch:
        patch.setattr(ResultsFolder, "write", write)
        with pytest.raises(Ended):
            run(LARGER, tmp_path / "r", execution=keeping)
    again = ResultsFolder(tmp_path / "r")
    if again.spec() == resolve(SMALL):
        run(SMALL, tmp_path / "r", execution=keeping)
        for mine, theirs in zip(apart(again), before, strict=True):
            pd.testing.assert_frame_equal(mine, theirs, check_exact=True)
        assert again.description().recipe == small.description().recipe
    else:
        with pytest.raises(SweepError, match="not finished"):
            again.results()
        with pytest.raises(UsageError, match="contains results of a different spec"):
            run(SMALL, tmp_path / "r", execution=keeping)
    folder = run(LARGER, tmp_path / "r", execution=keeping)
    assert_grown(folder, grown_at_once)
    which = {"width": 2, "method": "sam", "rho": 0.1, "seed": 1}
    one, other = (load_network(place.path, **which) for place in (folder, grown_at_once))
    np.testing.assert_array_equal(one.model.weights[0], other.model.weights[0])


def test_a_record_of_stages_is_read_as_far_as_the_spec_says(tmp_path):
    """What was written last decides: a spec.toml that is an earlier stage's means that the growth had not begun."""
    folder = ResultsFolder(tmp_path)
    small, larger = resolve(SMALL), resolve(LARGER)
    environment = {"versions": {"widebasin": "0"}, "data": {"name": "made up", "sha256": "0"}}
    folder.begin(small, description(), {"a": {}}, [environment])
    described = (tmp_path / "description.json").read_bytes()
    text = (tmp_path / "spec.toml").read_bytes()
    folder.write_table(tmp_path / "results.parquet", rows_of_spec(small))
    folder.begin(larger, dataclasses.replace(description(), title="larger"), {"a": {}}, [environment])
    assert folder.stages() == [small, larger]
    # What a reader has read just before, the description of the smaller sweep, is as good.
    (tmp_path / "description.json").write_bytes(described)
    assert folder.description() == description()
    assert not (tmp_path / "results.parquet").exists()
    (tmp_path / "spec.toml").write_bytes(text)
    assert folder.stages() == [small]
    assert folder.description() == description()
    (tmp_path / "spec.toml").write_bytes(text + b"\n")
    with pytest.raises(SweepError, match="was changed since the sweep began"):
        folder.spec()


@pytest.mark.slow
def test_a_sweep_grows_with_its_microbatch_and_goes_on_after_a_growth_with_another_plan(tmp_path):
    first = Execution(microbatch=4, networks_at_once=1)
    run(SMALL, tmp_path / "r", execution=first)
    for other in (Execution(microbatch=2), Execution(microbatch=12)):
        with pytest.raises(UsageError, match=r"microbatch = .*started with 4"):
            run(LARGER, tmp_path / "r", execution=other)
    wider = Execution(networks_at_once=2)
    folder = run(LARGER, tmp_path / "r", execution=wider)
    plans = folder.run_record()["plans"]
    assert {plan["microbatch"] for plan in plans.values()} == {4}
    assert {plan["networks_at_once"] for plan in plans.values()} == {1, 2}
    # As if it was killed before the last group of the second stage.
    (folder.path / "results.parquet").unlink()
    (folder.path / "cells" / list(plans)[-1] / "group-0.results.parquet").unlink()
    assert_same(run(LARGER, tmp_path / "r", execution=wider), folder)


@pytest.mark.slow
def test_a_sweep_grown_again_is_the_same(grown_at_once, tmp_path):
    run(SMALL, tmp_path / "r")
    folder = run(LARGER, tmp_path / "r")
    record = folder.run_record()
    assert len(record["stages"]) == 2
    assert_same(run(LARGER, tmp_path / "r"), folder)
    assert folder.run_record() == record
    assert_grown(folder, grown_at_once)
