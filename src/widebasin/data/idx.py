"""The idx format of the MNIST files: a header of big-endian integers, then the array."""

import contextlib
import gzip
import io
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from widebasin.data.archives import CHUNK, explained
from widebasin.data.errors import DataError

# Third byte of the file.
TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
GZIP = b"\x1f\x8b"


def read_idx(path: Path, needed: tuple[int, ...] | None = None) -> np.ndarray:
    """Reads the array of an idx file, plain or gzipped (detected by its first bytes), in the machine's byte order.

    The format: two zero bytes, a type code, the number of dimensions, every dimension as four bytes, the values; all
    big-endian. The header is read first, and at most one byte more than it announces is decompressed. Memory use is at
    most three times the bytes of values in the file, plus 2 MiB.

    Args:
        path: the file.
        needed: required shape of the array; if given, its values must be bytes.

    Raises:
        DataError: if the file cannot be read, is not an idx file, is shorter or longer than its header says, or does
            not have the array needed.

    Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits".
    """
    with _opened(path) as stream:
        dtype, shape = _header(path, stream)
        if needed is not None and (shape != needed or dtype != np.uint8):
            raise DataError(
                f"{path}: {dtype.newbyteorder('=')} of shape {shape}, but uint8 of shape {needed} is needed"
            )
        start, size = 4 + 4 * len(shape), math.prod(shape) * dtype.itemsize
        content = _read(stream, size + 1)
        if len(content) != size:
            fault = f"truncated: {start + len(content):,} bytes" if len(content) < size else "too long"
            raise DataError(f"{path}: {fault}, but shape {shape} needs {start + size:,}")
        try:
            values = np.frombuffer(content, dtype).reshape(shape)
        except ValueError as error:
            raise DataError(f"{path}: its header gives the impossible shape {shape}") from error
    return values.astype(dtype.newbyteorder("="), copy=False)


def first_values(path: Path, count: int) -> np.ndarray:
    """The first ``count`` values of an idx file, or all if there are fewer; the rest is not read.

    Raises:
        DataError: as ``read_idx``.
    """
    with _opened(path) as stream:
        dtype, shape = _header(path, stream)
        content = _read(stream, min(count, math.prod(shape)) * dtype.itemsize)
    return np.frombuffer(content, dtype, len(content) // dtype.itemsize)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[io.BufferedIOBase]:
    """Opens a file, decompressing it on reading."""
    with explained(path), path.open("rb") as file:
        zipped = file.read(2) == GZIP
        file.seek(0)
        with gzip.GzipFile(fileobj=file) if zipped else contextlib.nullcontext(file) as stream:
            yield stream  # type: ignore[misc]


def _header(path: Path, stream: io.BufferedIOBase) -> tuple[np.dtype, tuple[int, ...]]:
    start = stream.read(4)
    if len(start) < 4:
        raise DataError(f"{path}: not an idx file: it has {len(start)} bytes, but a header has at least 4")
    if start[:2] != b"\0\0":
        raise DataError(f"{path}: not an idx file: it begins with the bytes {start.hex(' ')}, not with 00 00")
    code, dimensions = start[2:]
    if code not in TYPES:
        known = ", ".join(f"{known:02x}" for known in TYPES)
        raise DataError(f"{path}: not an idx file: unknown type code {code:02x} (known: {known})")
    if dimensions == 0:
        raise DataError(f"{path}: its header gives no dimensions")
    sizes = stream.read(4 * dimensions)
    if len(sizes) < 4 * dimensions:
        raise DataError(f"{path}: truncated: it ends within its header of {4 + 4 * dimensions} bytes")
    return np.dtype(TYPES[code]), tuple(np.frombuffer(sizes, ">u4").tolist())


def _read(stream: io.BufferedIOBase, size: int) -> bytearray:
    """Reads ``size`` bytes, or all there are; memory grows with the actual data, not with what a header says."""
    content = bytearray()
    while len(content) < size and (chunk := stream.read(min(CHUNK, size - len(content)))):
        content += chunk
    return content
