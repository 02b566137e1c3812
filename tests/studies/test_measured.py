"""Which networks have a curvature that is that of their training."""

import dataclasses

import numpy as np
import pytest

from widebasin.data import ImageFiles
from widebasin.studies.measured import Measures, measure_networks
from widebasin.sweep import Spec, SweepError, UsageError, resolve
from widebasin.sweep.folder import RECORD_FORMAT, ResultsFolder
from widebasin.workloads import WORKLOADS


def begun(path, **grid):
    """The folder of a sweep that has trained nothing yet."""
    spec = resolve(Spec(widths=(4,), methods=("sgd",), seeds=1, **grid))
    plan = {"networks_at_once": 1, "loop": "scan", "platform": "cpu"}
    plans = {f"{spec.workload}-width-4-sgd": plan}
    folder = ResultsFolder(path)
    folder.begin(spec, {"format": RECORD_FORMAT, "plans": plans, "environments": [{}]})
    return folder


def refused(folder, **which):
    with pytest.raises(UsageError) as error:
        measure_networks(folder, Measures(), which, "command")
    return str(error.value)


def test_centered_networks_are_refused(tmp_path):
    assert "curvature is measured of f(w)" in refused(begun(tmp_path, workload="digits-vgg11-lazy"))


def test_networks_on_streamed_images_are_refused(tmp_path, monkeypatch):
    workload = WORKLOADS["digits-mlp"]
    files = ImageFiles(tmp_path, ("a.png",), np.zeros(1, np.int32), ("a",), 0)
    streamed = dataclasses.replace(workload.load(), files=files)
    monkeypatch.setitem(WORKLOADS, "digits-mlp", dataclasses.replace(workload, load=lambda: streamed))
    assert "streams its images" in refused(begun(tmp_path))


def test_pruned_networks_are_refused_until_they_are_left_out(tmp_path):
    folder = begun(tmp_path, sparsity=(0.0, 0.5))
    assert "sparsity = [0.5]: must be 0" in refused(folder)
    assert "names no network" in refused(folder, sparsity=0.7)
    with pytest.raises(SweepError, match="is not finished"):  # but nothing else
        measure_networks(folder, Measures(), {"sparsity": 0.0}, "command")
