"""Lines of UTF-8 text files, plain or compressed."""

import codecs
from pathlib import Path

from widebasin.data.archives import CHUNK, Decompressed, explained, refuse_unless_file
from widebasin.data.errors import DataError

# As published, or compressed by the user.
ENDINGS = ("", ".gz")


def either(path: Path) -> Path | None:
    """The file with this name, or else with ``.gz`` appended; ``None`` if neither exists."""
    paths = (path.with_name(f"{path.name}{ending}") for ending in ENDINGS)
    return next((one for one in paths if one.is_file()), None)


def read_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 text file, without line endings.

    Files compressed with gzip, bzip2 or xz are recognized by their first bytes. A line ends with a line feed, with or
    without a carriage return before it; other Unicode line separators do not end a line.

    Raises:
        DataError: if the file cannot be read, is truncated or damaged, or is not UTF-8 text (with the line number).
    """
    refuse_unless_file(path)
    with explained(path):
        content = bytearray()
        with Decompressed(path) as stream:
            while chunk := stream.read(CHUNK):
                content += chunk
    return lines_of(str(path), bytes(content))


def lines_of(name: str, content: bytes) -> list[str]:
    """The lines of UTF-8 text, without line endings; see ``read_lines``.

    Args:
        name: name of the file, for error messages.
        content: content of the file.

    Raises:
        DataError: if the content is not UTF-8 text (with the line number).
    """
    content = content.removeprefix(codecs.BOM_UTF8)
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(f"{name}: line {line:,} is not UTF-8 text; save the file in UTF-8") from error
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    return lines[:-1] if not lines[-1] else lines
