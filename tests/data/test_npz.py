import os
import pickle
import struct
import zipfile

import numpy as np
import pytest
from data.ended import ended_within
from together import together

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
    assert cached_arrays("cifar10", "0a", ARRAYS, compute) is ARRAYS
    np.testing.assert_array_equal(cached_arrays("cifar10", "0a", ARRAYS, never)["images"], ARRAYS["images"])
    assert cached_arrays("cifar10", "0b", ARRAYS, compute) is ARRAYS
    assert names(cache) == ["cifar10-0a.npz", "cifar10-0b.npz"]


@pytest.mark.parametrize("damage", ["bit", "cut", "empty"])
def test_a_damaged_file_in_the_cache_is_replaced(cache, damage):
    cached_arrays("cifar10", "0a", ARRAYS, compute)
    path = cache / "cifar10-0a.npz"
    content = bytearray(path.read_bytes())
    start = content.index(bytes(range(100, 200)))
    content[start] ^= 1
    path.write_bytes({"bit": content, "cut": content[:300], "empty": b""}[damage])
    with pytest.raises(DataError, match="damaged"):
        read_npz(path)
    assert cached_arrays("cifar10", "0a", ARRAYS, compute) is ARRAYS
    np.testing.assert_array_equal(read_npz(path)["images"], ARRAYS["images"])


def test_other_arrays_in_the_cache_are_replaced(cache):
    cache.mkdir(parents=True, exist_ok=True)
    write_npz(cache / "cifar10-0a.npz", {"others": np.zeros(3)})
    assert cached_arrays("cifar10", "0a", ARRAYS, compute) is ARRAYS
    np.testing.assert_array_equal(read_npz(cache / "cifar10-0a.npz")["images"], ARRAYS["images"])


def test_a_cache_that_cannot_be_written_is_said(cache, caplog):
    cache.parent.mkdir(parents=True)
    cache.write_text("a file where the folder should be")
    assert cached_arrays("cifar10", "0a", ARRAYS, compute) is ARRAYS
    assert "cifar10-0a.npz (" in caplog.text


def test_what_fails_is_not_kept(cache):
    with pytest.raises(AssertionError):
        cached_arrays("cifar10", "0a", ARRAYS, never)
    assert not cache.exists()


def test_python_objects_are_not_read(tmp_path):
    np.savez(tmp_path / "a.npz", inputs=np.array([print, None], object))
    with pytest.raises(DataError, match=r"a\.npz: inputs contains Python objects, which are not read"):
        read_npz(tmp_path / "a.npz")


def test_other_files_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(3))
    with pytest.raises(DataError, match=r"a\.npy: a single array without a name"):
        read_npz(tmp_path / "a.npy")
    (tmp_path / "text.npz").write_text("text")
    with pytest.raises(DataError, match=r"text\.npz: not an npz file"):
        read_npz(tmp_path / "text.npz")
    os.mkfifo(tmp_path / "pipe.npz")
    for path in (tmp_path, tmp_path / "pipe.npz"):
        with pytest.raises(DataError, match=f"{path}: not a file but a folder or a device"):
            read_npz(path)
    with pytest.raises(DataError, match=r"xxx\.npz: cannot be read .File name too long"):
        read_npz(tmp_path / f"{'x' * 300}.npz")
    with pytest.raises(DataError, match=r"nowhere\.npz: cannot be read .No such file"):
        read_npz(tmp_path / "nowhere.npz")


def npy(header, content=b"", version=1):
    head = header.encode().ljust(118 if len(header) < 118 else len(header))
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(head)) + head + content


def described(shape, descr="<f8"):
    return repr({"descr": descr, "fortran_order": False, "shape": shape})


@together(
    ("content", "reason"),
    [
        (b"\x93NUMPY but no more", "has an invalid header for arrays"),
        (b"no array at all", "is not an array"),
        (b"", "is not an array"),
        (
            npy(described((2**40, 2))),
            r"float64 of shape \(1099511627776, 2\) needs 17,592,186,044,416 bytes, there are 0",
        ),
        (npy(described((2**62,), "|V0")), "is damaged"),
        (npy(described((2**70, 0))), "not an npz file, or damaged"),
        (npy(described((3,)), bytes(23)), "needs 24 bytes, there are 23"),
        (npy(described((3,)), bytes(25)), "needs 24 bytes, there are 25"),
        (npy(described((-3,)), bytes(24)), "damaged"),
        (npy(described((3,), "|O"), bytes(24)), "contains Python objects"),
        (npy(described((3,), [("a", "<f8"), ("b", "|O")]), bytes(48)), "contains Python objects"),
        (npy("(" * 9_000), "not an npz file, or damaged"),
        (npy("{" * 60_000), "not an npz file, or damaged"),
        (npy(described((3,)), bytes(24), 2), "has an invalid header for arrays"),
        (npy("import os"), "not an npz file, or damaged"),
    ],
    ids=range(15),
)
def test_a_member_is_refused_before_it_is_read(tmp_path, content, reason):
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("inputs.npy", content)
    with pytest.raises(DataError, match=rf"a\.npz: .*{reason}"):
        read_npz(tmp_path / "a.npz")


def test_what_no_numpy_writes_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as file:
        file.writestr("inputs.npy", npy(described((3,)), bytes(24)))
    with pytest.raises(DataError, match="inputs is compressed with a method that NumPy does not use"):
        read_npz(path)
    np.savez(path, inputs=np.arange(3))
    content = bytearray(path.read_bytes())
    for start, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(start) + flags] |= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="inputs is encrypted"):
        read_npz(path)


def test_names_that_are_not_known_are_refused_before_they_are_read(tmp_path):
    np.savez(tmp_path / "a.npz", inputs=np.arange(3), more=np.array([None]))
    with pytest.raises(DataError, match="unknown array more; arrays are named inputs, targets"):
        read_npz(tmp_path / "a.npz", ["inputs", "targets"])


def test_every_flipped_bit_of_what_is_compressed_is_seen(tmp_path):
    """Wherever it lies, also behind the last byte that the array needs: the checksum comes at the end."""
    path = tmp_path / "a.npz"
    array = np.random.default_rng(0).integers(0, 4, 300, np.uint8)
    np.savez_compressed(path, inputs=array)
    content = path.read_bytes()
    for position in range(len(content)):
        path.write_bytes(content[:position] + bytes([content[position] ^ 16]) + content[position + 1 :])
        try:
            found = read_npz(path)
        except DataError:
            continue
        assert all(np.array_equal(one, array) for one in found.values()), position
