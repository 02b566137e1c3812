"""Files in a folder or in a tar archive, read without unpacking anything onto the disk."""

import bz2
import contextlib
import gzip
import io
import lzma
import tarfile
import zlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from widebasin.data.errors import DataError

CHUNK = 1 << 20
# By the first bytes of a file.
OPENERS: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}


def walk_files(source: Path, wanted: Callable[[tuple[str, ...]], bool]) -> Iterator[tuple[tuple[str, ...], bytes]]:
    """``(parts of the name, content)`` of files in a folder, sorted, or in a tar archive, in its order.

    Links and devices of an archive are passed over. The archive may be compressed by gzip, bzip2 or xz, told by its
    first bytes; it is verified by the checksum that these keep, once all files have been read.

    Args:
        source: folder or archive.
        wanted: tells from the parts of a name whether to read the file.

    Raises:
        DataError: if something cannot be read, or the archive is truncated or damaged.
    """
    with explained(source):
        if source.is_dir():
            for path in sorted(source.rglob("*")):
                parts = path.relative_to(source).parts
                if wanted(parts) and path.is_file():
                    yield parts, path.read_bytes()
            return
        with opened_tar(source) as archive:
            for member in archive:
                parts = Path(member.name).parts
                content = archive.extractfile(member) if member.isfile() and wanted(parts) else None
                if content is not None:
                    yield parts, content.read()


@contextlib.contextmanager
def opened_tar(source: Path) -> Iterator[tarfile.TarFile]:
    """A tar archive, to be read from its beginning to its end; then the checksum of its compression is verified.

    Without that, a damaged header of a file in the middle would pass for the end of the archive.
    """
    with _decompressed(source) as stream:
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            yield archive
        # The checksum of what is compressed comes after the end of the archive.
        while stream.read(CHUNK):
            pass


def _decompressed(source: Path) -> io.BufferedIOBase:
    with source.open("rb") as file:
        start = file.read(6)
    opener = next((opener for magic, opener in OPENERS.items() if start.startswith(magic)), None)
    return source.open("rb") if opener is None else opener(source, "rb")


def read_files(source: Path, names: Collection[str]) -> dict[str, bytes]:
    """The files of these names in a folder, or anywhere in a tar archive.

    Raises:
        DataError: as ``walk_files``; if one is missing.
    """
    found = {}
    if source.is_dir():
        with explained(source):
            found = {name: (source / name).read_bytes() for name in names if (source / name).is_file()}
    else:
        found = {parts[-1]: content for parts, content in walk_files(source, lambda parts: parts[-1] in names)}
    missing = [name for name in names if name not in found]
    if missing:
        raise DataError(f"{source}: {' and '.join(missing)} missing")
    return found


@contextlib.contextmanager
def explained(source: Path) -> Iterator[None]:
    """Errors of reading a folder or an archive, as ``DataError``."""
    try:
        yield
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise DataError(f"{source}: truncated or damaged archive: {error}") from error
    except OSError as error:
        raise DataError(f"{source}: cannot be read ({error.strerror or error})") from error
