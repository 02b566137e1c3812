import dataclasses
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from widebasin.cli import _parse
from widebasin.data.image_files import ImageFiles
from widebasin.studies import STUDIES
from widebasin.studies.registry import NETWORKS, declared, study_of
from widebasin.sweep import Spec, UsageError, resolve
from widebasin.sweep.cells import cells
from widebasin.workloads import WORKLOADS

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", STUDIES)
def test_study_is_found_by_the_name_in_its_spec(name):
    study = STUDIES[name]
    assert study.name == study.spec.study == name
    assert study.question.endswith("?")
    assert study_of(resolve(study.spec)) is study


@pytest.mark.parametrize("module", declared())
def test_every_question_has_its_answer_an_example_and_a_place_in_the_documentation(module):
    """Of every file in ``studies.questions``."""
    study = declared()[module]
    assert study.module == module
    assert study.question.endswith("?")
    answers = importlib.import_module(f"widebasin.studies.answers.{module}")
    assert callable(answers.answer)
    assert hasattr(answers, "instruments") == study.measures
    assert (study.name == "") == (study is NETWORKS or study.page != "report.html")
    if study.name:
        arguments = ["study", study.name, *study.example.split()]
        assert _parse(arguments).study.grid.study == study.name
        assert f"| `{study.name}` |" in (DOCS / "studies.md").read_text(encoding="utf-8")


def test_every_answer_has_its_question_and_no_two_studies_their_place():
    answers = importlib.import_module("widebasin.studies.answers")
    assert {module.name for module in pkgutil.iter_modules(answers.__path__)} == declared().keys()
    places = [study.order for study in STUDIES.values()]
    assert sorted(set(places)) == places
    assert 0 not in places


@pytest.mark.parametrize("arguments", [("--help",), ("study", "overparam", "--help"), ("measure", "--help")])
def test_help_loads_no_library_of_numbers(arguments):
    """Nor any answer: what is asked is apart from what is answered."""
    program = f"""
import contextlib, io, sys
from widebasin.cli import main
with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
    main({list(arguments)})
print(*sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "widebasin.studies.registry" in loaded
    assert not loaded & {"pandas", "matplotlib", "jax", "numpy", "scipy", "widebasin.studies.answers"}


@pytest.mark.parametrize("name", STUDIES)
def test_default_grid_can_be_run_and_answered(name):
    spec = resolve(STUDIES[name].spec)
    STUDIES[name].check(spec)
    grid = cells(spec)
    assert len({cell.name for cell in grid}) == len(grid)
    trained = {(cell.width, point["method"]) for cell in grid for point in cell.points}
    assert len(trained) == len(spec.widths) * len(spec.methods)


def test_a_sweep_of_its_own_has_the_plain_answer():
    assert study_of(Spec()) is NETWORKS


def test_unknown_study_is_told_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'overparam'"):
        study_of(Spec(study="overparams"))


@pytest.mark.parametrize("methods", [("sgd",), ("sam",), ("sam", "unnormalized-sam")])
def test_comparing_needs_baseline_and_method(methods):
    spec = resolve(Spec(study="overparam", methods=methods))
    with pytest.raises(UsageError, match="must include sgd and a method to compare with it"):
        STUDIES["overparam"].check(spec)
    NETWORKS.check(dataclasses.replace(spec, study=""))


@pytest.mark.parametrize("name", [name for name, study in STUDIES.items() if study.curvature])
def test_the_curvature_of_pruned_or_centered_networks_is_not_asked_for(name):
    for argument, values in (("sparsity", (0.5,)), ("output_scale", (1.0,))):
        with pytest.raises(UsageError, match="must be") as error:
            STUDIES[name].check(resolve(dataclasses.replace(STUDIES[name].spec, **{argument: values})))
        assert error.value.argument == argument


@pytest.mark.parametrize("name", ["stability", "convergence"])
def test_the_curvature_on_streamed_images_is_not_asked_for(name, monkeypatch, tmp_path):
    spec = resolve(STUDIES[name].spec)
    workload = WORKLOADS[spec.workload]
    files = ImageFiles(tmp_path, ("a.png",), np.zeros(1, np.int32), ("a",), 0)
    dataset = dataclasses.replace(workload.load(), files=files)
    streamed = dataclasses.replace(workload, load=lambda: dataset)
    monkeypatch.setitem(WORKLOADS, spec.workload, streamed)
    with pytest.raises(UsageError, match=r"workload = .* must have its data in memory"):
        STUDIES[name].check(spec)


@pytest.mark.parametrize(
    ("name", "argument"),
    [
        ("methods", "sparsity"),
        ("methods", "output_scale"),
        ("sparsity", "output_scale"),
        ("solution-space", "sparsity"),
        ("solution-space", "pruners"),
        ("label-noise", "output_scale"),
        ("regularization", "output_scale"),
        ("convergence", "learning_rate"),
    ],
)
def test_what_a_study_does_not_compare_has_one_value(name, argument):
    values = ("random", "snip") if argument == "pruners" else (0.1, 0.2)
    several = dataclasses.replace(resolve(STUDIES[name].spec), **{argument: values})
    with pytest.raises(UsageError, match=f"{argument} = .*must be one value: the study compares .* in one setting"):
        STUDIES[name].check(several)


@pytest.mark.parametrize("argument", ["sparsity", "weight_decay", "learning_rate"])
def test_label_noise_is_compared_in_one_setting(argument):
    several = dataclasses.replace(resolve(STUDIES["label-noise"].spec), **{argument: (0.1, 0.2)})
    with pytest.raises(UsageError, match="must be one value: the study compares fractions of wrong labels"):
        STUDIES["label-noise"].check(several)
