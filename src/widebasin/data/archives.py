"""Files in a folder or in a tar archive, read without unpacking anything onto the disk."""

import contextlib
import lzma
import tarfile
import zlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from widebasin.data.errors import DataError


def walk_files(source: Path, wanted: Callable[[tuple[str, ...]], bool]) -> Iterator[tuple[tuple[str, ...], bytes]]:
    """``(parts of the name, content)`` of files in a folder, sorted, or in a tar archive, in its order.

    Links and devices of an archive are passed over. The archive may be compressed in any way Python knows.

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
        with tarfile.open(source, "r|*") as archive:
            for member in archive:
                parts = Path(member.name).parts
                content = archive.extractfile(member) if member.isfile() and wanted(parts) else None
                if content is not None:
                    yield parts, content.read()


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
