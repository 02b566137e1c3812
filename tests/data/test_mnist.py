import dataclasses
import shutil
import time

import jax
import numpy as np
import pytest
from data.files import idx_bytes, needs_data, real, write_mnist
from together import together

from widebasin.data import DataError, cifar10, fashion_mnist, imagenette, mnist
from widebasin.data.mnist import FASHION_MNIST, MNIST, find_idx_images, read_idx_images
from widebasin.data.places import Found

SMALL = dataclasses.replace(MNIST, train_examples=12, test_examples=5)
COUNTS = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]


@pytest.fixture
def arrays():
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (17, 28, 28), np.uint8)
    labels = np.concatenate([MNIST.first_labels, [3, 9], generator.integers(0, 10, 5)]).astype(np.uint8)
    return images[:12], labels[:12], images[12:], labels[12:]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("WIDEBASIN_DATA", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "own"


@pytest.mark.parametrize("gzipped", [True, False])
def test_images_and_labels_in_their_order_the_test_set_last(folder, arrays, gzipped):
    write_mnist(folder / "mnist", *arrays, gzipped=gzipped)
    data = read_idx_images(SMALL, folder / "mnist")
    np.testing.assert_array_equal(data.inputs[..., 0], np.concatenate(arrays[::2]))
    np.testing.assert_array_equal(data.targets, np.concatenate(arrays[1::2]))
    assert (data.inputs.dtype, data.targets.dtype) == (np.uint8, np.int32)
    assert (data.name, data.num_classes, data.fixed_test) == ("MNIST", 10, 5)
    np.testing.assert_allclose(data.prepared(jax.numpy.asarray(data.inputs)), data.inputs / 255.0, rtol=1e-6)


def test_is_looked_for_in_its_folder_then_in_the_data_folder_then_in_the_cache(folder, arrays, tmp_path):
    assert find_idx_images(MNIST) is None
    for place in (tmp_path / "cache" / "widebasin" / "data" / "mnist", folder, folder / "mnist"):
        write_mnist(place, *arrays)
        assert find_idx_images(MNIST).path == place


@together("names", [lambda name: name.replace("-idx", ".idx"), lambda name: f"{name.replace('-idx', '.idx')}.gz"])
def test_files_unpacked_under_other_names_are_found(folder, arrays, names):
    write_mnist(folder / "mnist", *arrays, gzipped=False)
    for path in list((folder / "mnist").iterdir()):
        path.rename(path.with_name(names(path.name.removesuffix(".gz"))))
    data = read_idx_images(SMALL, find_idx_images(SMALL).path)
    np.testing.assert_array_equal(data.inputs[..., 0], np.concatenate(arrays[::2]))
    shutil.rmtree(folder)


@together(
    ("kind", "place", "found"),
    [
        (MNIST, "MNIST/raw", True),
        (MNIST, "mnist/MNIST/raw", True),
        (MNIST, "raw", True),  # $WIDEBASIN_DATA is the folder MNIST
        (FASHION_MNIST, "FashionMNIST/raw", True),
        (FASHION_MNIST, "raw", False),  # the files are those of MNIST
        (FASHION_MNIST, "MNIST/raw", False),
    ],
)
def test_files_are_found_as_torchvision_lays_them(folder, arrays, kind, place, found):
    write_mnist(folder / place, *arrays, gzipped=False)
    assert find_idx_images(kind) == (Found(folder / place, "idx files") if found else None)
    shutil.rmtree(folder)


@together("load", [mnist, cifar10, imagenette])
def test_a_folder_that_cannot_be_looked_into_is_named(monkeypatch, load):
    monkeypatch.setenv("WIDEBASIN_DATA", "x" * 300)
    with pytest.raises(DataError, match=r"xxx/\S+: cannot be accessed \(File name too long\); set WIDEBASIN_DATA"):
        load()


def test_files_of_the_same_names_are_not_taken_for_another_data_set(folder, arrays):
    write_mnist(folder, *arrays)
    assert find_idx_images(MNIST).path == folder
    assert find_idx_images(FASHION_MNIST) is None
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(b"damaged")
    assert find_idx_images(MNIST) is None


@pytest.mark.parametrize(("load", "name"), [(mnist, "mnist"), (fashion_mnist, "fashion-mnist")])
def test_a_data_set_that_is_not_here_says_what_to_run_and_where_it_was_looked_for(folder, tmp_path, load, name):
    with pytest.raises(DataError) as error:
        load()
    for said in (f"widebasin data fetch {name}", "WIDEBASIN_DATA", folder / name, tmp_path / "cache"):
        assert str(said) in str(error.value)


def test_a_missing_file_is_named(folder, arrays):
    write_mnist(folder / "mnist", *arrays)
    (folder / "mnist" / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte\.gz missing"):
        mnist()
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte\.gz is missing"):
        read_idx_images(SMALL, folder / "mnist")


@pytest.mark.parametrize(
    ("name", "array", "reason"),
    [
        (
            "train-images-idx3-ubyte",
            np.zeros((12, 28, 27), np.uint8),
            r"\(12, 28, 27\), but uint8 of shape \(12, 28, 28",
        ),
        ("t10k-images-idx3-ubyte", np.zeros((4, 28, 28), np.uint8), r"but uint8 of shape \(5, 28, 28\)"),
        ("t10k-images-idx3-ubyte", np.zeros((5, 28, 28), np.float32), "float32 of shape"),
        ("train-labels-idx1-ubyte", np.zeros(11, np.uint8), r"but uint8 of shape \(12,\)"),
        ("train-labels-idx1-ubyte", np.full(12, 10, np.uint8), "label 10 is not one of the classes 0 to 9"),
    ],
)
def test_a_wrong_file_is_refused_with_its_name_and_the_reason(folder, arrays, name, array, reason):
    write_mnist(folder / "mnist", *arrays, gzipped=False)
    (folder / "mnist" / name).write_bytes(idx_bytes(array))
    with pytest.raises(DataError, match=reason) as error:
        read_idx_images(SMALL, folder / "mnist")
    assert name in str(error.value)


def test_the_home_folder_is_not_spelled_out(monkeypatch, tmp_path, arrays):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WIDEBASIN_DATA", "~/sets")
    write_mnist(tmp_path / "sets" / "mnist", *arrays)
    assert find_idx_images(MNIST).path == tmp_path / "sets" / "mnist"


@needs_data
def test_the_real_mnist():
    real("mnist")
    start = time.perf_counter()
    data = mnist()
    assert time.perf_counter() - start < 5
    assert data.inputs.shape == (70_000, 28, 28, 1)
    assert np.bincount(data.targets[:60_000]).tolist() == COUNTS
    assert data.targets[60_000:60_006].tolist() == [7, 2, 1, 0, 4, 1]
    # The published mean and deviation of the training pixels.
    assert data.inputs[:60_000].mean() / 255 == pytest.approx(0.1307, abs=5e-5)
    assert data.inputs[:60_000].std() / 255 == pytest.approx(0.3081, abs=5e-5)
    assert mnist() is data
