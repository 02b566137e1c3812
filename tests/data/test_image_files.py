import gzip
import io
import tarfile
import threading
from pathlib import Path

import numpy as np
import pytest
from data.ended import ended_within
from data.image_folders import write_folders

from widebasin.data.errors import DataError
from widebasin.data.image_files import _inside, list_image_files, unpacked


@pytest.fixture
def root(tmp_path):
    return write_folders(tmp_path / "images")


def archived(root, archive, prefix=""):
    with tarfile.open(archive, "w:gz" if archive.suffix == ".tgz" else "w") as file:
        for part in ("train", "val"):
            file.add(root / part, f"{prefix}{part}")
    return archive


def visible(folder):
    """What is in a folder but the file of its lock."""
    return [path for path in folder.iterdir() if path.name != ".writing.lock"]


def test_training_files_come_first_by_class_and_name(root):
    files = list_image_files(root)
    names = [f"train/{c}/train{i}.JPEG" for c in ("cat", "dog") for i in range(4)]
    names += [f"val/{c}/val{i}.JPEG" for c in ("cat", "dog") for i in range(2)]
    assert files.paths == tuple(names)
    assert files.labels.tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 1, 1]
    assert files.labels.dtype == np.int32
    assert (files.classes, files.num_val, len(files)) == (("cat", "dog"), 4, 12)
    assert files.absolute(5) == str(root / "train" / "dog" / "train1.JPEG")


def test_other_files_are_passed_over(root):
    for name in ("notes.txt", ".hidden.jpg", "noext"):
        (root / "train" / "cat" / name).write_bytes(b"")
    (root / "train" / "README").write_bytes(b"")
    (root / "val" / ".cache").mkdir()
    (root / "val" / ".ipynb_checkpoints").mkdir()
    (root / "train" / "dog" / "folder.png").mkdir()
    (root / "train" / "dog" / "nowhere.png").symlink_to(root / "nothing")
    (root / "train" / "dog" / "more.png").write_bytes(b"")
    (root / "train" / "dog" / "more.JPG").write_bytes(b"")
    assert len(list_image_files(root)) == 14


@pytest.mark.parametrize("part", ["train", "val"])
def test_a_missing_folder_is_named(part, root):
    (root / part).rename(root / "elsewhere")
    with pytest.raises(DataError, match=f"{part}: no such folder; images must be in train/<class>/ and val/<class>/"):
        list_image_files(root)


def test_a_folder_whose_name_no_disk_has_is_named(tmp_path):
    with pytest.raises(DataError, match=r"xxx/train: cannot be read \(File name too long\)"):
        list_image_files(tmp_path / ("x" * 300))


def test_a_folder_without_classes_is_named(tmp_path):
    for part in ("train", "val"):
        (tmp_path / part).mkdir()
    with pytest.raises(DataError, match="train: no class folders"):
        list_image_files(tmp_path)


def test_an_empty_class_is_named(root):
    (root / "val" / "ant").mkdir()
    with pytest.raises(DataError, match=r"val/ant: no images \(.jpg, .jpeg, .png\); fill or delete"):
        list_image_files(root)


@pytest.mark.parametrize("part", ["train", "val"])
def test_classes_that_differ_are_named(part, tmp_path):
    root = write_folders(tmp_path / "images")
    for name in "vwxyz":
        (root / part / name).mkdir()
        (root / part / name / "a.png").write_bytes(b"")
    other = "val" if part == "train" else "train"
    with pytest.raises(DataError, match=f"classes v, w, x and 2 more are in {part} but not in {other}"):
        list_image_files(root)


@pytest.mark.parametrize(("name", "prefix"), [("images.tar", ""), ("images.tgz", "imagenette2-160/")])
def test_an_archive_is_unpacked_once(name, prefix, root, tmp_path):
    archive, cache = archived(root, tmp_path / name, prefix), tmp_path / "cache" / "deep"
    folder = unpacked(archive, cache)
    found = list_image_files(folder)
    assert found.paths == list_image_files(root).paths
    for number in (0, 11):
        copy, source = (Path(files.absolute(number)) for files in (found, list_image_files(root)))
        assert copy.read_bytes() == source.read_bytes()
    (folder / "train" / "cat" / "mark.png").write_bytes(b"")
    assert unpacked(archive, cache) == folder
    assert (folder / "train" / "cat" / "mark.png").exists()
    assert [path.name[:7] for path in visible(cache)] == ["images-"]


def test_another_archive_of_the_same_name_is_unpacked_anew(root, tmp_path):
    archive = archived(root, tmp_path / "images.tar")
    first = unpacked(archive, tmp_path / "cache")
    (root / "val" / "dog" / "val9.png").write_bytes(b"new")
    second = unpacked(archived(root, archive), tmp_path / "cache")
    assert first != second
    assert len(list_image_files(second)) == len(list_image_files(first)) + 1


def test_a_truncated_archive_is_named_and_leaves_nothing(root, tmp_path):
    archive, cache = archived(root, tmp_path / "images.tgz"), tmp_path / "cache"
    archive.write_bytes(archive.read_bytes()[:-2000])
    with pytest.raises(DataError, match=r"images\.tgz: truncated or damaged"):
        unpacked(archive, cache)
    assert visible(cache) == []


@pytest.mark.parametrize("name", ["../outside.png", "/tmp/outside.png", "train/link"])
def test_where_python_has_no_filters_only_files_and_folders_inside_are_unpacked(name):
    inside, other = tarfile.TarInfo("train/cat/1.png"), tarfile.TarInfo(name)
    inside.mode, other.type = 0o4777, tarfile.SYMTYPE if name == "train/link" else tarfile.REGTYPE
    assert [member.mode for member in _inside([inside])] == [0o644]
    with pytest.raises(tarfile.ReadError, match="is no file or folder inside"):
        list(_inside([inside, other]))


@pytest.mark.parametrize("name", ["../outside.png", "/tmp/outside.png"])
def test_nothing_is_unpacked_outside(name, tmp_path):
    """Absolute names lose their slash; those that climb out are refused."""
    archive, cache = tmp_path / "evil.tar", tmp_path / "cache"
    with tarfile.open(archive, "w") as file:
        file.addfile(tarfile.TarInfo(name), io.BytesIO())
    with pytest.raises(DataError, match=r"evil\.tar: "):
        unpacked(archive, cache)
    assert list(tmp_path.rglob("outside.png")) == []
    assert visible(cache) == []


def test_an_archive_of_something_else_is_refused(tmp_path):
    (tmp_path / "train").mkdir()
    with tarfile.open(tmp_path / "other.tar", "w") as file:
        file.add(tmp_path / "train", "train")
    with pytest.raises(DataError, match=r"other\.tar: no folders train and val"):
        unpacked(tmp_path / "other.tar", tmp_path / "cache")
    assert visible(tmp_path / "cache") == []


def test_two_trees_in_one_archive_are_told_apart(root, tmp_path):
    with tarfile.open(tmp_path / "two.tar", "w") as file:
        for place in ("one", "two", ".hidden"):
            file.add(root, place)
    with pytest.raises(
        DataError, match=r"two\.tar: there are folders train and val in one and two; keep only one of them"
    ):
        unpacked(tmp_path / "two.tar", tmp_path / "cache")


def test_a_name_too_long_for_the_disk_is_said(tmp_path):
    with tarfile.open(tmp_path / "long.tar", "w") as file:
        file.addfile(tarfile.TarInfo(f"train/cat/{'x' * 300}.png"), io.BytesIO())
    with pytest.raises(DataError, match=r"long\.tar: cannot be unpacked .*too long\); give its files shorter names"):
        unpacked(tmp_path / "long.tar", tmp_path / "cache")


def test_a_missing_archive_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.tar: cannot be read \(No such file"):
        unpacked(tmp_path / "none.tar", tmp_path / "cache")


def test_what_a_process_has_left_that_was_ended_while_it_unpacked_is_deleted_by_the_next(root, tmp_path):
    """Also if that one unpacks something else."""
    archive, cache = archived(root, tmp_path / "images.tar"), tmp_path / "cache"
    ended_within("tarfile.TarFile.extractall", "image_files.unpacked", archive, cache)
    (left,) = visible(cache)
    assert len(list(left.rglob("*.JPEG"))) == 12
    folder = unpacked(archived(root, tmp_path / "other.tar"), cache)
    assert visible(cache) == [folder]


def test_of_several_at_once_one_unpacks_and_none_deletes_what_it_writes(root, tmp_path, monkeypatch):
    archive, cache = archived(root, tmp_path / "images.tar"), tmp_path / "cache"
    whole, unpackings, arrived = tarfile.TarFile.extractall, [], threading.Barrier(3)

    def slowly(self, path, **options):
        whole(self, path, **options)
        unpackings.append(path)
        arrived.wait(20)  # the other two are about to begin
        threading.Event().wait(0.3)
        assert len(list_image_files(path)) == 12

    def another():
        arrived.wait(20)
        found.append(unpacked(archive, cache))

    monkeypatch.setattr(tarfile.TarFile, "extractall", slowly)
    found = []
    threads = [threading.Thread(target=another) for _ in range(2)]
    for thread in threads:
        thread.start()
    folder = unpacked(archive, cache)
    for thread in threads:
        thread.join()
    assert found == [folder, folder]
    assert len(unpackings) == 1
    assert visible(cache) == [folder]


def test_what_is_unpacked_is_found_in_a_cache_that_cannot_be_written(root, tmp_path):
    archive, cache = archived(root, tmp_path / "images.tar"), tmp_path / "cache"
    folder = unpacked(archive, cache)
    (cache / ".writing.lock").unlink()
    assert unpacked(archive, cache) == folder
    assert list(cache.iterdir()) == [folder]


def test_a_cache_that_cannot_be_written_is_named(root, tmp_path):
    archive, cache = archived(root, tmp_path / "images.tar"), tmp_path / "cache"
    cache.write_text("a file where the folder should be")
    with pytest.raises(
        DataError, match=rf"images\.tar: cannot be unpacked into {cache} .*; free some space, or set XDG_CACHE"
    ):
        unpacked(archive, cache)


def test_half_of_a_damaged_archive_is_not_taken_for_the_whole(root, tmp_path):
    """The last header is damaged: there, to tarfile, the archive ends."""
    archive, cache = archived(root, tmp_path / "images.tar"), tmp_path / "cache"
    content = bytearray(gzip.compress(archive.read_bytes(), compresslevel=0))
    content[content.rindex(b"@PaxHeader")] ^= 1
    archive.write_bytes(content)
    with pytest.raises(DataError, match=r"images\.tar: .*CRC check failed"):
        unpacked(archive, cache)
    assert visible(cache) == []
