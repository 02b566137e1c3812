"""Arrays in npz files, and a cache for arrays that take long to compute."""

import contextlib
import logging
import math
import os
import zipfile
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import numpy as np
from numpy.lib.format import MAGIC_PREFIX, read_array, read_array_header_1_0

from widebasin.data.archives import explained, refuse_unless_file
from widebasin.data.errors import DataError
from widebasin.data.places import cache_folder
from widebasin.data.writing import written_aside

LOGGER = logging.getLogger("widebasin")

ENCRYPTED = 1
# How many times its size the content of a member can have at most, by the method of its compression.
DENSEST = {zipfile.ZIP_STORED: 1, zipfile.ZIP_DEFLATED: 1032}
# Numbers in an array, which the number of bytes does not bound where every one of them has none.
LARGEST_SIZE = 1 << 48


def read_npz(path: Path, known: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """Reads all arrays of an npz file, each verified by its checksum.

    Every array's header is read first and compared with the actual size, so that no more memory is used than the arrays
    in the file take, plus 16 MiB.

    Args:
        path: the file.
        known: allowed names of its arrays; by default any.

    Raises:
        DataError: if it cannot be read, is not an npz file, is damaged, has arrays with other names, or contains Python
            objects, which are not read.
    """
    refuse_unless_file(path)
    with explained(path, "not an npz file, or damaged"), path.open("rb") as stream:
        if stream.read(len(MAGIC_PREFIX)) == MAGIC_PREFIX:
            raise DataError(f"{path}: a single array without a name; write it with numpy.savez(path, inputs=..., ...)")
        size = os.fstat(stream.fileno()).st_size
        with zipfile.ZipFile(stream) as file:
            members = {member.filename.removesuffix(".npy"): member for member in file.infolist()}
            unknown = [] if known is None else [name for name in members if name not in known]
            if unknown:
                raise DataError(
                    f"{path}: unknown array {', '.join(unknown)}; arrays are named {', '.join(known or ())}"
                )
            return {name: _read(f"{path}: {name}", file, member, size) for name, member in members.items()}


def write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays atomically: to a temporary file that is then renamed.

    Leftovers of a killed process are deleted by the next one that writes in this folder.
    """
    with written_aside(path.parent, ".writing-") as folder:
        aside = folder / "arrays.npz"
        np.savez(aside, **arrays)  # type: ignore[arg-type]
        aside.replace(path)


def cached_arrays(
    name: str,
    key: str,
    names: Collection[str],
    compute: Callable[[], dict[str, np.ndarray]],
    folder: Path | None = None,
    sound: Callable[[dict[str, np.ndarray]], bool] = lambda arrays: True,
) -> dict[str, np.ndarray]:
    """Returns the arrays for this key from the cache; computes and caches them if missing.

    A cached file that is damaged or has other arrays is replaced. If the cache cannot be written, a warning is logged.

    Args:
        name: prefix of the file's name.
        key: hexadecimal digits that identify what the arrays are computed from.
        names: names of the arrays.
        compute: function that computes the arrays.
        folder: where they are kept; by default with the decoded images.
        sound: whether cached arrays are what they must be; if not, they are replaced, too.
    """
    path = (cache_folder("data") / "decoded" if folder is None else folder) / f"{name}-{key}.npz"
    if path.exists():
        with contextlib.suppress(DataError):
            kept = read_npz(path, names)
            if set(kept) == set(names) and sound(kept):
                return kept
    arrays = compute()
    try:
        write_npz(path, arrays)
    except OSError as error:
        LOGGER.warning("cannot write %s (%s): %s will be read again next time", path, error.strerror, name)
    return arrays


def _read(name: str, file: zipfile.ZipFile, member: zipfile.ZipInfo, size: int) -> np.ndarray:
    """Reads the array in a member of an archive; ``size`` is the size of the archive in bytes."""
    if member.flag_bits & ENCRYPTED:
        raise DataError(f"{name} is encrypted; write the file with numpy.savez")
    if member.compress_type not in DENSEST:
        raise DataError(
            f"{name} is compressed with a method that NumPy does not use; write the file with numpy.savez_compressed"
        )
    with file.open(member) as content:
        start = content.read(len(MAGIC_PREFIX) + 2)
        if not start.startswith(MAGIC_PREFIX):
            raise DataError(f"{name} is not an array; write the file with numpy.savez")
        if tuple(start[-2:]) != (1, 0):
            raise DataError(f"{name} has an invalid header for arrays of numbers or text; write it with numpy.savez")
        shape, _, dtype = read_array_header_1_0(content)
        if dtype.hasobject:
            raise DataError(f"{name} contains Python objects, which are not read for safety; store numbers")
        needed, there = math.prod(shape) * dtype.itemsize, member.file_size - content.tell()
        most = min(there, DENSEST[member.compress_type] * size)
        if needed != there or needed > most or math.prod(shape) > LARGEST_SIZE:
            raise DataError(f"{name} is damaged: {dtype} of shape {shape} needs {needed:,} bytes, there are {most:,}")
    with file.open(member) as content:
        array = read_array(content, allow_pickle=False)
        content.read(1)  # the checksum is verified at the end
        return array
