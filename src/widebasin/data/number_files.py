"""Numbers in text files: rows of values separated by commas, without a header, plain or compressed."""

import re
from pathlib import Path
from typing import Any

import numpy as np

from widebasin.data.archives import Decompressed, explained, refuse_unless_file
from widebasin.data.errors import DataError

# Bytes that are parsed at a time; a row must be shorter.
BLOCK = 1 << 23
# How pyarrow reports an invalid value; it counts columns from 0.
VALUE = re.compile(r"In CSV column #(\d+): Row #(\d+): CSV conversion error to \w+: (.*)")
KINDS = {"i": "a whole number", "u": "a whole number of at least 0", "f": "a number"}


def read_numbers(path: Path, dtype: Any, columns: int | None = None, missing: bool = False) -> np.ndarray:
    """The values of a file, ``[rows, columns]``; an empty file has no rows.

    Files compressed with gzip, bzip2 or xz are recognized by their first bytes. Spaces around numbers are ignored.
    Needs at most twice the memory of the result, and a few blocks.

    Args:
        path: the file.
        dtype: type of the values; a value outside its range is an error.
        columns: number of columns; by default that of the first row.
        missing: whether values may be missing; they become NaN, so the type must be floating-point.

    Raises:
        DataError: if the file cannot be read, is truncated or damaged, a row has more or fewer values, or a value
            is not a number, missing or infinite.
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
            # With threads, errors would lack row numbers.
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
                        raise DataError(f"{path}: row {row + 1:,}, column {number + 1:,} is empty; it must be a number")
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
    """Number of columns of the first row that is not empty; ``None`` if there is no such row."""
    refuse_unless_file(path)
    with explained(path), Decompressed(path) as stream:
        start = stream.read(BLOCK)
    # With a single column, an empty line is a missing value.
    lines = start.split(b"\n")[: 1 if missing else None]
    first = next((line for line in lines if line.strip()), b"")
    return first.count(b",") + 1 if first or (missing and start) else None


def _refuse_infinite(path: Path, before: int, values: np.ndarray, missing: bool) -> None:
    wrong = np.isinf(values) if missing else ~np.isfinite(values)
    if wrong.any():
        row, column = (int(one[0]) for one in np.nonzero(wrong.T))
        where = f"row {before + row + 1:,}, column {column + 1:,}"
        raise DataError(f"{path}: {where} is {values[column, row]}; it must be a finite number")
