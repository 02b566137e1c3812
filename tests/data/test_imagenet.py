import os
import shutil
import tarfile
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from data.files import write_tar
from data.image_folders import write_folders
from PIL import Image

from widebasin.data import ImageReader, imagenet, imagenette
from widebasin.data.errors import DataError

TEN = tuple(f"n{number:08}" for number in range(10))


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder of data of one's own."""
    monkeypatch.setenv("WIDEBASIN_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.mark.parametrize("place", ["imagenette", ""])
def test_imagenette_from_folders(place, here):
    root = write_folders(here / place, train=2, val=1, classes=TEN)
    data = imagenette()
    assert data.files is not None
    assert data.files.root == root
    assert data.inputs.tolist() == list(range(30))
    assert data.inputs.dtype == np.int32
    assert data.targets.tolist() == [c for c in range(10) for _ in range(2)] + list(range(10))
    assert (len(data), data.fixed_test, data.num_classes, data.name) == (30, 10, 10, "imagenette")
    assert imagenette() is data


def test_imagenette_from_an_archive(here, tmp_path):
    root = write_folders(tmp_path / "images", train=1, val=1, classes=TEN)
    (here / "imagenette").mkdir(parents=True)
    with tarfile.open(here / "imagenette" / "imagenette2-160.tgz", "w:gz") as file:
        file.add(root, "imagenette2-160")
    data = imagenette()
    assert data.files is not None
    assert data.files.root.is_relative_to(tmp_path / "cache" / "widebasin" / "data" / "imagenette")
    assert len(data) == 20


def test_an_archive_of_smaller_images_of_the_same_names_is_other_data(here, tmp_path):
    """Put beside the first, it is taken in its place: its name comes before."""
    root = write_folders(tmp_path / "imagenette2-320", train=1, val=1, classes=TEN)
    (here / "imagenette").mkdir(parents=True)
    write_tar(here / "imagenette" / "imagenette2-320.tgz", root, root.name)
    before = imagenette()
    smaller = shutil.copytree(root, tmp_path / "imagenette2-160")
    for path in smaller.rglob("*.JPEG"):
        with Image.open(path) as image:
            halved = image.resize((image.width // 2, image.height // 2))
        halved.save(path)
    write_tar(here / "imagenette" / "imagenette2-160.tgz", smaller, smaller.name)
    after = imagenette()
    assert before.files is not None
    assert after.files is not None
    assert after.files.root.name == "imagenette2-160"
    assert after.files.paths == before.files.paths
    assert after.digest() != before.digest()


def test_pixels_are_normalized_by_the_channels_of_imagenet(here):
    write_folders(here, train=1, val=1, classes=TEN)
    pixels = np.array([[[[0, 0, 0], [255, 255, 255]]]], np.uint8)
    expected = (pixels / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(imagenette().prepared(jnp.asarray(pixels)), expected, rtol=1e-6)


def test_what_is_not_here_says_where_it_should_be(here):
    with pytest.raises(
        DataError, match=r"ImageNet was not found and cannot .* set WIDEBASIN_DATA .*searched .*data/imagenet"
    ):
        imagenet()
    with pytest.raises(DataError, match="or as the archive that its authors publish"):
        imagenette()


def test_another_number_of_classes_is_refused(here):
    write_folders(here / "imagenet", train=1, val=1, classes=TEN)
    with pytest.raises(DataError, match="10 class folders in train and val, but ImageNet has 1,000"):
        imagenet()


def test_imagenet_from_folders(here):
    """A thousand classes; the files are not opened."""
    for part in ("train", "val"):
        for number in range(1000):
            folder = here / "imagenet" / part / f"n{number:08}"
            folder.mkdir(parents=True)
            (folder / "image.JPEG").touch()
    data = imagenet()
    assert (len(data), data.fixed_test, data.num_classes) == (2000, 1000, 1000)
    np.testing.assert_array_equal(data.targets, np.tile(np.arange(1000), 2))


def test_photographs(tmp_path, monkeypatch):
    """Real files, greyscale ones among them, against Pillow."""
    source = Path(os.environ.get("WIDEBASIN_DATA", "/nowhere")) / "imagenette"
    archives = sorted(source.glob("imagenette*.t*"))
    if not archives:
        pytest.skip("WIDEBASIN_DATA is not set to a folder with an archive of Imagenette")
    (tmp_path / "data").mkdir()
    shutil.copy(archives[0], tmp_path / "data")
    monkeypatch.setenv("WIDEBASIN_DATA", str(tmp_path / "data"))
    data = imagenette()
    files = data.files
    assert files is not None
    assert data.num_classes == 10
    assert np.bincount(data.targets[: -data.fixed_test]).min() == np.bincount(data.targets[: -data.fixed_test]).max()
    modes = {}
    for number in range(0, len(data), 3):
        with Image.open(files.absolute(number)) as image:
            modes.setdefault(image.mode, number)
    assert {"RGB", "L"} <= set(modes)
    numbers = np.array([list(modes.values())])
    with ImageReader(files, workers=1, size=32) as reader:
        (images,) = reader.batches(numbers)
        (views,) = reader.batches(numbers, np.ones_like(numbers))
    for image, number in zip(images, modes.values(), strict=True):
        with Image.open(files.absolute(number)) as file:
            rgb = file.convert("RGB")
        width, height = (round(side * 37 / min(rgb.size)) for side in rgb.size)
        left, top = (width - 32) // 2, (height - 32) // 2
        expected = rgb.resize((width, height), Image.Resampling.BICUBIC).crop((left, top, left + 32, top + 32))
        np.testing.assert_array_equal(image, np.asarray(expected))
    assert views.std() > 10
    assert not np.array_equal(views, images)
