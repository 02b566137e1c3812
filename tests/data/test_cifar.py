import dataclasses
import shutil

import numpy as np
import pytest
from data.files import needs_data, real, write_binary, write_class_folders, write_tar

from widebasin.data import DataError, cifar10, cifar100
from widebasin.data.cifar import CIFAR10, CIFAR100, find_cifar, read_cifar
from widebasin.data.places import Found

SMALL = dataclasses.replace(CIFAR10, examples=(20, 10))
SMALL100 = dataclasses.replace(CIFAR100, examples=(200, 100))
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def arrays(kind):
    train, test = kind.examples
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (train + test, 32, 32, 3), np.uint8)
    labels = np.concatenate([generator.permutation(np.arange(count) % kind.num_classes) for count in kind.examples])
    return images[:train], labels[:train], images[train:], labels[train:]


ARRAYS = arrays(SMALL)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("WIDEBASIN_DATA", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "own" / "cifar10"


def read(kind, path, form):
    return read_cifar(kind, Found(path, form))


def same(data, images, labels, test_images, test_labels):
    np.testing.assert_array_equal(data.inputs, np.concatenate([images, test_images]))
    np.testing.assert_array_equal(data.targets, np.concatenate([labels, test_labels]))
    assert (data.inputs.dtype, data.targets.dtype, data.fixed_test) == (np.uint8, np.int32, len(test_images))
    return True


@pytest.mark.parametrize("kind", [SMALL, SMALL100], ids=["cifar10", "cifar100"])
@pytest.mark.parametrize("archived", [False, True])
def test_binary_batches_are_read_channels_last(tmp_path, kind, archived):
    source = write_binary(kind, tmp_path / "batches", *arrays(kind))
    if archived:
        source = write_tar(tmp_path / "batches.tar.gz", source, "batches")
    data = read(kind, source, "binary batches")
    assert same(data, *arrays(kind))
    assert (data.name, data.num_classes, data.normalization) == (kind.title, kind.num_classes, kind.normalization)


def test_the_first_channel_is_the_first_third_of_a_row(tmp_path):
    """As its authors describe it: the first 1024 bytes are the red values, the first 32 of them its first row."""
    row = (np.arange(3072) // 32 % 256).astype(np.uint8)
    content = b"".join(bytes([label]) + row.tobytes() for label in range(4))
    for name in CIFAR10.binary_batches[0]:
        (tmp_path / name).write_bytes(content)
    (tmp_path / "test_batch.bin").write_bytes(content)
    image = read(dataclasses.replace(CIFAR10, examples=(20, 4)), tmp_path, "binary batches").inputs[0]
    np.testing.assert_array_equal(image[:, :, 0], np.arange(32)[:, None].repeat(32, 1))
    np.testing.assert_array_equal(image[:, :, 2], np.arange(64, 96)[:, None].repeat(32, 1))


def test_one_file_of_arrays_is_read(tmp_path):
    images, labels, test_images, test_labels = ARRAYS
    given = {"inputs": images, "targets": labels, "test_inputs": test_images, "test_targets": test_labels}
    np.savez(tmp_path / "cifar10.npz", **given)
    assert same(read(SMALL, tmp_path / "cifar10.npz", "arrays"), *ARRAYS)
    np.savez(tmp_path / "no-test.npz", inputs=images, targets=labels)
    with pytest.raises(DataError, match=r"with 0 test examples, but uint8 of shape \(30, 32, 32, 3\)"):
        read(SMALL, tmp_path / "no-test.npz", "arrays")
    np.savez(tmp_path / "labels.npz", **given | {"targets": labels + 1})
    with pytest.raises(DataError, match="targets are not the classes 0 to 9"):
        read(SMALL, tmp_path / "labels.npz", "arrays")


def test_class_folders_are_decoded_once(folder):
    write_class_folders(folder, CLASSES, *ARRAYS)
    np.savez(folder / "cifar10-labels-in-order.npz", train=ARRAYS[1], test=ARRAYS[3])
    data = read(SMALL, folder, "class folders")
    assert same(data, *ARRAYS)
    assert data.name == "CIFAR-10"
    (kept,) = (folder.parents[1] / "cache").rglob("*.npz")
    before = kept.stat().st_mtime_ns
    read_cifar.cache_clear()
    assert same(read(SMALL, folder, "class folders"), *ARRAYS)
    kept.write_bytes(kept.read_bytes()[:5000])
    read_cifar.cache_clear()
    assert same(read(SMALL, folder, "class folders"), *ARRAYS)
    assert kept.stat().st_mtime_ns > before


def test_lossy_images_are_said_in_the_name_also_from_the_cache(folder, tmp_path):
    write_class_folders(tmp_path / "images", CLASSES, *ARRAYS, form="JPEG", quality=75)
    archive = write_tar(folder / "cifar10-jpeg.tar.xz", tmp_path / "images", mode="w:xz")
    for _ in range(2):
        read_cifar.cache_clear()
        data = read(SMALL, archive, "class folders")
        assert data.name == "CIFAR-10 (JPEG q75)"
        np.testing.assert_array_equal(data.targets, np.concatenate([np.sort(ARRAYS[1]), np.sort(ARRAYS[3])]))


def test_nothing_is_kept_of_images_that_are_refused(folder):
    write_class_folders(folder, CLASSES, *ARRAYS)
    with pytest.raises(DataError, match="more than 9 images in test"):
        read(dataclasses.replace(SMALL, examples=(20, 9)), folder, "class folders")
    (folder / "train" / "cat" / "0001.png").unlink()
    with pytest.raises(DataError, match="19 images in train, but 20 needed"):
        read(SMALL, folder, "class folders")
    shutil.rmtree(folder / "train" / "cat")
    with pytest.raises(DataError, match="no images in train/cat"):
        read(SMALL, folder, "class folders")
    assert not list((folder.parents[1] / "cache").rglob("*"))


def test_forms_are_preferred_in_a_fixed_order(folder):
    """The least preferred one comes first; each further one takes its place."""
    write_tar(folder / "cifar10-jpeg-q75.tar.xz", write_class_folders(folder / "x", CLASSES, *ARRAYS), mode="w:xz")
    assert find_cifar(CIFAR10) == Found(folder / "cifar10-jpeg-q75.tar.xz", "class folders")
    for part in ("train", "test"):
        (folder / "x" / part).rename(folder / part)
    assert find_cifar(CIFAR10) == Found(folder, "class folders")
    np.savez(folder / "cifar10.npz", inputs=ARRAYS[0])
    assert find_cifar(CIFAR10) == Found(folder / "cifar10.npz", "arrays")
    binary = write_binary(SMALL, folder / "b", *ARRAYS)
    write_tar(folder / "cifar-10-binary.tar.gz", binary)
    assert find_cifar(CIFAR10) == Found(folder / "cifar-10-binary.tar.gz", "binary batches")
    binary.rename(folder / "cifar-10-batches-bin")
    assert find_cifar(CIFAR10) == Found(folder / "cifar-10-batches-bin", "binary batches")


def test_folders_are_looked_into_in_a_fixed_order(folder):
    cached = folder.parents[1] / "cache" / "widebasin" / "data" / "cifar10"
    for place in (cached, folder.parent, folder):
        write_binary(SMALL, place / "cifar-10-batches-bin", *ARRAYS)
        assert find_cifar(CIFAR10).path == place / "cifar-10-batches-bin"
    assert find_cifar(CIFAR100) is None


def test_train_and_test_of_another_data_set_are_left_alone(folder):
    write_class_folders(folder.parent, CLASSES, *ARRAYS)
    assert find_cifar(CIFAR10) is None


def test_an_archive_of_cifar100_beside_it_is_not_taken_for_cifar10(folder):
    archives = [folder.parent / name for name in ("cifar100-jpeg.tar.xz", "cifar10_jpeg.tar.xz")]
    folder.parent.mkdir(parents=True)
    archives[0].touch()
    assert find_cifar(CIFAR10) is None
    archives[1].touch()
    assert [find_cifar(kind) for kind in (CIFAR100, CIFAR10)] == [Found(path, "class folders") for path in archives]


@pytest.mark.parametrize(("load", "name"), [(cifar10, "cifar10"), (cifar100, "cifar100")])
def test_a_data_set_that_is_not_here_says_what_to_run(folder, load, name):
    with pytest.raises(DataError, match=f"widebasin data fetch {name}, or set WIDEBASIN_DATA"):
        load()


@pytest.mark.parametrize("name", ["cifar-10-batches-py", "cifar-10-python.tar.gz"])
def test_pickles_are_not_read_and_it_is_said_what_is(folder, name):
    (folder / name).mkdir(parents=True)
    with pytest.raises(
        DataError, match=rf"has {name}, which contains pickles and is not read; cifar-10-binary\.tar\.gz is"
    ):
        cifar10()


@pytest.mark.parametrize(
    ("batch", "size", "reason"),
    [
        ("data_batch_2", 4 * 3073 - 1, "truncated: 12,291 bytes, but 4 images have 12,292"),
        ("data_batch_2", 4 * 3073 + 1, "too long: 12,293 bytes, but 4 images have 12,292"),
        ("test_batch", 10 * 3073 + 1, "30,731 bytes, but at most 30,730 are expected"),
    ],
)
def test_a_binary_batch_of_the_wrong_size_is_refused_by_name(tmp_path, batch, size, reason):
    path = write_binary(SMALL, tmp_path, *ARRAYS) / f"{batch}.bin"
    path.write_bytes((path.read_bytes() + b"x")[:size])
    with pytest.raises(DataError, match=rf"{batch}\.bin: {reason}"):
        read(SMALL, tmp_path, "binary batches")


def test_a_binary_label_out_of_range_is_refused(tmp_path):
    path = write_binary(SMALL, tmp_path, *ARRAYS) / "test_batch.bin"
    path.write_bytes(b"\x0b" + path.read_bytes()[1:])
    with pytest.raises(DataError, match=r"test_batch\.bin: label 11 is not one of the classes"):
        read(SMALL, tmp_path, "binary batches")


def test_a_missing_batch_and_an_archive_cut_off_are_named(tmp_path):
    folder = write_binary(SMALL, tmp_path / "batches", *ARRAYS)
    archive = write_tar(tmp_path / "cifar-10-binary.tar.gz", folder)
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    with pytest.raises(DataError, match=r"cifar-10-binary\.tar\.gz: truncated or damaged"):
        read(SMALL, archive, "binary batches")
    (folder / "data_batch_5.bin").unlink()
    with pytest.raises(DataError, match=r"batches: data_batch_5\.bin missing"):
        read(SMALL, folder, "binary batches")


@pytest.fixture
def lossless():
    with np.load(real("cifar10") / "cifar10-lossless-9085.npz") as file:
        return dict(file)


@needs_data
def test_real_images_are_read_exactly(tmp_path, lossless):
    kind = dataclasses.replace(CIFAR10, examples=(500, 100))
    images, test_images = (lossless[name].transpose(0, 2, 3, 1) for name in ("x_train", "x_test"))
    given = images[:500], lossless["y_train"][:500], test_images[:100], lossless["y_test"][:100]
    archive = write_tar(tmp_path / "batches.tar.gz", write_binary(kind, tmp_path / "batches", *given))
    assert same(read(kind, archive, "binary batches"), *given)


@needs_data
@pytest.mark.slow
def test_the_real_jpegs_are_in_canonical_order(tmp_path, monkeypatch, lossless):
    """Lossy images differ from the exact ones of the same index by a little, from others by a lot."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    data = cifar10()
    if data.name != "CIFAR-10 (JPEG q75)":
        pytest.skip(f"{data.name} is in WIDEBASIN_DATA")
    assert data.inputs.shape == (60_000, 32, 32, 3)
    for part, start in (("train", 0), ("test", 50_000)):
        places = start + lossless[f"index_{part}"]
        np.testing.assert_array_equal(data.targets[places], lossless[f"y_{part}"])
        exact = lossless[f"x_{part}"].transpose(0, 2, 3, 1).astype(int)
        assert np.abs(data.inputs[places] - exact).mean((1, 2, 3)).max() < 30
        assert np.abs(data.inputs[places] - exact).mean() < 7
        assert np.abs(data.inputs[places[1:]] - exact[:-1]).mean() > 50
    read_cifar.cache_clear()
    np.testing.assert_array_equal(cifar10().inputs, data.inputs)
