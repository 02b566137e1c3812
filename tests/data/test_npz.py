import pickle
import zipfile

import numpy as np
import pytest
from data.ended import ended_within

from widebasin.data import DataError
from widebasin.data.npz import cached_arrays, read_npz, write_npz

ARRAYS = {"images": np.arange(500, dtype=np.uint8), "name": np.asarray("JPEG q75")}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "widebasin" / "data" / "decoded"


def names(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != ".writing.lock")


def compute():
    return ARRAYS


def never():
    raise AssertionError


def test_what_is_written_is_read_and_nothing_else_is_left(tmp_path):
    write_npz(tmp_path / "new" / "a.npz", ARRAYS)
    found = read_npz(tmp_path / "new" / "a.npz")
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array)
    assert names(tmp_path / "new") == ["a.npz"]


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    write_npz(tmp_path / "a.npz", ARRAYS)
    with pytest.raises((pickle.PicklingError, AttributeError)):
        write_npz(tmp_path / "a.npz", {"objects": np.array([lambda: None])})
    assert names(tmp_path) == ["a.npz"]
    assert read_npz(tmp_path / "a.npz").keys() == ARRAYS.keys()


def test_what_a_process_has_left_that_was_ended_while_it_wrote_is_deleted_by_the_next(tmp_path):
    ended_within("numpy.savez", "npz.write_npz", tmp_path / "a.npz", {"numbers": [1, 2, 3]})
    (left,) = names(tmp_path)
    assert left != "a.npz"
    write_npz(tmp_path / "b.npz", ARRAYS)
    assert names(tmp_path) == ["b.npz"]


def test_computed_once(cache):
    assert cached_arrays("cifar10", "0a", compute) is ARRAYS
    np.testing.assert_array_equal(cached_arrays("cifar10", "0a", never)["images"], ARRAYS["images"])
    assert cached_arrays("cifar10", "0b", compute) is ARRAYS
    assert names(cache) == ["cifar10-0a.npz", "cifar10-0b.npz"]


@pytest.mark.parametrize("damage", ["bit", "cut", "empty"])
def test_a_damaged_file_in_the_cache_is_replaced(cache, damage):
    cached_arrays("cifar10", "0a", compute)
    path = cache / "cifar10-0a.npz"
    content = bytearray(path.read_bytes())
    start = content.index(bytes(range(100, 200)))
    content[start] ^= 1
    path.write_bytes({"bit": content, "cut": content[:300], "empty": b""}[damage])
    with pytest.raises(DataError, match="damaged"):
        read_npz(path)
    assert cached_arrays("cifar10", "0a", compute) is ARRAYS
    np.testing.assert_array_equal(read_npz(path)["images"], ARRAYS["images"])


def test_a_cache_that_cannot_be_written_is_said(cache):
    cache.parent.mkdir(parents=True)
    cache.write_text("a file where the folder should be")
    with pytest.warns(UserWarning, match=r"cifar10-0a\.npz cannot be written"):
        assert cached_arrays("cifar10", "0a", compute) is ARRAYS


def test_what_fails_is_not_kept(cache):
    with pytest.raises(AssertionError):
        cached_arrays("cifar10", "0a", never)
    assert not cache.exists()


def test_python_objects_are_not_read(tmp_path):
    np.savez(tmp_path / "a.npz", inputs=np.array([print, None], object))
    with pytest.raises(DataError, match=r"a\.npz: inputs holds Python objects, which are not read"):
        read_npz(tmp_path / "a.npz")


def test_other_files_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(3))
    with pytest.raises(DataError, match=r"a\.npy: one array without a name"):
        read_npz(tmp_path / "a.npy")
    (tmp_path / "text.npz").write_text("text")
    with pytest.raises(DataError, match=r"text\.npz: no npz file"):
        read_npz(tmp_path / "text.npz")
    with zipfile.ZipFile(tmp_path / "zip.npz", "w") as file:
        file.writestr("inputs.npy", b"\x93NUMPY but no more")
    with pytest.raises(DataError, match=r"zip\.npz: "):
        read_npz(tmp_path / "zip.npz")
    with pytest.raises(DataError, match="there is no such file"):
        read_npz(tmp_path / "nowhere.npz")
