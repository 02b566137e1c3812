"""The axis of parametrizations: flags, cells, refusals, and what is trained."""

import dataclasses

import jax
import numpy as np
import pandas as pd
import pytest

from widebasin.models import Applied
from widebasin.sam import SAM, SGD
from widebasin.sweep import Execution, Spec, UsageError, resolve
from widebasin.sweep.cells import cells
from widebasin.sweep.run import run
from widebasin.workloads import WORKLOADS

SMALL = Spec(widths=(4, 16), rhos=(0.0, 0.1), seeds=2, epochs=2, train_examples=200, batch_size=50)
ALL = ("standard", "mup", "mup2")
METRICS = ["train_loss", "test_accuracy", "valid_loss"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Results of one sweep over all parametrizations."""
    spec = resolve(dataclasses.replace(SMALL, parametrization=ALL))
    return run(spec, tmp_path_factory.mktemp("parametrizations") / "all", execution=Execution()).results()


def rows(table: pd.DataFrame, **which) -> np.ndarray:
    for column, value in which.items():
        table = table[table[column] == value]
    assert len(table)
    return table.sort_values(["width", "method", "rho", "seed"])[METRICS].to_numpy()


@pytest.mark.slow
def test_the_standard_one_is_the_same_beside_others_and_alone(trained, tmp_path):
    alone = run(resolve(SMALL), tmp_path / "r", execution=Execution()).results()
    np.testing.assert_array_equal(rows(trained, parametrization="standard"), rows(alone))


def test_all_are_the_same_at_the_base_width(trained):
    standard = rows(trained, width=4, parametrization="standard")
    for name in ("mup", "mup2"):
        np.testing.assert_allclose(rows(trained, width=4, parametrization=name), standard, rtol=1e-5)


def test_the_radius_zero_is_sgd_in_all(trained):
    for name in ALL:
        sgd, sam = (rows(trained, parametrization=name, method=one, rho=0.0) for one in ("sgd", "sam"))
        np.testing.assert_array_equal(sgd, sam)


def test_a_wide_network_differs_by_its_ascent_alone_between_mup_and_mup2(trained):
    for rho, same in ((0.0, True), (0.1, False)):
        found = [rows(trained, width=16, parametrization=name, method="sam", rho=rho) for name in ("mup", "mup2")]
        assert np.array_equal(*found) == same
    assert not np.array_equal(*(rows(trained, width=16, parametrization=name, rho=0.0) for name in ("standard", "mup")))


def test_cells_name_the_parametrization_unless_it_is_the_standard_one():
    grid = cells(resolve(dataclasses.replace(SMALL, parametrization=ALL)))
    assert [cell.name for cell in grid[:3]] == [
        "digits-mlp-width-4-sgd-and-sam",
        "digits-mlp-width-4-parametrization-mup-sgd-and-sam",
        "digits-mlp-width-4-parametrization-mup2-sgd-and-sam",
    ]
    assert [cell.settings.base_width for cell in grid[:3]] == [None, 4, 4]


def test_the_scales_of_the_ascent_are_those_of_mup2_alone():
    grid = cells(resolve(dataclasses.replace(SMALL, parametrization=ALL, methods=("sgd", "sam", "asam"))))
    wide = [cell for cell in grid if cell.width == 16]
    for cell in wide:
        method = cell.with_radius(0.1)
        if isinstance(method, SGD):
            continue
        assert (method.scales is not None) == (cell.settings.parametrization == "mup2")
        if method.scales is not None:
            numerators = set(method.scales(WORKLOADS["digits-mlp"].structure(16)).numerator.weights)
            assert (len(numerators) > 1) == isinstance(method, SAM)


@pytest.mark.parametrize(
    ("argument", "given"),
    [
        ("parametrization", {"parametrization": ("mup3",)}),
        ("base_width", {"base_width": 8}),
        ("base_width", {"parametrization": ("mup",), "base_width": 0}),
        ("base_width", {"parametrization": ("mup",), "base_width": -3}),
        ("base_width", {"parametrization": ("mup",), "widths": (16,)}),
        ("optimizer", {"parametrization": ("mup",), "optimizer": "adam"}),
        ("optimizer", {"parametrization": ("mup",), "optimizer": "muon"}),
        ("methods", {"parametrization": ("mup2",), "methods": ("sgd", "random-perturbation")}),
        ("parametrization", {"parametrization": ("mup",), "workload": "cartpole-ppo"}),
    ],
)
def test_what_has_no_rule_is_refused_by_name(argument, given):
    with pytest.raises(UsageError) as error:
        resolve(Spec(**given))
    assert error.value.argument == argument


def test_the_base_width_is_the_smallest_of_the_widths_unless_given():
    assert resolve(Spec(parametrization=("mup",))).base_width == min(WORKLOADS["digits-mlp"].widths)
    assert resolve(Spec(parametrization=("mup",), widths=(64, 16))).base_width == 16
    assert resolve(Spec(parametrization=("mup",), base_width=64)).base_width == 64
    assert resolve(Spec()).base_width is None


@pytest.mark.slow
def test_a_standard_sweep_grows_by_other_parametrizations(tmp_path):
    small = dataclasses.replace(SMALL, widths=(4, 8), epochs=1, rhos=(0.1,))
    before = run(resolve(small), tmp_path / "r", execution=Execution()).results()
    after = run(
        resolve(dataclasses.replace(small, parametrization=("standard", "mup2"))), tmp_path / "r", execution=Execution()
    ).results()
    np.testing.assert_array_equal(rows(after, parametrization="standard"), rows(before))
    assert len(after) == 2 * len(before)


def functional(width, key):
    """A model whose function is made anew whenever it is built."""
    first, last = jax.random.split(key)
    params = {"first": jax.random.normal(first, (64, width)) / 8, "last": jax.random.normal(last, (width, 10)) / width}
    return Applied(params, lambda params, inputs: jax.nn.relu(inputs @ params["first"]) @ params["last"])


# Nothing else, and all else at once.
MORE = ({}, {"clip": 0.5, "sparsity": (0.5,), "output_scale": (2.0,), "m": 25})


@pytest.mark.parametrize("more", [pytest.param(one, marks=pytest.mark.slow if one else ()) for one in MORE], ids=len)
def test_a_model_whose_function_is_made_anew_trains_in_all(more, tmp_path, monkeypatch):
    """At the base width as in the standard one, whatever else is set."""
    workload = dataclasses.replace(WORKLOADS["digits-mlp"], name="functional", build=functional)
    monkeypatch.setitem(WORKLOADS, "functional", workload)
    spec = dataclasses.replace(
        SMALL, workload="functional", rhos=(0.1,), seeds=1, parametrization=("standard", "mup2"), **more
    )
    results = run(resolve(spec), tmp_path / "r", execution=Execution()).results()
    small, wide = (rows(results, width=width, parametrization="standard") for width in (4, 16))
    np.testing.assert_allclose(rows(results, width=4, parametrization="mup2"), small, rtol=1e-4)
    assert not np.allclose(rows(results, width=16, parametrization="mup2"), wide)


TRAINABLE = ("digits-resnet", "phrases-lstm", "rings-gcn")


@pytest.mark.slow
@pytest.mark.parametrize("workload", TRAINABLE)
def test_every_kind_of_model_trains_in_all(workload, tmp_path):
    """A network wider than the base width, in another way than in the standard parametrization."""
    base, wide = WORKLOADS[workload].widths[:2]
    spec = Spec(
        workload,
        parametrization=("standard", "mup2"),
        widths=(wide,),
        base_width=base,
        rhos=(0.05,),
        seeds=1,
        epochs=1,
        train_examples=128,
        batch_size=32,
    )
    results = run(resolve(spec), tmp_path / "r", execution=Execution(networks_at_once=2)).results()
    assert len(results) == 2 * 2
    assert not results["diverged"].any()
    for method in ("sgd", "sam"):
        losses = results[results["method"] == method].set_index("parametrization")["train_loss"]
        assert abs(losses["mup2"] / losses["standard"] - 1) > 1e-4, method
