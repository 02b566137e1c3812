"""The idx format of the MNIST files: a header of big-endian integers, then the array."""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from widebasin.data.errors import DataError

# Third byte of the file.
TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
GZIP = b"\x1f\x8b"


def read_idx(path: Path) -> np.ndarray:
    """The array of an idx file, plain or gzipped (told by its first bytes), in the machine's byte order.

    The format: two zero bytes, a type code, the number of dimensions, every dimension as four bytes, the values; all
    big-endian.

    Raises:
        DataError: if the file cannot be read, is no idx file, or is shorter or longer than its header says.

    Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits".
    """
    content = _content(path)
    if len(content) < 4:
        raise DataError(f"{path}: no idx file: it has {len(content)} bytes, and a header has at least 4")
    if content[:2] != b"\0\0":
        raise DataError(f"{path}: no idx file: it begins with the bytes {content[:4].hex(' ')}, not with 00 00")
    code, dimensions = content[2], content[3]
    if code not in TYPES:
        known = ", ".join(f"{known:02x}" for known in TYPES)
        raise DataError(f"{path}: no idx file: unknown type code {code:02x} (known: {known})")
    if dimensions == 0:
        raise DataError(f"{path}: its header gives no dimensions")
    start = 4 + 4 * dimensions
    if len(content) < start:
        raise DataError(f"{path}: truncated: it ends within its header of {start} bytes")
    shape = tuple(int(size) for size in np.frombuffer(content, ">u4", dimensions, offset=4))
    dtype = np.dtype(TYPES[code])
    needed = start + math.prod(shape) * dtype.itemsize
    if len(content) != needed:
        fault = "truncated" if len(content) < needed else "bytes left over"
        raise DataError(f"{path}: {fault}: {len(content):,} bytes, where shape {shape} needs {needed:,}")
    return np.frombuffer(content, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))


def _content(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content[:2] == GZIP else content
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: truncated or damaged: {error}") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
