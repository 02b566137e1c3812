"""Numbers in text files: rows of values separated by commas, without a header, plain or compressed."""

import re
from pathlib import Path
from typing import Any

import numpy as np

from widebasin.data.archives import Decompressed, explained, refuse_unless_file
from widebasin.data.errors import DataError

# Bytes that are parsed at a time, of which a row must have fewer.
BLOCK = 1 << 23
# What pyarrow says of a value; it counts columns from 0.
VALUE = re.compile(r"In CSV column #(\d+): Row #(\d+): CSV conversion error to \w+: (.*)")
KINDS = {"i": "a whole number", "u": "a whole number, not negative,", "f": "a number"}


def read_numbers(path: Path, dtype: Any, columns: int | None = None, missing: bool = False) -> np.ndarray:
    """The values of a file, ``[rows, columns]``; an empty file has no rows.

    Compression by gzip, bzip2 or xz is told by the first bytes. Spaces around numbers are passed over. In memory is at
    most twice what is returned, and some blocks.

    Args:
        path: the file.
        dtype: of the values; a value that it cannot hold is an error.
        columns: how many there must be; as many as in the first row, by default.
        missing: whether values may be missing, which are NaN then, of a floating-point type.

    Raises:
        DataError: if the file cannot be read, is truncated or damaged, a row has more or fewer values, or one is no
            number, missing or infinite.
    """
    from pyarrow import csv, from_numpy_dtype

    dtype = np.dtype(dtype)
    there = _columns(path, missing)
    if there is None:
        return np.zeros((0, columns or 0), dtype)
    if columns is not None and there != columns:
        raise DataError(f"{path}: {there:,} columns instead of {columns:,}; get the file again")
    kinds = {f"f{number}": from_numpy_dtype(dtype) for number in range(there)}
    blocks, rows = [], 0
    with explained(path), Decompressed(path) as stream:
        try:
            # Threads do not know the numbers of rows that errors name.
            for block in csv.open_csv(
                stream,
                csv.ReadOptions(use_threads=False, block_size=BLOCK, autogenerate_column_names=True),
                csv.ParseOptions(ignore_empty_lines=not missing),
                csv.ConvertOptions(column_types=kinds),
            ):
                values = np.empty((there, block.num_rows), dtype)
                for number, column in enumerate(block.columns):
                    if column.null_count and not missing:
                        row = rows + int(np.asarray(column.is_null()).argmax())
                        raise DataError(
                            f"{path}: row {row + 1:,}, column {number + 1:,} is empty; a number must be there"
                        )
                    values[number] = column.to_numpy(zero_copy_only=False)
                if dtype.kind == "f":
                    _refuse_infinite(path, rows, values, missing)
                blocks.append(values.T)
                rows += block.num_rows
        except ValueError as error:  # of pyarrow
            if not (found := VALUE.search(str(error))):
                raise
            column, row, value = found.groups()
            where = f"row {int(row):,}, column {int(column) + 1:,}"
            raise DataError(f"{path}: {where}: {value}; it must be {KINDS[dtype.kind]} of {dtype}") from error
    return np.concatenate(blocks) if blocks else np.zeros((0, there), dtype)


def _columns(path: Path, missing: bool) -> int | None:
    """How many the first row has that holds anything, and ``None`` if there is none."""
    refuse_unless_file(path)
    with explained(path), Decompressed(path) as stream:
        start = stream.read(BLOCK)
    # A line without anything is a missing value where there is one column.
    lines = start.split(b"\n")[: 1 if missing else None]
    first = next((line for line in lines if line.strip()), b"")
    return first.count(b",") + 1 if first or (missing and start) else None


def _refuse_infinite(path: Path, before: int, values: np.ndarray, missing: bool) -> None:
    wrong = np.isinf(values) if missing else ~np.isfinite(values)
    if wrong.any():
        row, column = (int(one[0]) for one in np.nonzero(wrong.T))
        where = f"row {before + row + 1:,}, column {column + 1:,}"
        raise DataError(f"{path}: {where} is {values[column, row]}; a finite number must be there")
