import dataclasses
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from data.image_folders import write_folders
from together import together

from widebasin.data import DataError, Dataset, ImageReader, Normalization, arrays, list_image_files

LABELS = np.arange(12, dtype=np.int32) % 3


def in_memory(**changes):
    inputs = np.arange(24, dtype=np.float32).reshape(12, 2)
    return Dataset(**{"name": "small", "inputs": inputs, "targets": LABELS, "num_classes": 3} | changes)


def streamed(root):
    files = list_image_files(root)
    return Dataset("photographs", np.arange(len(files), dtype=np.int32), files.labels, 2, files.num_val, files=files)


def test_equal_data_have_equal_digests_whatever_their_name():
    assert in_memory().digest() == in_memory(name="another").digest()
    assert in_memory().digest() == in_memory(inputs=np.asfortranarray(in_memory().inputs)).digest()


@pytest.mark.parametrize(
    "changes",
    [
        {"inputs": np.flip(in_memory().inputs)},
        {"inputs": in_memory().inputs.reshape(12, 1, 2)},
        {"inputs": in_memory().inputs.view(np.int32)},
        {"targets": np.flip(LABELS)},
        {"targets": LABELS.astype(np.int16)},
        {"num_classes": 7},
        {"num_classes": None},
        {"fixed_test": 4},
        {"shuffled": False},
        {"normalization": Normalization()},
        {"image_size": 160},
    ],
)
def test_whatever_decides_what_is_learnt_decides_the_digest(changes):
    assert in_memory(**changes).digest() != in_memory().digest()


def test_targets_of_another_shape_are_other_data():
    numbers = LABELS.astype(np.float32)
    digests = {in_memory(targets=targets, num_classes=None).digest() for targets in (numbers, numbers[:, None])}
    assert len(digests) == 2


def test_other_normalizations_are_told_apart():
    several = [Normalization(), Normalization(mean=(0.5,)), Normalization(deviation=(0.5,))]
    assert len({in_memory(normalization=one).digest() for one in several}) == 3


def test_arrays_saved_with_another_number_of_classes_are_other_data(tmp_path):
    content = {"inputs": in_memory().inputs, "targets": LABELS}
    digests = set()
    for more in ({}, {"num_classes": 7}):
        np.savez(tmp_path / "mine.npz", **content, **more)
        digests.add(arrays(tmp_path / "mine.npz").digest())
    assert len(digests) == 2


def test_image_files_elsewhere_are_the_same_data(tmp_path):
    root = write_folders(tmp_path / "here")
    there = shutil.copytree(root, tmp_path / "there")
    assert streamed(root).digest() == streamed(there).digest()


@pytest.mark.parametrize("which", [0, 7, -1])
def test_one_image_file_of_another_size_makes_other_data(which, tmp_path):
    """Names, numbers and labels are the same; it is seen although the files were listed before."""
    data = streamed(write_folders(tmp_path))
    before = data.digest()
    with Path(data.files.absolute(which)).open("ab") as file:
        file.write(b"\0")
    assert data.digest() != before


def test_sizes_are_those_of_the_files_in_their_order(tmp_path):
    for part in ("train", "val"):
        for name, length in (("ant", 3), ("bee", 5)):
            (tmp_path / part / name).mkdir(parents=True)
            for i in range(2):
                (tmp_path / part / name / f"{i}.jpg").write_bytes(b"\0" * (length + 10 * i + 100 * (part == "val")))
    assert list_image_files(tmp_path).sizes().tolist() == [3, 13, 5, 15, 103, 113, 105, 115]


def test_the_names_of_image_files_need_not_be_utf8(tmp_path):
    root = write_folders(tmp_path)
    before = streamed(root).digest()
    path = root / "train" / "cat" / "train0.JPEG"
    path.rename(path.with_name(f"{os.fsdecode(bytes([0xE9]))}.JPEG"))
    data = streamed(root)
    assert data.digest() not in (before, "")
    with ImageReader(data.files, workers=1, size=8) as reader:
        (batch,) = reader.batches(np.arange(12)[None])
    assert batch.shape == (12, 8, 8, 3)


def test_an_image_file_that_has_gone_is_named(tmp_path):
    data = streamed(write_folders(tmp_path))
    gone = Path(data.files.absolute(3))
    gone.unlink()
    with pytest.raises(DataError, match=f"{gone}: cannot be read .No such file.*; restore the file, or list"):
        data.digest()


def test_the_size_that_images_are_read_in_decides_the_digest(tmp_path):
    data = streamed(write_folders(tmp_path))
    assert data.digest() != dataclasses.replace(data, image_size=160).digest()


def test_arrays_of_several_lengths_are_refused():
    with pytest.raises(ValueError, match="examples of small differ: inputs 12, targets 11"):
        in_memory(targets=LABELS[:11])
    with pytest.raises(ValueError, match=r"targets\['tags'\] 12, targets\['weights'\] 3"):
        in_memory(targets={"tags": LABELS, "weights": LABELS[:3]})


def test_what_are_no_arrays_of_numbers_is_refused():
    listed = in_memory()
    object.__setattr__(listed, "inputs", [[0, 1]] * 12)  # tests check the types of arguments
    with pytest.raises(
        ValueError, match=r"inputs of small must be arrays of examples \(numpy\.asarray\), got one of type int"
    ):
        listed.__post_init__()
    with pytest.raises(ValueError, match=r"targets of small must be numbers, got <U1: numpy\.unique"):
        in_memory(targets=np.array(["a", "b"] * 6))
    for beyond in (2**31, -(2**31) - 1, np.iinfo(np.int64).min):
        with pytest.raises(ValueError, match=r"targets of small has integers beyond 32 bits, which wrap: numpy"):
            in_memory(targets=np.full(12, beyond), num_classes=None)
    for targets in (np.full(12, -(2**31)), np.full(12, 2**32 - 1, np.uint64)):
        assert in_memory(targets=targets, num_classes=None).num_classes is None
    with pytest.raises(ValueError, match="targets of small must be real, got complex128"):
        in_memory(targets=np.full(12, 1j), num_classes=None)


def test_a_label_may_be_missing_where_an_example_has_several():
    tags = np.array([[0, 1, -1], [2, -1, -1]], np.int32)
    tagged = Dataset("tagged", np.zeros((2, 3), np.int32), tags, 3)
    assert tagged.targets is tags


@together(
    ("targets", "message"),
    [
        ([0, -1, 2], "num_classes of small is 3, and targets run from -1 to 2; they must be 0 to num_classes - 1$"),
        ([0, 3], "targets run from 0 to 3; they must be 0 to num_classes - 1$"),
        ([[0, -2], [1, 2]], "targets run from -2 to 2; they must be 0 to num_classes - 1, or -1 where one is missing"),
        ([[0, -1], [1, 3]], "targets run from -1 to 3"),
    ],
)
def test_labels_that_are_no_classes_are_refused(targets, message):
    with pytest.raises(ValueError, match=message):
        Dataset("small", np.zeros((len(targets), 2), np.float32), np.array(targets, np.int32), 3)
    with pytest.raises(
        ValueError, match=r"targets of small must be integers with num_classes, got float32: use astype"
    ):
        in_memory(targets=LABELS.astype(np.float32))
