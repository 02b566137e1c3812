"""A user's own arrays as a workload, in Python and by the command."""

import os
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from data.image_folders import write_folders
from sweep.commands import widebasin
from together import together

from widebasin.data import DATASETS, DataError, Dataset
from widebasin.models import MLP, VGG11, ResNet, ViT
from widebasin.sweep import UsageError, workload_named
from widebasin.sweep.folder import ResultsFolder
from widebasin.sweep.networks import load_network
from widebasin.sweep.spec import Spec, resolve
from widebasin.workloads import WORKLOADS
from widebasin.workloads.arrays import arrays_workload


def write(path, examples=60, **changes):
    """A file of square colour images with three classes, or with what is changed about it."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, examples)
    labels[:3] = [0, 1, 2]
    images = random.integers(0, 256, (examples, 8, 8, 3), dtype=np.uint8)
    np.savez(path, **({"inputs": images, "targets": labels} | changes))
    return str(path)


def floats(*shape):
    return np.random.default_rng(1).normal(size=shape)


@pytest.mark.parametrize(
    ("model", "kind"), [("", ResNet), (":resnet18", ResNet), (":mlp", MLP), (":vgg11", VGG11), (":vit", ViT)]
)
def test_a_file_is_a_workload_with_each_model(tmp_path, model, kind):
    name = write(tmp_path / "my.npz") + model
    assert name in WORKLOADS
    workload = WORKLOADS[name]
    assert workload is WORKLOADS[name]  # read once
    assert name not in list(WORKLOADS)
    width = workload.widths[0]
    task = workload.problem(width, workload.recipe)
    assert isinstance(task.network.static, kind)
    images = task.dataset.prepared(np.zeros((2, 8, 8, 3), np.uint8))
    params, state = jax.eval_shape(task.network.initialize, jax.random.key(0))
    outputs = jax.eval_shape(lambda *a: task.network.outputs(*a, images, training=True)[0], params, state)
    assert outputs.shape == (2, 3)
    assert (workload.sizes.train, workload.sizes.valid, workload.sizes.test) == (48, 6, 6)
    assert resolve(Spec(workload=name)).widths == workload.widths


@pytest.mark.slow
@pytest.mark.parametrize(
    ("inputs", "targets", "features", "outputs"),
    [((60, 5), (60,), 5, 1), ((60, 2, 3), (60, 4), 6, 4), ((60, 5), (60, 2, 1), 5, 2), ((60, 5), (60, 2, 2), 5, 4)],
)
def test_floats_are_regressed_on_whatever_their_shape(tmp_path, inputs, targets, features, outputs):
    """The loss of one example is ``||f(x) - y||^2`` over all standardized numbers of its target, in their order."""
    numbers = floats(*targets)
    wanted = (numbers - numbers.mean(0)) / numbers.std(0)
    workload = WORKLOADS[write(tmp_path / "my.npz", inputs=floats(*inputs), targets=numbers)]
    assert (workload.model, workload.metrics[0].name) == ("mlp", "loss")
    model = workload.build(4, jax.random.key(0))
    assert workload.num_params(4) == features * 12 + 12 + 12 * 4 + 4 + 4 * outputs + outputs
    dataset = workload.load()
    given = jax.vmap(model)(jnp.asarray(dataset.inputs))
    errors = jax.vmap(workload.objective.loss)(given, jnp.asarray(dataset.targets))
    np.testing.assert_allclose(errors, ((given - wanted.reshape(60, -1)) ** 2).sum(1), rtol=1e-4)


@together(
    ("words", "targets", "model", "metric"),
    [
        (":regression", np.arange(60), "resnet18", "loss"),
        (":mlp:regression", np.arange(60), "mlp", "loss"),
        (":classification", np.arange(60) % 3.0, "resnet18", "accuracy"),
        (":mlp", np.arange(60) % 3.0, "mlp", "loss"),
    ],
)
def test_the_task_stands_behind_the_file(tmp_path, words, targets, model, metric):
    workload = WORKLOADS[write(tmp_path / f"{len(words)}.npz", targets=targets) + words]
    assert (workload.model, workload.metrics[0].name) == (model, metric)
    unit = f"regression in units of the target's standard deviation, {targets.std():.4g}"
    assert workload.description.endswith(unit if metric == "loss" else "3 classes")


@pytest.mark.parametrize(("data", "augmented"), [("fashion-mnist", False), ("cifar100", True)])
def test_a_data_set_that_has_a_name_is_a_workload_with_a_model(monkeypatch, data, augmented):
    source = DATASETS[data]
    published = source.inspect
    images = np.random.default_rng(0).integers(0, 256, (30, *published.shape), np.uint8)
    labels = np.arange(30, dtype=np.int32) % published.num_classes
    small = Dataset(source.title, images, labels, published.num_classes, fixed_test=10)
    monkeypatch.setitem(DATASETS, data, replace(source, load=lambda: small))
    for model in ("resnet18", "mlp"):
        arrays_workload.cache_clear()
        workload = WORKLOADS[f"{data}:{model}"]
        assert (workload.model, workload.metrics[0].name, workload.load()) == (model, "accuracy", small)
        assert (workload.sizes.train, workload.sizes.valid, workload.sizes.test) == (18, 2, 10)
        assert (workload.augment is not None) == augmented
        assert resolve(Spec(workload=f"{data}:{model}")).widths == workload.widths
    arrays_workload.cache_clear()
    for name, reason in (
        (f"{data}:", "must be one of mlp"),
        (f"{data}:vgg", "got 'vgg'"),
        (data, "unknown"),
        ("sst2:mlp", "unknown"),
    ):
        with pytest.raises(UsageError, match=reason):
            workload_named(name)


def test_a_data_set_that_is_not_here_says_so_and_photographs_have_a_workload_of_their_own(monkeypatch, tmp_path):
    monkeypatch.setenv("WIDEBASIN_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    arrays_workload.cache_clear()
    with pytest.raises(DataError, match="widebasin data fetch fashion-mnist"):
        workload_named("fashion-mnist:mlp")
    write_folders(tmp_path, 1, 1, tuple("abcdefghij"))
    with pytest.raises(UsageError, match="photographs of imagenette do not fit in memory; use imagenette-resnet50"):
        workload_named("imagenette:mlp")


def test_a_name_that_cannot_be_recorded_is_refused(tmp_path):
    name = write(tmp_path / f"{os.fsdecode(bytes([0xFF]))}.npz")
    with pytest.raises(UsageError, match="its name is not UTF-8 and cannot be kept with the results; rename the file"):
        workload_named(name)


def test_a_test_set_in_the_file_is_the_test_set(tmp_path):
    random = np.random.default_rng(2)
    name = write(
        tmp_path / "my.npz",
        test_inputs=random.integers(0, 256, (7, 8, 8, 3), dtype=np.uint8),
        test_targets=np.array([0, 1, 2, 0, 1, 2, 0]),
    )
    sizes = WORKLOADS[name].sizes
    assert (sizes.train, sizes.valid, sizes.test) == (54, 6, 7)


BAD = [
    ("my.npz:resnet50", {}, "must be one of mlp, resnet18, vgg11, vit, then one of"),
    ("my.npz", {"inputs": np.zeros((2, 8, 8), np.uint8), "targets": np.array([0, 1])}, "give at least 3"),
    ("my.npz:regression:mlp", {}, "then one of classification, regression or nothing, got 'regression:mlp'"),
    ("my.npz:vit", {"inputs": floats(60, 5)}, "vit needs images"),
    ("my.npz:vgg11", {"inputs": np.zeros((60, 8, 6), np.uint8)}, "square"),
]


@pytest.mark.parametrize(("name", "content", "remedy"), BAD, ids=lambda value: str(value)[:20])
def test_what_does_not_suit_is_an_error_of_the_argument(tmp_path, name, content, remedy):
    content = (
        {"targets": np.array([0, 1]), "inputs": np.zeros((2, 8, 8), np.uint8)} if "examples" in content else content
    )
    write(tmp_path / "my.npz", **content)
    with pytest.raises(UsageError, match=remedy) as error:
        workload_named(str(tmp_path / name))
    assert (error.value.argument, error.value.value) == ("workload", str(tmp_path / name))


@together("name", ["none.npz", "none.npz:mlp", "none.csv", "none.parquet:y:regression"])
def test_a_file_that_is_not_there_is_an_error_of_the_argument(tmp_path, name):
    with pytest.raises(UsageError, match="there is no such file"):
        workload_named(str(tmp_path / name))


def test_a_file_that_cannot_be_read_is_an_error_of_the_data(tmp_path):
    (tmp_path / "broken.npz").write_bytes(b"PK no archive")
    with pytest.raises(DataError, match=r"broken\.npz"):
        workload_named(str(tmp_path / "broken.npz:mlp"))


def test_targets_that_are_all_one_are_refused(tmp_path):
    for name, targets in (("labels", np.zeros(60, int)), ("floats", np.full(60, 0.5))):
        path = write(tmp_path / f"{name}.npz", targets=targets, **({"num_classes": 3} if name == "labels" else {}))
        with pytest.raises(DataError, match=f"{name}.npz: all targets are .*; there is nothing to learn"):
            workload_named(path)


def test_an_image_too_small_for_a_model_is_an_error_before_training(tmp_path):
    name = write(tmp_path / "my.npz", inputs=np.zeros((60, 1, 1), np.uint8)) + ":vgg11"
    with pytest.raises(UsageError, match="image_size at least 2"):
        resolve(Spec(workload=name))


def test_other_names_are_no_files():
    assert ".npz" not in WORKLOADS
    assert "my.npzz" not in WORKLOADS
    assert "my.npy" not in WORKLOADS
    assert 3 not in WORKLOADS
    with pytest.raises(KeyError):
        WORKLOADS["digits"]


@pytest.mark.slow
def test_the_command_studies_a_file_of_images(tmp_path):
    write(tmp_path / "my.npz")
    flags = ["--widths", "4", "8", "--rhos", "0.1", "--seeds", "2", "--epochs", "2", "--out", "r"]
    done = widebasin("study", "overparam", "--workload", "my.npz:mlp", *flags, cwd=tmp_path, check=0)
    assert "Gain in test accuracy" in done.stdout
    assert (tmp_path / "r" / "report.html").exists()
    assert sorted(path.name for path in (tmp_path / "r" / "cells").iterdir()) == [
        f"my.npz-mlp-width-{width}-sgd-and-sam" for width in (4, 8)
    ]


@pytest.mark.slow
def test_the_command_trains_a_network_on_a_file_of_numbers(tmp_path):
    path = write(tmp_path / "my.npz", inputs=floats(60, 5), targets=floats(60))
    widebasin("train", "--workload", path, "--width", "4", "--epochs", "2", cwd=tmp_path, check=0)
    # The folder is here, named after the file, wherever the file is.
    folder = tmp_path / "results" / "my.npz-width-4-sam-rho-0.05-seed-0"
    network = load_network(folder)
    (test_loss,) = ResultsFolder(folder).results()["test_loss"]
    positions = np.asarray(network.examples.test)
    dataset = WORKLOADS[path].load()
    errors = jax.vmap(network.model)(jnp.asarray(dataset.inputs[positions])) - dataset.targets[positions]
    assert test_loss == pytest.approx(float((errors**2).sum(1).mean()), rel=1e-4)


@pytest.mark.slow
def test_the_command_explains_what_is_wrong_in_one_red_line(tmp_path):
    write(tmp_path / "my.npz", inputs=floats(60, 5))
    environment = os.environ | {"FORCE_COLOR": "1", "TTY_COMPATIBLE": "1"}
    for name, code, words in (
        ("none.npz", 2, "there is no such file"),
        ("my.npz:vit", 2, "use mlp"),
        ("my.npz:x", 2, "'x'"),
    ):
        done = widebasin("train", "--workload", name, cwd=tmp_path, env=environment, check=code)
        (line,) = done.stderr.strip().splitlines()
        assert line.startswith("\x1b[31m")
        assert words in line
        assert "Traceback" not in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["my.npz"]


def test_inputs_and_numbers_to_regress_on_are_standardized_but_for_the_official_test_set(tmp_path):
    inputs, targets = 1e4 * np.exp(3 * floats(60, 4)), 1e6 + floats(60, 2)
    inputs[:, 1] = 7.0
    path = write(tmp_path / "a.npz", inputs=inputs, targets=targets, test_inputs=2 * inputs, test_targets=targets)
    dataset = arrays_workload(path).load()
    mean, deviation = inputs.mean(0), np.where(np.arange(4) == 1, 1, inputs.std(0))
    np.testing.assert_allclose(dataset.inputs[:60], (inputs - mean) / deviation, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(dataset.inputs[60:], (2 * inputs - mean) / deviation, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(dataset.targets[:60].mean(0), 0, atol=1e-2)
    np.testing.assert_allclose(dataset.targets[:60].std(0), 1, rtol=1e-2)


def test_images_are_standardized_channel_by_channel(tmp_path):
    dataset = arrays_workload(write(tmp_path / "a.npz")).load()
    assert dataset.inputs.dtype == np.uint8
    seen = np.asarray(dataset.prepared(dataset.inputs))
    np.testing.assert_allclose(seen.mean((0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(seen.std((0, 1, 2)), 1, rtol=1e-5)
    photographs = arrays_workload(write(tmp_path / "b.npz", inputs=5 + floats(60, 8, 8, 3))).load()
    np.testing.assert_allclose(photographs.inputs.mean((0, 1, 2)), 0, atol=1e-5)


def test_bytes_that_are_constant_where_it_trains_stay_small(tmp_path):
    """As pixels at the border of an image, which a test set may have."""
    inputs = np.random.default_rng(0).integers(0, 256, (60, 4, 4), dtype=np.uint8)
    inputs[:, 0, 0] = 0
    test = inputs.copy()
    test[:, 0, 0] = 255
    labels = np.arange(60) % 2
    path = write(tmp_path / "a.npz", inputs=inputs, targets=labels, test_inputs=test, test_targets=labels)
    dataset = arrays_workload(path).load()
    assert np.abs(np.asarray(dataset.prepared(dataset.inputs))).max() < 4


@pytest.mark.slow
def test_the_recipe_trains_at_all_widths_whatever_the_scales(tmp_path):
    inputs = np.exp(floats(400, 5)) * [1e-4, 1, 1e4, 1, 1]
    path = write(tmp_path / "a.npz", inputs=inputs, targets=1e3 * np.log(inputs[:, 2]) + 1e5)
    widebasin(
        "sweep",
        "--workload",
        path,
        "--seeds",
        "1",
        "--rhos",
        "0.05",
        "--out",
        tmp_path / "r",
        "--quiet",
        check=0,
    )
    results = ResultsFolder(tmp_path / "r").results()
    assert not results["diverged"].any()
    # Of a variance of 1, the mean alone leaves half.
    assert (results["train_loss"] < 0.4).all()
