import bz2
import gzip
import os

import numpy as np
import pytest
from together import together

from widebasin.data import DataError
from widebasin.data.number_files import read_numbers


@together("write", [bytes, gzip.compress, bz2.compress], ids=["plain", "gzip", "bzip2"])
def test_rows_of_numbers(tmp_path, write):
    (tmp_path / "a").write_bytes(write(b"1, 2\r\n-3,4\n"))
    np.testing.assert_array_equal(read_numbers(tmp_path / "a", np.int16, columns=2), np.array([[1, 2], [-3, 4]]))
    assert read_numbers(tmp_path / "a", np.float32).dtype == np.float32


@together(
    ("text", "missing", "expected"),
    [
        ("", False, np.zeros((0, 3))),
        ("", True, np.zeros((0, 3))),
        ("\n", False, np.zeros((0, 3))),
        ("1,2,3\n\n4,5,6\n\n", False, [[1, 2, 3], [4, 5, 6]]),
        ("1.5,,nan\n,,\n", True, [[1.5, np.nan, np.nan], [np.nan] * 3]),
        ("1\n\n0\n", True, [[1], [np.nan], [0]]),
        ("\n1\n", True, [[np.nan], [1]]),
        ("1e2\n.5", False, [[100], [0.5]]),
    ],
)
def test_empty_files_lines_and_cells(tmp_path, text, missing, expected):
    (tmp_path / "a").write_text(text)
    columns = None if len(text) > 1 else 3
    np.testing.assert_array_equal(read_numbers(tmp_path / "a", float, columns, missing), expected)


@together(
    ("text", "dtype", "message"),
    [
        ("1,2\n3,x\n", np.int16, r"row 2, column 2: invalid value 'x'; it must be a whole number of int16"),
        ("1,2\n3,4.5\n", np.int32, r"row 2, column 2: invalid value '4.5'; it must be a whole number of int32"),
        ("1,2\n40000,4\n", np.int16, r"row 2, column 1: invalid value '40000'"),
        ("1,2\n3,-4\n", np.uint8, r"'-4'; it must be a whole number of at least 0 of uint8"),
        ("1,2\n3\n", np.int16, r"Row #2: Expected 2 columns, got 1"),
        ("1,2\n3,4,5\n", np.int16, r"Row #2: Expected 2 columns, got 3"),
        ("1,2\n3,\n", np.int16, r"row 2, column 2 is empty; it must be a number"),
        ("1,inf\n", np.float32, r"row 1, column 2 is inf; it must be a finite number"),
        ("1,2\n3,nan\n", np.float32, r"row 2, column 2 is empty"),
        ("1,2,3\n", np.float32, r"3 columns instead of 2"),
        ("é,è\n", np.float32, r"row 1, column 1: invalid value"),
    ],
)
def test_what_is_no_number_is_named_by_row_and_column(tmp_path, text, dtype, message):
    (tmp_path / "a").write_text(text)
    with pytest.raises(DataError, match=message) as error:
        read_numbers(tmp_path / "a", dtype, columns=2)
    assert str(error.value).startswith(f"{tmp_path / 'a'}: ")


def test_rows_are_counted_over_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr("widebasin.data.number_files.BLOCK", 64)
    values = np.arange(200).reshape(100, 2)
    lines = [f"{a},{b}" for a, b in values]
    (tmp_path / "a").write_text("\n".join(lines))
    np.testing.assert_array_equal(read_numbers(tmp_path / "a", np.int64), values)
    for wrong, message in (("1,", "row 88, column 2 is empty"), ("x,1", "row 88, column 1: invalid"), ("1", "Row #88")):
        (tmp_path / "a").write_text("\n".join([*lines[:87], wrong, *lines[88:]]))
        with pytest.raises(DataError, match=message):
            read_numbers(tmp_path / "a", np.int64)


@together("share", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_an_error(tmp_path, share):
    content = gzip.compress("".join(f"{n},{n * n % 997}\n" for n in range(9_000)).encode())
    (tmp_path / "a.gz").write_bytes(content[: int(share * len(content))])
    with pytest.raises(DataError, match=r"a\.gz: truncated or damaged"):
        read_numbers(tmp_path / "a.gz", np.int64)


def test_a_file_that_is_none_is_an_error(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name, message in (
        ("pipe", "not a file but a folder or a device"),
        (".", "not a file but"),
        ("x", "cannot be read"),
    ):
        with pytest.raises(DataError, match=message):
            read_numbers(tmp_path / name, np.int64)
