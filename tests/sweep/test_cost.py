"""What a sweep will cost is counted as by hand, and timed by training a little."""

import dataclasses
import math
from pathlib import Path

import jax
import numpy as np
import pytest
from together import together

import widebasin
from widebasin.data import DataError
from widebasin.studies.costs import cost_sentences, cost_table
from widebasin.sweep import Execution, Spec, UsageError, resolve
from widebasin.sweep.accelerators import Accelerators
from widebasin.sweep.cells import cells
from widebasin.sweep.cost import cost_of
from widebasin.sweep.units import bytes_in_words
from widebasin.training import Program, choose_plan
from widebasin.workloads import WORKLOADS

GRID = Spec(widths=(8, 32), rhos=(0.05, 0.1), seeds=3, epochs=4)


def counted(spec, **execution):
    return cost_of(resolve(spec), Execution(**execution), calibrate=False)


def test_operations_are_those_of_the_matrix_products_and_a_little_more():
    """Two for every weight and example forwards, and for the gradients of the weight and of what the layer is given.

    The latter are not needed in the first layer.
    """
    found = counted(GRID)
    assert [one.networks for one in found.cells] == [9, 9]
    assert found.networks == 18
    for one, width in zip(found.cells, (8, 32), strict=True):
        first, weights = 64 * 3 * width, 64 * 3 * width + 3 * width * width + width * 10
        workload = WORKLOADS["digits-mlp"]
        sizes, recipe = workload.sizes, workload.recipe
        examples = sizes.train // recipe.batch_size * recipe.batch_size
        # All train in the program of SAM, with two gradients a step.
        by_hand = 4 * (2 * examples * (6 * weights - 2 * first) + (sizes.valid + sizes.test) * 2 * weights)
        by_hand += sizes.train * 2 * weights
        assert 1 <= one.operations / (9 * by_hand) < 1.35
        assert one.parameters == workload.num_params(width)
        assert math.isnan(one.seconds)


@pytest.mark.slow
@together(
    ("change", "factor"),
    [({"epochs": 8}, 2), ({"seeds": 6}, 2), ({"methods": ("sam",)}, 6 / 9)],
)
def test_operations_grow_with_what_is_asked_for(change, factor):
    found, other = (
        sum(one.operations for one in counted(spec).cells) for spec in (GRID, dataclasses.replace(GRID, **change))
    )
    assert other == pytest.approx(factor * found, rel=0.05)


@pytest.mark.slow
def test_memory_is_at_least_what_xla_says_and_not_much_more():
    spec = resolve(Spec(widths=(64,), methods=("sam",), rhos=(0.05,), seeds=6, epochs=2))
    (cell,) = cells(spec)
    plan = choose_plan(cell.problem(), 6)
    program = Program(cell.problem(), cell.with_radius, plan)
    program.prepare(cell.points)
    (compiled,) = program.loop._prepared.values()
    memory = compiled.memory_analysis()
    needed = memory.temp_size_in_bytes + memory.argument_size_in_bytes
    (found,) = cost_of(spec, Execution(), calibrate=False).cells
    assert 0.5 < found.memory / needed < 4


@pytest.mark.slow
def test_the_papers_imagenet_is_counted_without_its_data():
    grid = {"workload": "imagenet-resnet50", "widths": (64,), "seeds": 1, "rhos": (0.05,), "batch_size": 32}
    found = widebasin.cost(**grid)
    sgd, sam = found.cells
    # 4.1e9 multiplications and additions forwards for an image, He et al. 2016; three times as many for a gradient.
    images = 90 * (1_261_167 // 32 * 32)
    assert sgd.operations / images == pytest.approx(6 * 4.1e9, rel=0.1)
    assert sam.operations / sgd.operations == pytest.approx(2, rel=0.03)
    assert found.seconds_on("h100", 8, 0.25) == pytest.approx(found.operations / (8 * 0.25 * 494.5e12))
    assert math.isnan(found.seconds)
    assert not found.calibrated


def test_without_data_and_their_shape_it_says_so(monkeypatch):
    monkeypatch.setitem(
        WORKLOADS, "shapeless", dataclasses.replace(WORKLOADS["mnist-mlp"], name="shapeless", input_shape=None)
    )
    with pytest.raises(DataError, match="MNIST"):
        counted(Spec(workload="shapeless", label_noise=(0.0,)))


@pytest.mark.slow
def test_what_is_asked_of_the_execution_counts_without_the_data_too():
    grid = Spec(workload="cifar10-vit", methods=("sam",), seeds=1, rhos=(0.05,), batch_size=32)
    grid = dataclasses.replace(grid, widths=WORKLOADS["cifar10-vit"].widths[:1])
    whole, part = (counted(grid, **given).memory for given in ({}, {"microbatch": 8}))
    assert part < whole / 2
    with pytest.raises(UsageError, match="microbatch = 7: must divide"):
        counted(grid, microbatch=7)


@pytest.mark.slow
def test_time_here_is_estimated_from_the_smallest_and_the_largest(tmp_path):
    found = cost_of(resolve(Spec(widths=(4, 8, 16), rhos=(0.05,), seeds=2, epochs=3)), Execution())
    assert set(found.calibrated) <= {4, 16}
    assert 16 in found.calibrated
    assert all(one.seconds > 0 for one in found.cells)
    table = cost_table(found)
    assert table.rows[-1][0] == "all"
    assert len(table.rows) == 4
    sentences = cost_sentences(found, tmp_path / "not" / "there", Accelerators("a100", 2, 0.5))
    assert "On 2 a100: " in sentences[1]
    assert "at 50% of its 156 TFLOP/s" in sentences[1]
    assert not (tmp_path / "not").exists()


@together(
    ("count", "words"), [(0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (1.5 * 2**20, "1.5 MiB"), (2**50, "1 PiB")]
)
def test_bytes_in_words(count, words):
    assert bytes_in_words(count) == words


def test_what_cannot_be_is_said_before_any_work(monkeypatch):
    found = dataclasses.replace(counted(GRID), precision="bfloat16")
    assert found.seconds_on("h100") == pytest.approx(found.operations / (0.3 * 989e12))
    double = dataclasses.replace(found, precision="float64")
    assert double.seconds_on("h100") == pytest.approx(double.operations / (0.3 * 67e12))
    with pytest.raises(UsageError, match="precision = 'float64': is not supported by this accelerator"):
        double.seconds_on("tpu-v4")
    for arguments, words in (
        (("h10",), "accelerator = 'h10': unknown; did you mean 'h100'"),
        (("h100", 0), "accelerators = 0: must be a whole number of at least 1"),
        (("h100", 1, 1.5), r"efficiency = 1\.5: must be a fraction in \(0, 1\]"),
    ):
        with pytest.raises(UsageError, match=words):
            found.seconds_on(*arguments)
    monkeypatch.setattr(jax, "make_jaxpr", None)
    with pytest.raises(UsageError, match="study = 'overparm': unknown"):
        widebasin.cost("overparm")


@pytest.mark.slow
def test_networks_that_take_more_than_the_memory_are_counted_and_not_timed(monkeypatch):
    spec = resolve(Spec(widths=(4, 256), rhos=(0.1,), seeds=1, epochs=1, methods=("sam",)))
    small, large = (one.memory for one in cost_of(spec, Execution(), calibrate=False).cells)
    assert small < large
    monkeypatch.setattr("widebasin.sweep.cost._memory_here", lambda: (small + large) / 2)
    found = cost_of(spec, Execution())
    assert found.calibrated == (4,)
    assert [np.isnan(one.seconds) for one in found.cells] == [False, True]
    assert np.isnan(found.seconds)
    assert "Width 256: more than this machine's memory." in cost_sentences(found, Path())
