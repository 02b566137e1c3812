"""Arrays in npz files, and the cache of arrays that take long to compute."""

import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from widebasin.data.errors import DataError
from widebasin.data.places import cache_folder
from widebasin.data.writing import written_aside


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an npz file, each verified by its checksum.

    Raises:
        DataError: if it cannot be read, is no npz file, is damaged, or holds Python objects, which are not read.
    """
    try:
        # NumPy leaves a file open that it finds damaged.
        with path.open("rb") as stream:
            file = np.load(stream, allow_pickle=False)
            if isinstance(file, np.ndarray):
                raise DataError(f"{path}: one array without a name; write it with numpy.savez(path, inputs=..., ...)")
            return {name: _read(path, file, name) for name in file.files}
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        raise DataError(f"{path}: no npz file, or a damaged one: {error}") from error


def write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays aside and renames them into place: the file is there whole or not at all.

    What a process has left aside that was ended meanwhile is deleted by the next one that writes in this folder.
    """
    with written_aside(path.parent, ".writing-") as folder:
        aside = folder / "arrays.npz"
        np.savez(aside, **arrays)  # type: ignore[arg-type]
        aside.replace(path)


def cached_arrays(name: str, key: str, compute: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The arrays of this key from the cache, or else computed and kept there.

    A file in the cache that is damaged is replaced. If the cache cannot be written, a warning says so.

    Args:
        name: how the file's name begins.
        key: of hexadecimal digits; identifies what the arrays are computed from.
        compute: gives the arrays.
    """
    path = cache_folder("data") / "decoded" / f"{name}-{key}.npz"
    if path.exists():
        try:
            return read_npz(path)
        except DataError:
            pass
    arrays = compute()
    try:
        write_npz(path, arrays)
    except OSError as error:
        warnings.warn(
            f"{path} cannot be written ({error.strerror}): {name} will be decoded again next time", stacklevel=2
        )
    return arrays


def _read(path: Path, file: np.lib.npyio.NpzFile, name: str) -> np.ndarray:
    try:
        return file[name]
    except ValueError as error:
        fault = "holds Python objects, which are not read for safety; store numbers"
        raise DataError(f"{path}: {name} {fault if 'pickle' in str(error) else error}") from error
