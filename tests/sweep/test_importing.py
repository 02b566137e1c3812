"""A network that was trained elsewhere is judged and measured as one that was trained here."""

import shutil
from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import widebasin
from widebasin.models import Applied
from widebasin.sweep.importing import import_network
from widebasin.sweep.spec import resolve, single_spec
from widebasin.training import Program
from widebasin.workloads import WORKLOADS

CHOICES = {"width": 3, "method": "sam", "rho": 0.1, "seed": 1}


def spec_of(workload="digits-mlp", shared=None, **given):
    return resolve(single_spec(WORKLOADS[workload], {"study": "", **(shared or {})}, given))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    path = tmp_path_factory.mktemp("trained") / "r"
    return path, widebasin.train(**CHOICES, epochs=2, out=path, progress=False)


def arrays_of(model):
    leaves = jax.tree_util.tree_leaves_with_path(eqx.filter(model, eqx.is_array))
    return {jax.tree_util.keystr(path).strip("."): np.asarray(leaf) for path, leaf in leaves}


@pytest.mark.slow
@pytest.mark.parametrize("form", ["a model", "named arrays", "arrays in order"])
def test_it_is_judged_and_loaded_as_it_was(form, trained, tmp_path):
    path, network = trained
    given, arrays = network.model, arrays_of(network.model)
    if form != "a model":
        given = tmp_path / "mine.npz"
        if form == "named arrays":  # in whatever order
            np.savez(given, **dict(reversed(arrays.items())))
        else:
            np.savez(given, *arrays.values())
    found = widebasin.import_network(given, workload="digits-mlp", epochs=2, out=tmp_path / "r", **CHOICES)
    columns = [name for name in found.results if name.startswith(("train_", "valid_", "test_"))]
    before = widebasin.report(path, progress=False).results
    pd.testing.assert_frame_equal(found.results[columns], before[columns], rtol=1e-5)
    again = widebasin.load_network(tmp_path / "r")
    for mine, theirs in zip(jax.tree.leaves(again.model), jax.tree.leaves(network.model), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert "parameters of" in found.answer.setting
    assert "Run it again" not in (tmp_path / "r" / "report.html").read_text()
    with pytest.raises(widebasin.UsageError, match="of a network that was not trained here"):
        widebasin.train(**CHOICES, epochs=2, out=tmp_path / "r", progress=False)


@pytest.mark.slow
def test_a_sweep_that_begins_meanwhile_is_not_deleted(trained, tmp_path, monkeypatch):
    path, network = trained
    judged = Program.judged

    def and_a_sweep_begins(*arguments):
        shutil.copytree(path, tmp_path / "r")
        return judged(*arguments)

    monkeypatch.setattr(Program, "judged", and_a_sweep_begins)
    with pytest.raises(widebasin.UsageError, match="contains a sweep; choose another folder"):
        import_network(spec_of(**CHOICES, shared={"epochs": 2}), network.model, tmp_path / "r")
    assert (tmp_path / "r" / "results.parquet").exists()


@pytest.mark.slow
def test_it_is_measured_as_it_was(trained, tmp_path):
    path, network = trained
    widebasin.import_network(network.model, workload="digits-mlp", epochs=2, out=tmp_path / "r", **CHOICES)
    mine, theirs = (widebasin.measure(place, samples=32, progress=False).measured for place in (tmp_path / "r", path))
    for name, table in theirs.items():
        pd.testing.assert_frame_equal(mine[name], table, rtol=1e-5)


@pytest.mark.slow
def test_running_statistics_are_its_state(tmp_path):
    spec = spec_of("digits-resnet", width=2, method="sgd")
    network = WORKLOADS["digits-resnet"].network(2)
    params, state = network.initialize(jax.random.key(0))
    shifted = [leaf + 1 for leaf in state]
    with pytest.raises(widebasin.UsageError, match=r"state = 'a pytree': has 0 arrays of state, but the model has"):
        import_network(spec, params, tmp_path / "none")
    losses = []
    for number, one in enumerate((state, shifted)):
        folder = import_network(spec, params, tmp_path / str(number), one)
        losses.append(folder.results()["test_loss"].item())
    assert losses[0] != losses[1]


@pytest.mark.parametrize("names", [("b", "a"), ("params.b", "params.a"), ("params['b']", "params['a']")])
def test_names_decide_with_and_without_what_all_have_in_front(names, tmp_path, monkeypatch):
    """Arrays of equal shapes, in another order than the model's."""

    def build(width, key):
        del key
        return Applied({"a": jnp.zeros((64, 10)), "b": jnp.zeros((64, 10))}, lambda p, x: width * x @ (p["a"] - p["b"]))

    monkeypatch.setitem(WORKLOADS, "two", replace(WORKLOADS["digits-mlp"], name="two", build=build))
    np.savez(tmp_path / "mine.npz", **{names[0]: np.full((64, 10), 2.0), names[1]: np.ones((64, 10))})
    import_network(spec_of("two", width=1), tmp_path / "mine.npz", tmp_path / "r")
    a, b = jax.tree.leaves(widebasin.load_network(tmp_path / "r").model)
    assert (float(a.mean()), float(b.mean())) == (1.0, 2.0)


def test_other_arrays_are_refused_and_nothing_is_written(tmp_path):
    spec = spec_of(width=3)
    params, _ = WORKLOADS["digits-mlp"].network(3).initialize(jax.random.key(0))
    larger, _ = WORKLOADS["digits-mlp"].network(4).initialize(jax.random.key(0))
    swapped = dict(reversed(arrays_of(params).items()))
    swapped["more"] = swapped.pop(next(iter(swapped)))
    np.savez(tmp_path / "swapped.npz", **swapped)
    swapped = tmp_path / "swapped.npz"
    (tmp_path / "damaged.npz").write_bytes(b"no archive")
    (tmp_path / "mine.pt").touch()
    for given, words in (
        (larger, r"has .*weights.* of shape \[12, 64\], but weights.* of the model has \[9, 64\]"),
        (swapped, "has .* in another position than the model"),
        (jax.tree.leaves(params)[1:], r"has 5 parameters, but the model has 6 \("),
        (jax.tree.map(lambda leaf: leaf * np.nan, params), "are not finite in float32: the network has diverged"),
        (jax.tree.map(lambda leaf: np.full(leaf.shape, 1e300), params), "are not finite in float32"),
        (jax.tree.map(lambda leaf: leaf * 1j, params), "has .* of complex numbers; the model has float32"),
        (tmp_path / "none.npz", "does not exist"),
        (tmp_path / "mine.pt", r"must be a file \.npz"),
    ):
        with pytest.raises(widebasin.UsageError, match=words):
            import_network(spec, given, tmp_path / "r")
    with pytest.raises(widebasin.DataError, match=r"damaged\.npz"):
        import_network(spec, tmp_path / "damaged.npz", tmp_path / "r")
    assert not (tmp_path / "r").exists()
    pruned = spec_of(width=3, sparsity=0.5)
    with pytest.raises(widebasin.UsageError, match=r"sparsity = .*must be left out"):
        import_network(pruned, params, tmp_path / "r")
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "spec.toml").touch()
    with pytest.raises(widebasin.UsageError, match=r"out = .*: contains a sweep"):
        import_network(spec, params, tmp_path / "r")
