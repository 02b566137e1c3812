"""The laboratory from Python does what the commands do."""

import inspect
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from together import together

import widebasin
from widebasin import laboratory
from widebasin.statistics.trends import slope_per_decade
from widebasin.studies import STUDIES, running
from widebasin.sweep import Spec, UsageError, read_spec, resolve

SMALL = {"widths": [3, 5], "rhos": np.array([0.05]), "seeds": 2, "epochs": 2, "progress": False}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return widebasin.study("overparam", out=tmp_path_factory.mktemp("python") / "r", keep_parameters=True, **SMALL)


def test_an_answer_has_numbers_tables_and_figures(found):
    assert len(found.results) == 8
    assert len(found.history) == 16
    assert found.gains["width"].tolist() == [3, 5]
    (slope,) = found.slopes.to_dict("records")
    results = found.results.astype({"test_accuracy": float})
    paired = results.pivot(index=["width", "num_params", "seed"], columns="method", values="test_accuracy")
    by_hand = pd.DataFrame({"value": 100 * paired["sam"], "baseline_value": 100 * paired["sgd"]}).reset_index()
    interval = slope_per_decade(by_hand.assign(gain=by_hand["value"] - by_hand["baseline_value"]))
    assert interval is not None
    assert slope == pytest.approx(
        {"method": "sam", "slope": interval.mean, "low": interval.low, "high": interval.high, "seeds": 2}
    )
    assert set(found.figures) >= {"gain", "radius", "test-accuracy"}
    assert all(isinstance(table, pd.DataFrame) and len(table) for table in found.tables.values())
    assert str(found).splitlines()[1:] == [f"• {finding}" for finding in found.findings]


def test_in_a_notebook_it_shows_findings_tables_and_figures(found):
    text = found._repr_html_()
    assert text.count("<img ") == len(found.figures)
    assert text.count("<table") == len(found.tables)
    assert all(laboratory._escaped(finding) in text for finding in found.findings)
    hostile = found.answer.__class__(**{**vars(found.answer), "title": "<script>\x1b[31m"})
    assert "<script>" not in (shown := widebasin.Results(**{**vars(found), "answer": hostile})._repr_html_())
    assert "&lt;script&gt;\\x1b[31m" in shown


@pytest.mark.slow
def test_the_same_folder_is_read_grown_and_loaded(found):
    assert widebasin.report(found.folder, select="test").findings[:-1] != ()
    grown = widebasin.study("overparam", out=found.folder, **(SMALL | {"seeds": 3}))
    assert len(grown.results) == 12
    status = widebasin.status(found.folder)
    assert (status.trained, status.networks) == (12, 12)
    network = widebasin.load_network(found.folder, width=3, method="sgd", seed=0)
    assert network.point["rho"] == 0.0
    measured = widebasin.measure(found.folder, width=3, seed=0, method="sgd", samples=32, progress=False)
    assert measured.measured


@pytest.mark.slow
def test_sweep_and_train(tmp_path):
    (tmp_path / "grid.toml").write_text("widths = [3]\nmethods = ['sgd']\nseeds = 1\nepochs = 2")
    found = widebasin.sweep(file=tmp_path / "grid.toml", seeds=2, out=tmp_path / "r", progress=False)
    assert found.results["seed"].tolist() == [0, 1]
    assert found.gains.empty
    network = widebasin.train(width=3, method="sam", rho=0.1, epochs=1, seed=4, out=tmp_path / "one", progress=False)
    assert (network.cell.width, network.point.seed, network.point["rho"]) == (3, 4, 0.1)


@pytest.mark.slow
def test_radii_are_extended_until_none_is_chosen_at_an_edge(tmp_path):
    grid = SMALL | {"widths": [3], "rhos": (0.1,), "epochs": 1}
    found = widebasin.study("overparam", out=tmp_path / "r", extend_radii=True, **grid)
    spec = read_spec(tmp_path / "r" / "spec.toml")
    assert spec.rhos is not None
    chosen = found.gains["rho_star"].iloc[0]
    gain = found.gains["gain"].iloc[0]
    assert chosen < max(spec.rhos) or max(spec.rhos) == running.LARGEST
    assert chosen > min(spec.rhos) or gain >= 0 or min(spec.rhos) == running.SMALLEST
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "r" / "cells").rglob("*.parquet")}
    again = widebasin.study("overparam", out=tmp_path / "r", extend_radii=True, **grid)
    pd.testing.assert_frame_equal(again.results, found.results)
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "r" / "cells").rglob("*.parquet")}


@together(
    "call, words",
    [
        (lambda: widebasin.study("overparm"), "name = 'overparm': unknown; did you mean 'overparam'"),
        (lambda: widebasin.study("overparam", wdths=[3]), "argument = 'wdths': unknown; did you mean 'widths'"),
        (lambda: widebasin.study("overparam", widths="3"), "widths = '3': must be a list of whole numbers"),
        (lambda: widebasin.study("overparam", select="train"), "select = 'train': unknown"),
        (lambda: widebasin.sweep(samples=1), "samples = 1: must be a whole number of at least 2"),
        (lambda: widebasin.study(3), "name = 3: unknown"),
        (lambda: widebasin.sweep(out=3), "out = 3: must be a path"),
        (lambda: widebasin.sweep(track=3), "track = 3: must be names of trackers"),
        (lambda: widebasin.sweep(checkpoint_seconds="x"), "checkpoint_seconds = 'x': must be a finite number"),
        (lambda: widebasin.sweep(devices="2"), "devices = '2': must be a whole number of at least 1"),
        (lambda: widebasin.sweep(loop="scn"), "loop = 'scn': unknown; did you mean 'scan'"),
        (lambda: widebasin.sweep(overwrit=True), "argument = 'overwrit': unknown; did you mean 'overwrite'"),
        (lambda: widebasin.report(3), "folder = 3: must be a path"),
        (lambda: widebasin.compare(["a", "b"]), "folders = ['a', 'b']: must be separate paths"),
        (lambda: widebasin.study("overparam", workload=3), "workload = 3: must be the name of a workload"),
        (lambda: widebasin.sweep(seeds=1.5), "seeds = 1.5: must be a whole number"),
        (lambda: widebasin.sweep(overwrite="no"), "overwrite = 'no': must be True or False"),
        (lambda: widebasin.sweep(keep_parameters="no"), "keep_parameters = 'no': must be True or False"),
        (lambda: widebasin.sweep(file="nowhere.toml"), "cannot be read"),
        (lambda: widebasin.train(widht=3), "argument = 'widht': unknown; did you mean 'width'"),
        (lambda: widebasin.train(width="3"), "width = '3': must be a whole number"),
        (lambda: widebasin.train(method="sgd", rho=0.1), "rho = 0.1: must be left out: sgd has no radius"),
        (lambda: widebasin.report("nowhere"), "folder = 'nowhere': does not exist"),
        (lambda: widebasin.report("nowhere", at="last"), "at = 'last': unknown"),
        (lambda: widebasin.measure("nowhere"), "folder = 'nowhere': does not exist"),
        (lambda: widebasin.study("overparam", methods=("sgd",), extend_radii=True), "methods = ('sgd',)"),
        (lambda: widebasin.sweep(methods=("sam",), extend_radii=True), "extend_radii = True: needs sgd"),
        (
            lambda: widebasin.sweep(extend_radii=True, shard="1/2"),
            "extend_radii = True: must be left out with --shard: give --processes",
        ),
        (lambda: widebasin.compare("nowhere"), "folders = ['nowhere']: give two or more"),
        (lambda: widebasin.compare("nowhere", "elsewhere"), "folder = 'nowhere': does not exist"),
        (lambda: widebasin.status("nowhere"), "folder = 'nowhere': does not exist"),
    ],
)
def test_a_mistake_names_the_argument_before_anything_is_trained(call, words, monkeypatch):
    monkeypatch.setattr(running, "run", None)
    with pytest.raises(UsageError) as error:
        call()
    assert words in str(error.value)


def test_what_is_given_is_the_spec_of_the_command(monkeypatch):
    """Values as people have them in Python come to the spec of the flags."""
    seen = []
    monkeypatch.setattr(laboratory, "train_and_answer", lambda spec, *rest, **more: seen.append(spec) or (None, None))
    monkeypatch.setattr(laboratory, "_results", lambda *rest: None)
    for rhos in ((0.1, 1), [0.1, 1], np.array([0.1, 1.0])):
        widebasin.study("label-noise", rhos=rhos, widths=range(3, 5), label_noise=0.2)
    expected = Spec(
        **{**vars(STUDIES["label-noise"].spec), "rhos": (0.1, 1.0), "widths": (3, 4), "label_noise": (0.2,)}
    )
    assert seen == [expected] * 3


def test_the_package_loads_nothing_until_it_is_asked_for():
    code = """
import sys, widebasin
assert not {"jax", "pandas", "matplotlib", "widebasin.sweep"} & set(sys.modules)
assert set(widebasin.__all__) <= set(dir(widebasin))
from widebasin.sweep import Spec
import widebasin.report.page
assert callable(widebasin.sweep) and callable(widebasin.report) and widebasin.sweep.Spec is Spec
from widebasin import sweep
assert sweep is widebasin.sweep
try:
    widebasin.swep
except AttributeError as error:
    assert "swep" in str(error)
try:
    widebasin.sweep(widht=3)
except ValueError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "widht" in done.stdout


def test_names_are_documented_and_public():
    for name in widebasin.__all__:
        assert inspect.getdoc(getattr(laboratory, name))
    assert set(widebasin.__all__) == set(laboratory.__all__)


def test_a_spec_from_python_is_that_of_a_file(tmp_path):
    (tmp_path / "grid.toml").write_text("widths = [3]\nrhos = 1\nseeds = 2")
    assert resolve(read_spec(tmp_path / "grid.toml")) == resolve(Spec(widths=(3,), rhos=(1.0,), seeds=2))
