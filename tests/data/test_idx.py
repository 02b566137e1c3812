import gzip
import tracemalloc

import numpy as np
import pytest
from data.files import idx_bytes, needs_data, real
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from widebasin.data import DataError
from widebasin.data.idx import first_values, read_idx

SOUND = idx_bytes(np.arange(12, dtype=np.uint8).reshape(3, 4))


def read(tmp_path, content):
    path = tmp_path / "some-idx2-ubyte"
    path.write_bytes(content)
    return read_idx(path)


@given(
    array=st.sampled_from(["u1", "i1", "i2", "i4", "f4", "f8"]).flatmap(
        lambda dtype: arrays.arrays(dtype, arrays.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=4))
    ),
    gzipped=st.booleans(),
)
def test_what_is_written_is_read(tmp_path_factory, array, gzipped):
    path = tmp_path_factory.getbasetemp() / "idx"
    path.write_bytes(gzip.compress(idx_bytes(array)) if gzipped else idx_bytes(array))
    found = read_idx(path)
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


def test_the_array_may_be_written_to(tmp_path):
    read(tmp_path, SOUND)[0, 0] = 7


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "0 bytes"),
        (SOUND[:3], "3 bytes"),
        (b"\x89PNG" + SOUND[4:], "begins with the bytes 89 50 4e 47"),
        (SOUND[:2] + b"\x0a" + SOUND[3:], "unknown type code 0a"),
        (SOUND[:3] + b"\0" + SOUND[4:], "no dimensions"),
        (SOUND[:9], "ends within its header of 12 bytes"),
        (SOUND[:-1], r"truncated: 23 bytes, but shape \(3, 4\) needs 24"),
        (SOUND + b"\0", r"too long, but shape \(3, 4\) needs 24"),
        (SOUND[:4] + b"\xff" * 8 + SOUND[12:], "truncated: 24 bytes"),
        (bytes.fromhex("00000804 ffffffff ffffffff ffffffff 00000000"), "impossible shape"),
        (bytes.fromhex("000008ff") + bytes(4 * 255), "impossible shape"),
        (gzip.compress(SOUND[:4] + b"\xff" * 8 + SOUND[12:], mtime=0), "truncated: 24 bytes"),
        (gzip.compress(SOUND, mtime=0)[:-9], "truncated or damaged"),
        (gzip.compress(SOUND, mtime=0)[:-8] + bytes(8), "truncated or damaged"),
        (gzip.compress(SOUND, mtime=0)[:12] + b"\xff" * 8, "begins with the bytes 00 07"),
        (gzip.compress(SOUND, mtime=0)[:10] + b"\xff" * 8, "truncated or damaged"),
    ],
)
def test_a_damaged_file_is_refused_with_its_name_and_the_reason(tmp_path, content, reason):
    with pytest.raises(DataError, match=reason) as error:
        read(tmp_path, content)
    assert "some-idx2-ubyte" in str(error.value)


def test_no_more_is_decompressed_than_the_header_says(tmp_path):
    """64 MB of zeros behind a header of twelve bytes."""
    path = tmp_path / "bomb"
    path.write_bytes(gzip.compress(SOUND[:12] + bytes(64_000_000), 1))
    tracemalloc.start()
    with pytest.raises(DataError, match="too long"):
        read_idx(path)
    assert tracemalloc.get_traced_memory()[1] < 4_000_000
    tracemalloc.stop()


def test_the_shape_that_is_needed_is_asked_of_the_header(tmp_path):
    path = tmp_path / "some-idx2-ubyte"
    path.write_bytes(SOUND)
    assert read_idx(path, (3, 4)).shape == (3, 4)
    path.write_bytes(SOUND[:12])  # nothing but the header
    with pytest.raises(DataError, match=r"uint8 of shape \(3, 4\), but uint8 of shape \(4, 3\) is needed"):
        read_idx(path, (4, 3))
    path.write_bytes(idx_bytes(np.zeros((3, 4), np.int8)))
    with pytest.raises(DataError, match=r"int8 of shape \(3, 4\), but uint8"):
        read_idx(path, (3, 4))


def test_the_first_values_need_no_more(tmp_path):
    path = tmp_path / "cut"
    path.write_bytes(SOUND[:-4])
    assert first_values(path, 5).tolist() == [0, 1, 2, 3, 4]
    assert len(first_values(path, 50)) == 8


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match="nowhere: cannot be read"):
        read_idx(tmp_path / "nowhere")


@needs_data
@pytest.mark.parametrize("size", [100, 4096, 1_000_000])
def test_a_real_file_cut_anywhere_is_refused(tmp_path, size):
    content = (real("mnist") / "t10k-images-idx3-ubyte.gz").read_bytes()
    with pytest.raises(DataError, match="truncated"):
        read(tmp_path, content[:size])
    with pytest.raises(DataError, match="truncated"):
        read(tmp_path, gzip.decompress(content)[:size])
