"""Reads files in a folder or a tar archive without unpacking anything to disk."""

import bz2
import contextlib
import gzip
import lzma
import os
import tarfile
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from widebasin.data.errors import DataError
from widebasin.data.image_names import is_hidden

ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2")
CHUNK = 1 << 20
DEEPEST = 8
# By the first bytes of a file.
OPENERS: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
# What is compressed may hold so many times its size in bytes, and so many more: images and arrays hold far less, and a
# bomb a thousand times its size.
LARGEST_RATIO, ALLOWANCE = 100, 1 << 28
# Of a name or a table of attributes, which are read whole before the file that they belong to.
LARGEST_ATTRIBUTE = 1 << 20


def walk_files(
    source: Path, wanted: Callable[[tuple[str, ...]], bool], largest: int
) -> Iterator[tuple[tuple[str, ...], bytes]]:
    """Yields ``(parts of the name, content)`` of files in a folder, sorted, or in a tar archive, in its order.

    Hidden files, and folders, links and devices in an archive are skipped, whatever their names. The archive may be
    compressed with gzip, bzip2 or xz, detected by its first bytes; the checksum of the compression is verified once all
    files have been read. One file at a time is in memory: at most twice ``largest``, plus 4 MiB (and the dictionary of
    a large xz archive).

    Args:
        source: folder or archive. wanted: decides from the parts of a name whether to read the file.
        largest: maximum size of a file in bytes. Raises:
        DataError: if something cannot be read or is too large, or the archive is truncated or damaged.
    """
    with explained(source):
        if source.is_dir():
            for path in folder_files(source, wanted):
                yield path.relative_to(source).parts, read_file(path, largest)
            return
        with opened_tar(source) as archive:
            for member in archive:
                archive.members.clear()  # type: ignore[attr-defined]  # or all headers would be kept
                parts = Path(member.name).parts
                if not member.isfile() or any(map(is_hidden, parts)) or not parts or not wanted(parts):
                    continue
                _refuse_larger(f"{source}: {member.name}", member.size, largest)
                content = archive.extractfile(member)
                if content is not None:
                    yield parts, content.read()


def read_file(path: Path, largest: int) -> bytes:
    """Reads a file of at most ``largest`` bytes.

    Raises:
        DataError: if it is larger, or cannot be read.
    """
    with explained(path), path.open("rb") as file:
        _refuse_larger(str(path), os.fstat(file.fileno()).st_size, largest)
        content = file.read(largest + 1)  # it may grow meanwhile
        _refuse_larger(str(path), len(content), largest)
        return content


def _refuse_larger(name: str, size: int, largest: int) -> None:
    if not 0 <= size <= largest:
        raise DataError(f"{name}: {size:,} bytes, but at most {largest:,} are expected")


def folder_files(folder: Path, wanted: Callable[[tuple[str, ...]], bool]) -> list[Path]:
    """The wanted files below a folder, by the parts of their names, sorted; hidden files are skipped.

    Links to folders are followed, at most ``DEEPEST`` folders deep, because they may be circular.

    Raises:
        OSError: if a folder cannot be read.
    """
    found = []

    def refuse(error: OSError) -> None:
        raise error

    for place, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        inside = Path(place).relative_to(folder).parts
        folders[:] = [name for name in folders if not is_hidden(name) and len(inside) + 1 < DEEPEST]
        found += [Path(place, name) for name in names if not is_hidden(name) and wanted((*inside, name))]
    # Also a link that leads nowhere and a device are among the names.
    return sorted(path for path in found if path.is_file())


class _Member(tarfile.TarInfo):
    """A header of an archive; unreasonable sizes are refused before anything is read."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_Member":
        member = super().frombuf(buf, encoding, errors)
        if member.size < 0:
            raise tarfile.ReadError(f"a file of {member.size} bytes")
        kept_whole = member.type in (
            tarfile.XHDTYPE,
            tarfile.XGLTYPE,
            tarfile.SOLARIS_XHDTYPE,
            tarfile.GNUTYPE_LONGNAME,
            tarfile.GNUTYPE_LONGLINK,
        )
        if kept_whole and member.size > LARGEST_ATTRIBUTE:
            raise tarfile.ReadError(f"a name or attributes of {member.size:,} bytes")
        return member


class Decompressed:
    """The content of a file, decompressed on reading; refused if it grows far beyond its compressed size.

    The first bytes tell whether it is compressed by gzip, bzip2 or xz.
    """

    closed = False

    def __init__(self, source: Path) -> None:
        with source.open("rb") as file:
            start = file.read(6)
        self.source, self.given = source, 0
        self.most = LARGEST_RATIO * source.stat().st_size + ALLOWANCE
        opener = next((opener for magic, opener in OPENERS.items() if start.startswith(magic)), None)
        self.stream = source.open("rb") if opener is None else opener(source, "rb")

    def __enter__(self) -> "Decompressed":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stream.close()
        self.closed = True

    def read(self, size: int) -> bytes:
        """So many bytes of the content, fewer at its end.

        Raises:
            DataError: if the content is far larger than the file.
        """
        content = self.stream.read(size)
        self.given += len(content)
        if self.given > self.most:
            raise DataError(
                f"{self.source}: unpacks to over {LARGEST_RATIO} times its size; unpack it yourself if you trust it"
            )
        return content


@contextlib.contextmanager
def opened_tar(source: Path) -> Iterator[tarfile.TarFile]:
    """Opens a tar archive to read it from start to end; then the checksum of its compression is verified.

    Otherwise a damaged header in the middle would be taken for the end of the archive.
    """
    with Decompressed(source) as stream:
        with tarfile.open(fileobj=stream, mode="r|", tarinfo=_Member) as archive:  # type: ignore[call-overload]
            yield archive
        # The checksum of what is compressed comes after the end of the archive.
        while stream.read(CHUNK):
            pass


def archives_in(folder: Path, stem: str) -> list[Path]:
    """The tar archives in a folder whose names begin with ``stem``, sorted."""
    with explained(folder), os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if entry.is_file())
    return [folder / name for name in names if name.startswith(stem) and name.lower().endswith(ENDINGS)]


def read_files(source: Path, names: Collection[str], largest: int) -> dict[str, bytes]:
    """Reads the files with these names in a folder, or anywhere in a tar archive.

    Args:
        source: folder or archive.
        names: names of the files.
        largest: maximum size of a file in bytes. All files are in memory together.

    Raises:
        DataError: as ``walk_files``; if a file is missing, or an archive has the same name in different folders.
    """
    if source.is_dir():
        found = {name: read_file(source / name, largest) for name in names if (source / name).is_file()}
    else:
        found = {}
        places: dict[str, tuple[str, ...]] = {}
        for parts, content in walk_files(source, lambda parts: parts[-1] in names, largest):
            first = places.setdefault(parts[-1], parts)
            if first != parts:
                raise DataError(f"{source}: has both {'/'.join(first)} and {'/'.join(parts)}; keep only one of them")
            found[parts[-1]] = content
    missing = [name for name in names if name not in found]
    if missing:
        raise DataError(f"{source}: {' and '.join(missing)} missing")
    return found


def refuse_unless_file(path: Path) -> None:
    """Raises ``DataError`` if this is not a file that can be opened: a folder, a device, or a pipe that would wait."""
    with explained(path):
        path.stat()
        if not path.is_file():
            raise DataError(f"{path}: not a file but a folder or a device")


@contextlib.contextmanager
def explained(source: Path, damage: str = "truncated or damaged") -> Iterator[None]:
    """Turns errors of reading a file, folder or archive into ``DataError``.

    Args:
        source: what is read.
        damage: what the message says if it can be read but not understood.
    """
    try:
        yield
    except DataError:
        raise
    except MemoryError as error:
        raise DataError(f"{source}: is too large for the memory of this machine") from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the disk, not of gzip or bzip2
            file = error.filename if isinstance(error.filename, str) else source
            raise DataError(f"{file}: cannot be read ({error.strerror})") from error
        # What is damaged makes the libraries that read it raise errors of any kind.
        why = str(error) or type(error).__name__
        raise DataError(f"{source}: {damage}: {why}; correct it or get it again") from error
