"""A workload in a user's own file."""

import contextlib
import os
import re
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import EntryPoint
from importlib.resources import files

import numpy as np
import pytest
from sweep.commands import widebasin
from together import together

from widebasin.data import DataError
from widebasin.data.grammar import VOCABULARY
from widebasin.data.rings import FEATURES
from widebasin.models import GraphConvolution, Tagger
from widebasin.sweep import UsageError, resolve, workload_named
from widebasin.sweep.spec import Spec
from widebasin.workloads import WORKLOADS, SupervisedWorkload, registry
from widebasin.workloads.files import code_digest, forget_files, line_of, names_file

TEMPLATE = files("widebasin.workloads").joinpath("template.txt").read_text("utf-8").replace("NAME", "mine")


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(TEMPLATE)
    forget_files()
    return path


def test_the_template_is_a_workload(mine):
    workload = workload_named(str(mine))
    assert (workload.name, workload.widths, workload.chance) == (str(mine), (4, 16, 64, 256), 0.5)
    assert workload.num_params(16) == 2 * 16 + 16 + 16 * 2
    assert workload_named(str(mine)) is workload
    assert workload_named(f"{mine}:WORKLOAD").widths == workload.widths
    assert resolve(Spec(workload=str(mine))).rhos == (0.02, 0.05, 0.1, 0.2)
    loads = workload.load  # pyright: ignore[reportAttributeAccessIssue]
    assert loads() is loads()


def test_what_names_a_file():
    assert all(map(names_file, ("a.py", "b/a.py:NAME", "/x/a.py", "/home/.pyenv/a.py", "my.python/a.py:NAME")))
    assert not any(map(names_file, (".py", "a.pyc", "a.npz", "a.python", "digits-mlp")))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            "import numpy as np",
            "import nowhere",
            r"ModuleNotFoundError.*mine\.py, line \d+: import nowhere",
        ),
        (
            "def load() -> Dataset:",
            "def load( -> Dataset:",
            r"SyntaxError.*mine\.py, line \d+: def load\(",
        ),
        ("rhos=(0.02, 0.05, 0.1, 0.2)", "radii=(0.1,)", r"radii.*mine\.py, line \d+: WORKLOAD = SupervisedWorkload\("),
        ("WORKLOAD = ", "SECOND = WORKLOAD = ", r"defines .*SECOND.*; name one of several, such as .*mine\.py:"),
        ("widths=(4, 16, 64, 256)", "widths=4", r"widths of a workload must be a tuple.*, got 4 \(mine\.py, line \d+"),
        ("rhos=(0.02, 0.05, 0.1, 0.2)", "rhos=0.1", r"rhos of a workload must be a tuple.*, got 0\.1 \(mine"),
        ("rhos=(0.02, 0.05, 0.1, 0.2)", "rhos=(0.1, 0.1)", r"rhos of a workload must be a tuple of different .*\(mine"),
        ("epochs=40", "epochs=0", r"epochs of a recipe must be at least 1, got 0 \(mine\.py, line \d+: recipe="),
        (
            "def build(width, key)",
            "def build(width)",
            "build of a workload must be a function of width, key .* got build",
        ),
        ("load=load,", "load=load(),", "load of a workload must be a function without arguments"),
        ("load=load,", "load=load, given=('dropout'),", "given of a workload must be a tuple of names"),
        ("objective=CLASSIFICATION", "objective='accuracy'", "objective of a workload must be CLASSIFICATION, REGRESS"),
        ("# 1. Data", "raise SystemExit(3)  # Data", r"SystemExit: 3 \(mine\.py, line \d+: raise SystemExit\(3\)"),
        ("\nWORKLOAD = ", "\n_ = lambda: ", "defines no workload; define one"),
    ],
    ids=[
        "import",
        "syntax",
        "argument",
        "several",
        "widths",
        "rhos",
        "rhos twice",
        "epochs",
        "build",
        "load",
        "given",
        "objective",
        "exit",
        "none",
    ],
)
def test_a_mistake_in_the_file_is_shown_with_its_line(mine, old, new, words):
    assert old in TEMPLATE
    mine.write_text(TEMPLATE.replace(old, new))
    with pytest.raises(UsageError, match=words):
        workload_named(str(mine))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            "    return Applied(params, apply)",
            "    return params",
            "build must return a model .* got one of type dict; for parameters",
        ),
        (
            "Applied(params, apply)",
            "Applied(apply, params)",
            r"got dict; it comes second \(mine\.py, line \d+: return A",
        ),
    ],
    ids=["no model", "swapped"],
)
def test_a_model_that_is_none_is_an_error_of_the_width(mine, old, new, words):
    mine.write_text(TEMPLATE.replace(old, new))
    with pytest.raises(UsageError, match=words):
        resolve(Spec(workload=str(mine)))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            "    return Dataset(",
            "    Dataset(",
            r"load of .*mine\.py \(from line 22 on\) must return a Dataset, and returns None",
        ),
        (
            "(width, 2)) /",
            "(width, 1)) /",
            r"gives outputs of shape \(1,\) for an example, and two spirals has 2 classes",
        ),
        ("objective=CLASSIFICATION", "objective=REGRESSION", r"outputs of shape \(2,\) .* targets .* have shape \(\)"),
        ("np.arange(600) % 2", "np.arange(600) * 0", "all targets of two spirals are of class 0: nothing to learn"),
        (
            "labels.astype(np.int32), num_classes=2",
            "2 * labels.astype(np.int32) - 1, num_classes=None",
            r"targets of two spirals run from -1 to 1; they must be 0 to .* - 1: use numpy\.unique\(",
        ),
        (
            "labels.astype(np.int32), num_classes=2",
            "(np.arange(600) // 400).astype(np.int32), num_classes=2, fixed_test=200",
            "all training targets of two spirals are of class 0: nothing to learn",
        ),
        (
            "objective=CLASSIFICATION",
            "objective=Objective(lambda outputs, target: outputs)",
            r"mine\.py: the loss of an example must be a number, .* has shape \(2,\)",
        ),
        ("train=300", "train=600", "trains on 600.* there are 600 here: complete the data, or take smaller sizes"),
    ],
    ids=["load", "outputs", "regression", "one class", "negative", "one class to train on", "no number", "sizes"],
)
def test_data_and_model_that_do_not_fit_are_found_before_training(mine, old, new, words):
    assert old in TEMPLATE
    text = TEMPLATE.replace("import CLASSIFICATION, Recipe", "import CLASSIFICATION, REGRESSION, Objective, Recipe")
    mine.write_text(text.replace(old, new))
    workload = workload_named(str(mine))
    with pytest.raises(DataError, match=words):
        workload.problem(4, workload.recipe)


def test_inputs_that_are_not_finite_are_said_once(mine, caplog):
    found = re.search(r"^ *inputs \+= .*$", TEMPLATE, re.MULTILINE)
    assert found
    mine.write_text(TEMPLATE.replace(found[0], f"{found[0]}\n    inputs[[3, 5]] = np.nan"))
    workload = workload_named(str(mine))
    for width in (2, 4):
        workload.problem(width, workload.recipe)
    (said,) = [one.getMessage() for one in caplog.records if "NaN" in one.getMessage()]
    assert "inputs of example 3 (and 1 others) are NaN or infinite" in said


def test_targets_that_are_not_finite_are_said(mine, caplog):
    text = TEMPLATE.replace("CLASSIFICATION", "REGRESSION")
    old = re.search(r"return Dataset\(.*\)", text)
    assert old
    mine.write_text(text.replace(old[0], 'return Dataset("two", inputs, np.full((600, 2), np.nan), num_classes=None)'))
    workload = workload_named(str(mine))
    workload.problem(4, workload.recipe)
    assert any("targets of example 0 (and 599 others)" in one.getMessage() for one in caplog.records)


@pytest.mark.parametrize(
    ("name", "build", "words"),
    [
        (
            "grammar-transformer",
            lambda width, key: Tagger(width, VOCABULARY, 2, depth=1, heads=2, key=key),
            r"gives outputs of shape \((\d+), 2\) for an example, and .* has 6 classes; .*, shape \(\1, 6\)",
        ),
        (
            "rings-gcn",
            lambda width, key: GraphConvolution(width, features=FEATURES, outputs=1, depth=1, key=key),
            r"gives outputs of shape \(1,\) for an example, and targets of .* have shape \(4,\)",
        ),
    ],
    ids=["tags", "binary tasks"],
)
def test_models_that_do_not_fit_several_labels_are_found_before_training(name, build, words):
    workload = replace(WORKLOADS[name], build=build)
    with pytest.raises(DataError, match=words):
        workload.problem(4, workload.recipe)


NEITHER, EITHER = np.array([-1, -1, -1, -1], np.int8), np.array([0, 1, 0, -1], np.int8)


@together(
    ("name", "part", "targets", "words"),
    [
        ("grammar-transformer", "train", -1, "all training targets of grammar are missing: nothing to learn"),
        ("grammar-transformer", "valid", -1, "none of the 300 validation examples of grammar has a label: add labels"),
        ("grammar-transformer", "test", -1, "none of the 700 test examples of grammar has a label"),
        ("grammar-transformer", "test", -2, "run from -2 to 5; they must be 0 to .* - 1, or -1 where there is none"),
        ("rings-gcn", "test", NEITHER, "none of the 500 test examples of rings has a label"),
        (
            "rings-gcn",
            "test",
            EITHER,
            "no task has both 0 and 1 among the 500 test examples of rings, and mean average",
        ),
        ("rings-gcn", "valid", EITHER, "no task has both 0 and 1 among the 300 validation examples of rings"),
        ("rings-gcn", "whole", EITHER, "no task has both 0 and 1 among the 2,000 examples of rings, .* take more"),
        ("rings-gcn", "train", EITHER, ""),
    ],
)
def test_a_part_that_says_nothing_is_found_before_training(name, part, targets, words):
    workload = WORKLOADS[name]
    assert isinstance(workload, SupervisedWorkload)
    dataset, sizes = workload.load(), workload.sizes
    first = {"train": 0, "valid": sizes.train, "test": sizes.train + sizes.valid, "whole": 0}[part]
    changed = dataset.targets.copy()
    changed[first : len(dataset) if part == "whole" else first + getattr(sizes, part)] = targets
    fixed = {} if part == "whole" else {"fixed_valid": sizes.valid, "fixed_test": sizes.test}
    classes = None if np.min(targets) < -1 else dataset.num_classes
    dataset = replace(dataset, targets=changed, num_classes=classes, **fixed)
    found = replace(workload, load=lambda: dataset)
    with pytest.raises(DataError, match=words) if words else contextlib.nullcontext():
        found.problem(8, found.recipe)


def test_labels_beyond_the_classes_are_an_error_at_her_line(mine):
    mine.write_text(TEMPLATE.replace("np.arange(600) % 2", "np.arange(600) % 4"))
    with pytest.raises(ValueError, match="num_classes of two spirals is 2, and targets run from 0 to 3") as error:
        workload_named(str(mine)).data_record()
    assert re.match(r"mine\.py, line \d+: return Dataset\(", line_of(error.value))


def test_a_file_or_name_that_is_not_there_is_refused(mine):
    with pytest.raises(UsageError, match="there is no such file; widebasin new writes a template"):
        workload_named(str(mine.with_name("other.py")))
    with pytest.raises(UsageError, match=r"mine\.py defines no workload 'OTHER'; it has WORKLOAD"):
        workload_named(f"{mine}:OTHER")


def test_data_that_were_edited_are_read_again(mine):
    np.save(mine.with_name("points.npy"), np.zeros((600, 2), np.float32))
    load = f'inputs = np.load(r"{mine.with_name("points.npy")}")\n    return Dataset('
    mine.write_text(TEMPLATE.replace("return Dataset(", load))
    before = workload_named(str(mine)).data_record()
    np.save(mine.with_name("points.npy"), np.ones((600, 2), np.float32))
    assert workload_named(str(mine)).data_record() == before
    forget_files()
    assert workload_named(str(mine)).data_record() != before


def test_comments_and_layout_are_no_other_code(mine):
    before = code_digest(str(mine))
    forget_files()
    mine.write_text(f"# Another comment\n\n{TEMPLATE}".replace("(0.02, 0.05, 0.1, 0.2)", "( 0.02, 0.05,\n0.1, 0.2)"))
    assert code_digest(str(mine)) == before
    mine.write_text(TEMPLATE.replace("epochs=40", "epochs=41"))
    assert code_digest(str(mine)) == before
    assert workload_named(str(mine)).recipe.epochs == 40
    forget_files()
    assert workload_named(str(mine)).recipe.epochs == 41
    assert code_digest(f"{mine}:WORKLOAD") != before


def test_a_package_makes_its_workloads_known(monkeypatch):
    points = {
        "theirs": EntryPoint("theirs", "widebasin.workloads.digits_mlp:DIGITS_MLP", registry.GROUP),
        "wrong": EntryPoint("wrong", "widebasin.workloads.workload:Settings", registry.GROUP),
        "broken": EntryPoint("broken", "nowhere:WORKLOAD", registry.GROUP),
    }
    value = next(
        name
        for name, one in vars(registry.importlib.import_module("widebasin.workloads.digits_mlp")).items()
        if one is WORKLOADS["digits-mlp"]
    )
    points["theirs"] = EntryPoint("theirs", f"widebasin.workloads.digits_mlp:{value}", registry.GROUP)
    monkeypatch.setattr(registry, "_of_packages", lambda: points)
    assert workload_named("theirs").widths == WORKLOADS["digits-mlp"].widths
    assert workload_named("theirs").name == "theirs"
    with pytest.raises(UsageError, match="must be a Workload, got type"):
        workload_named("wrong")
    with pytest.raises(UsageError, match="cannot be loaded: No module named 'nowhere'"):
        workload_named("broken")


@pytest.mark.slow
def test_from_an_empty_folder_to_an_answer_and_an_error_at_her_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    widebasin("new", "mine", check=0)
    assert "already exists" in widebasin("new", "mine", check=2).stderr
    assert "must be a Python identifier" in widebasin("new", "my-own", check=2).stderr
    sweep = ("study", "overparam", "--workload", "mine.py", "--widths", "4", "8", "--rhos", "0.05", "--seeds", "2")
    quick = (*sweep, "--epochs", "2", "--quiet", "--out", "r")
    (tmp_path / "mine.py").write_text(TEMPLATE.replace("jax.nn.relu", "jax.nn.rleu"))
    failed = widebasin(*quick, check=1).stderr
    assert "mine.py, line" in failed
    assert "jax.nn.rleu" in failed
    assert "AttributeError" in failed
    assert "Traceback" not in failed
    (tmp_path / "mine.py").write_text(TEMPLATE.replace("np.arange(600) % 2", "exit(3)"))
    ended = widebasin(*quick, check=1).stderr
    assert "mine.py, line" in ended
    assert "SystemExit: 3" in ended
    # Nothing was trained: the mended file begins anew in the same folder.
    (tmp_path / "mine.py").write_text(TEMPLATE)
    done = widebasin(*quick, check=0)
    assert "2-h-2" in done.stdout
    (tmp_path / "mine.py").write_text(TEMPLATE.replace("scale=0.03", "scale=0.04"))
    assert "contains results with the code of mine.py" in widebasin(*quick, check=2).stderr
    (tmp_path / "mine.py").unlink()
    widebasin("report", "r", check=0)
    environment = {**os.environ, "WIDEBASIN_TRACEBACK": "1"}
    (tmp_path / "mine.py").write_text(TEMPLATE.replace("jax.nn.relu", "jax.nn.rleu"))
    command = [sys.executable, "-m", "widebasin", *quick[:-1], "other"]
    whole = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert "Traceback" in whole.stderr
