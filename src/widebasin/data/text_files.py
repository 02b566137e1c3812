"""Lines of text files in UTF-8, plain or compressed."""

import codecs
from pathlib import Path

from widebasin.data.archives import CHUNK, Decompressed, explained, refuse_unless_file
from widebasin.data.errors import DataError

# As published, and as some keep them.
ENDINGS = ("", ".gz")


def either(path: Path) -> Path | None:
    """The file of this name, or else of this name and ``.gz``; ``None`` if there is neither."""
    paths = (path.with_name(f"{path.name}{ending}") for ending in ENDINGS)
    return next((one for one in paths if one.is_file()), None)


def read_lines(path: Path) -> list[str]:
    """The lines of a text file in UTF-8, without their ends.

    The file may be compressed by gzip, bzip2 or xz, told by its first bytes. Lines end with a line feed, with or
    without a carriage return before it; other characters that Unicode takes for the end of a line do not end one.

    Raises:
        DataError: if it cannot be read, is truncated or damaged, or is not in UTF-8, with the number of the line.
    """
    refuse_unless_file(path)
    with explained(path):
        content = bytearray()
        with Decompressed(path) as stream:
            while chunk := stream.read(CHUNK):
                content += chunk
    return lines_of(str(path), bytes(content))


def lines_of(name: str, content: bytes) -> list[str]:
    """The lines of a text in UTF-8, without their ends; see ``read_lines``.

    Args:
        name: of the file, for errors.
        content: of the file.

    Raises:
        DataError: if it is not in UTF-8, with the number of the line.
    """
    content = content.removeprefix(codecs.BOM_UTF8)
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(f"{name}: line {line:,} is no text in UTF-8; save the file in this encoding") from error
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    return lines[:-1] if not lines[-1] else lines
