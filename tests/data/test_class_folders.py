import io
import os
import shutil
import struct
import tarfile
import zlib

import numpy as np
import pytest
from data.files import encoded, needs_data, real, with_empty_profile, write_class_folders, write_tar
from PIL import Image, ImageOps
from together import together

from widebasin.data import DataError
from widebasin.data.class_folders import decode_image, fingerprint, jpeg_quality, read_class_folders
from widebasin.data.decoding import read_rgb

SIZE = (6, 5)
CLASSES = ("ant", "bee", "cat")
GREY = np.random.default_rng(1).integers(0, 256, SIZE, np.uint8)
RGB = np.random.default_rng(2).integers(0, 256, (*SIZE, 3), np.uint8)


def arrays(train=9, test=6):
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (train + test, *SIZE, 3), np.uint8)
    labels = np.concatenate([generator.permutation(np.arange(count) % 3) for count in (train, test)])
    return images[:train], labels[:train], images[train:], labels[train:]


@pytest.fixture
def folder(tmp_path):
    return write_class_folders(tmp_path / "images", CLASSES, *arrays())


@pytest.mark.parametrize("container", ["folder", "tar", "tar.gz", "tar.xz in a folder"])
def test_images_by_class_and_file_name(folder, tmp_path, container):
    source = folder
    if container != "folder":
        kind = container.split()[0].removeprefix("tar").removeprefix(".")
        source = write_tar(tmp_path / "a.tar", folder, "top" if "in a" in container else "", f"w:{kind}")
    found = read_class_folders(source, SIZE, 3)
    images, labels, test_images, test_labels = arrays()
    np.testing.assert_array_equal(found.images["train"], images[np.argsort(labels, kind="stable")])
    np.testing.assert_array_equal(found.images["test"], test_images[np.argsort(test_labels, kind="stable")])
    assert found.labels["train"].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert (found.classes, found.loss) == (CLASSES, "")


def test_the_order_of_an_archive_does_not_matter(folder, tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for path in sorted(folder.rglob("*.png"), reverse=True):
            archive.add(path, path.relative_to(folder))
    for part, images in read_class_folders(folder, SIZE, 3).images.items():
        np.testing.assert_array_equal(read_class_folders(tmp_path / "a.tar", SIZE, 3).images[part], images)


def test_the_original_order_comes_from_the_labels(folder, tmp_path):
    images, labels, test_images, test_labels = arrays()
    np.savez(tmp_path / "order.npz", train=labels.astype(np.uint8), test=test_labels)
    found = read_class_folders(folder, SIZE, 3, tmp_path / "order.npz")
    np.testing.assert_array_equal(found.images["train"], images)
    np.testing.assert_array_equal(found.labels["train"], labels)
    np.testing.assert_array_equal(found.images["test"], test_images)
    np.testing.assert_array_equal(found.labels["test"], test_labels)


@pytest.mark.parametrize(
    ("order", "reason"),
    [
        ({"train": np.zeros(9, int), "test": np.arange(6) % 3}, "labels per class in train"),
        ({"train": np.arange(9) % 3, "test": np.arange(5) % 3}, "labels per class in test"),
        ({"train": np.arange(9) % 3.0, "test": np.arange(6) % 3}, "labels per class in train"),
        ({"train": np.arange(9) % 3}, "labels of test are missing"),
    ],
)
def test_labels_that_do_not_fit_the_images_are_refused(folder, tmp_path, order, reason):
    np.savez(tmp_path / "order.npz", **order)
    with pytest.raises(DataError, match=rf"order\.npz: .*{reason}"):
        read_class_folders(folder, SIZE, 3, tmp_path / "order.npz")


def test_a_missing_class_folder_is_named(folder):
    for file in (folder / "test" / "bee").iterdir():
        file.unlink()
    with pytest.raises(DataError, match="no images in test/bee"):
        read_class_folders(folder, SIZE, 3)


def test_a_class_missing_everywhere_is_counted(folder):
    with pytest.raises(DataError, match="3 class folders in train and test, but 4 are needed"):
        read_class_folders(folder, SIZE, 4)


def test_other_files_are_passed_over(folder, tmp_path):
    (folder / "train" / "bee" / "._0000.png").write_bytes(b"of another system")
    (folder / "train" / "bee" / "Thumbs.db").write_bytes(b"of another system")
    (folder / "train" / "README.png").write_bytes(b"no class")
    (folder / "train" / "bee" / "folder.png").mkdir()
    for hidden in ("train/.ipynb_checkpoints/0000.png", ".backup/train/bee/0000.png", "__MACOSX/train/bee/._0000.png"):
        (folder / hidden).parent.mkdir(parents=True)
        (folder / hidden).write_bytes(b"of another program")
    before = fingerprint(folder)
    (folder / hidden).write_bytes(b"changed")
    assert fingerprint(folder) == before
    assert len(read_class_folders(write_tar(tmp_path / "a.tar", folder), SIZE, 3).labels["train"]) == 9
    assert len(read_class_folders(folder, SIZE, 3).labels["train"]) == 9


def test_two_trees_in_one_source_are_told_apart(folder, tmp_path):
    for place in ("backup/cifar", "old"):
        for part in ("train", "test"):
            shutil.copytree(folder / part, folder / place / part)
        for source in (folder, write_tar(tmp_path / "a.tar", folder)):
            with pytest.raises(DataError, match=r"there are images in (\S+) and (\S+); keep only one of them"):
                read_class_folders(source, SIZE, 3)
        shutil.rmtree(folder / place.split("/")[0])


def test_endings_in_upper_case_and_names_that_are_not_utf8_and_links_to_folders(folder, tmp_path):
    expected = read_class_folders(folder, SIZE, 3)
    for path in list(folder.rglob("*.png")):
        path.rename(path.with_name(f"{os.fsdecode(bytes([0xFF]))}{path.stem}.PNG"))
    (folder / "train").rename(tmp_path / "elsewhere")
    (folder / "train").symlink_to(tmp_path / "elsewhere")
    assert len(fingerprint(folder)) == 32
    for source in (folder, write_tar(tmp_path / "a.tar", folder, dereference=True)):
        np.testing.assert_array_equal(read_class_folders(source, SIZE, 3).images["train"], expected.images["train"])
    next((tmp_path / "elsewhere" / "bee").iterdir()).write_bytes(b"")
    with pytest.raises(DataError, match=r"bee/\\udcff000.\.PNG: not an image") as error:
        read_class_folders(folder, SIZE, 3)
    str(error.value).encode()


@together("form", ["JPEG", "PNG"])
def test_an_orientation_is_not_applied_by_any_reader(tmp_path, form):
    exif = Image.Exif()
    exif[274] = 6  # turned to the right
    path = tmp_path / "turned.png"
    path.write_bytes(encoded(RGB, form, exif=exif))
    with Image.open(path) as image:
        assert ImageOps.exif_transpose(image).size == (SIZE[0], SIZE[1])
        expected = np.asarray(image)
    np.testing.assert_array_equal(decode_image(path.read_bytes(), "a", SIZE)[0], expected)
    np.testing.assert_array_equal(read_rgb(str(path)), expected)


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"no image",
        encoded(RGB)[:-30],
        encoded(RGB, "JPEG")[:-30],
        encoded(RGB, "JPEG").replace(b"\xff\xdb", b"\xff\xfe"),
        with_empty_profile(encoded(RGB)),
    ],
)
def test_a_damaged_image_is_named(folder, tmp_path, damage):
    (folder / "train" / "bee" / "0001.png").write_bytes(damage)
    for source in (folder, write_tar(tmp_path / "a.tar", folder)):
        with pytest.raises(DataError, match=r"train/bee/0001\.png: not an image, or damaged"):
            read_class_folders(source, SIZE, 3)


def test_an_archive_cut_off_is_refused(folder, tmp_path):
    archive = write_tar(tmp_path / "a.tar.gz", folder)
    archive.write_bytes(archive.read_bytes()[:1500])
    with pytest.raises(DataError, match=r"a\.tar\.gz: "):
        read_class_folders(archive, SIZE, 3)


def test_links_out_of_an_archive_are_not_followed(folder, tmp_path):
    (tmp_path / "secret.png").write_bytes(encoded(RGB))
    (folder / "train" / "bee" / "0001.png").unlink()
    (folder / "train" / "bee" / "0001.png").symlink_to(tmp_path / "secret.png")
    assert len(read_class_folders(write_tar(tmp_path / "a.tar", folder), SIZE, 3).labels["train"]) == 8


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.fromarray(RGB), RGB),
        (Image.fromarray(GREY), GREY[..., None].repeat(3, -1)),
        (Image.fromarray(GREY > 100), 255 * (GREY > 100)[..., None].repeat(3, -1)),
        (Image.fromarray(np.dstack([RGB, np.full(SIZE, 255, np.uint8)])), RGB),
        (Image.fromarray(np.dstack([GREY, np.full(SIZE, 255, np.uint8)]), "LA"), GREY[..., None].repeat(3, -1)),
    ],
    ids=["RGB", "grey", "black and white", "RGBA", "grey and alpha"],
)
@pytest.mark.filterwarnings("ignore:'mode' parameter:DeprecationWarning")
def test_8_bit_images_of_any_mode_become_rgb(image, expected):
    found, loss = decode_image(encoded(image), "a.png", SIZE)
    np.testing.assert_array_equal(found, expected)
    assert (found.dtype, loss) == (np.uint8, "")


def test_a_palette_becomes_the_colours_it_stands_for():
    image = Image.fromarray(GREY % 4)
    image = image.convert("P")
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 8, 7])
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 8, 7]])
    np.testing.assert_array_equal(decode_image(encoded(image), "a.png", SIZE)[0], colours[GREY % 4])


def test_a_cmyk_jpeg_becomes_rgb():
    content = encoded(Image.fromarray(RGB).convert("CMYK"), "JPEG", quality=100)
    assert decode_image(content, "a.jpg", SIZE)[0].shape == (*SIZE, 3)


def sixteen_bit_rgb_png():
    """Pillow writes none."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + bytes(6 * SIZE[1]) for _ in range(SIZE[0]))
    head = struct.pack(">IIBBBBB", SIZE[1], SIZE[0], 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (encoded(GREY.astype(np.uint16)), "16 bits per channel; convert it to 8 bits"),
        (sixteen_bit_rgb_png(), "16 bits per channel; convert it to 8 bits"),
        (encoded(np.dstack([RGB, GREY])), "partly transparent"),
        (encoded(Image.fromarray(GREY % 4).convert("P"), transparency=1), "partly transparent"),
        (encoded(RGB[:5]), "5 x 5 pixels, but 6 x 5 are needed"),
        (encoded(RGB, "BMP"), "not an image, or damaged"),
    ],
)
def test_what_cannot_become_rgb_bytes_is_refused_by_name(content, reason):
    with pytest.raises(DataError, match=f"a.png: {reason}"):
        decode_image(content, "a.png", SIZE)


@pytest.mark.parametrize("quality", [1, 40, 75, 90, 100])
def test_the_quality_of_a_jpeg_is_read_from_its_quantization(folder, tmp_path, quality):
    lossy = write_class_folders(tmp_path / "lossy", CLASSES, *arrays(), form="JPEG", quality=quality)
    assert read_class_folders(lossy, SIZE, 3).loss == f"JPEG q{quality}"


def test_mixed_losses_are_said(tmp_path):
    folder = write_class_folders(tmp_path / "images", CLASSES, *arrays(), form="JPEG", quality=80)
    (folder / "train" / "bee" / "0000.jpg").write_bytes(encoded(RGB, "JPEG", quality=60))
    assert read_class_folders(folder, SIZE, 3).loss == "JPEG"
    (folder / "train" / "bee" / "0000.jpg").write_bytes(encoded(RGB))
    assert read_class_folders(folder, SIZE, 3).loss == "partly JPEG q80"
    assert jpeg_quality([7] * 64) == "JPEG"


def test_the_fingerprint_is_that_of_the_content(folder, tmp_path):
    archive, order = write_tar(tmp_path / "a.tar", folder), tmp_path / "order.npz"
    order.write_bytes(b"1")
    keys = [fingerprint(folder), fingerprint(archive), fingerprint(archive, order)]
    assert [fingerprint(folder), fingerprint(archive), fingerprint(archive, order)] == keys
    order.write_bytes(b"2")
    (folder / "train" / "bee" / "0003.png").write_bytes(encoded(RGB))
    archive.write_bytes(archive.read_bytes()[:-1] + b"1")
    keys += [fingerprint(folder), fingerprint(archive), fingerprint(archive, order)]
    assert len(set(keys)) == 6


@needs_data
def test_a_real_image_decodes_as_pillow_does():
    with tarfile.open(real("imagenette") / "imagenette2-224-subset.tar") as archive:
        member = next(member for member in archive if member.name.endswith(".JPEG"))
        content = archive.extractfile(member).read()
    found, loss = decode_image(content, member.name, (224, 224))
    np.testing.assert_array_equal(found, np.asarray(Image.open(io.BytesIO(content)).convert("RGB")))
    assert loss.startswith("JPEG q")
