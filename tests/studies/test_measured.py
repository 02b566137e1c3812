"""Which networks have a curvature that is that of their training."""

import dataclasses

import pytest
from report.results_tables import history_table, results_table
from studies.described import description

from widebasin.studies.answering import write_answer
from widebasin.studies.questions.measured import STUDY
from widebasin.studies.study import Measures
from widebasin.sweep import Spec, SweepError, UsageError, resolve
from widebasin.sweep.folder import RECORD_FORMAT, ResultsFolder


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A function of a spec: a folder with made-up results, which keeps no parameters."""

    def made(streamed=False, **grid):
        spec = resolve(Spec(widths=(10,), methods=("sgd",), seeds=1, **grid))
        plan = {"replicates_at_once": 1, "loop": "scan", "platform": "cpu"}
        plans = {f"{spec.workload}-width-10-sgd": plan}
        one = ResultsFolder(tmp_path)
        one.begin(spec, {"format": RECORD_FORMAT, "plans": plans, "environments": [{}]})
        results = results_table(lambda n: 0.5, widths=(10,), methods=("sgd",), seeds=(0, 1))
        results["sparsity"] = results["seed"].map({0: 0.0, 1: 0.5}) if spec.sparsity == (0.0, 0.5) else 0.0
        one.write_table(tmp_path / "results.parquet", results)
        one.write_table(tmp_path / "history.parquet", history_table(results))
        said = dataclasses.replace(description(), streamed=streamed)
        monkeypatch.setattr(ResultsFolder, "description", lambda folder: said, raising=False)
        return one

    return made


def refused(folder, **which):
    with pytest.raises(UsageError) as error:
        write_answer(folder, Measures(), study=STUDY, which=which)
    return str(error.value)


def test_centered_networks_are_refused(folder):
    assert "curvature is measured of f(w)" in refused(folder(workload="digits-vgg11-lazy"))


def test_networks_on_streamed_images_are_refused(folder):
    assert "streams its images" in refused(folder(streamed=True))


def test_pruned_networks_are_refused_until_they_are_left_out(folder):
    one = folder(sparsity=(0.0, 0.5))
    assert "sparsity = (0.5,): must be 0" in refused(one)
    assert "names no network" in refused(one, sparsity=0.7)
    with pytest.raises(SweepError, match="is not finished"):  # but nothing else
        write_answer(one, Measures(), study=STUDY, which={"sparsity": 0.0})


@pytest.mark.parametrize(
    ("values", "argument"),
    [({"samples": 1}, "samples"), ({"multiples": (0.0,)}, "multiples"), ({"sharpness_rho": -1.0}, "sharpness_rho")],
)
def test_how_networks_are_measured_is_checked_first(folder, values, argument):
    with pytest.raises(UsageError) as error:
        write_answer(folder(), Measures(**values), study=STUDY)
    assert error.value.argument == argument
