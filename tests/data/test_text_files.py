"""Lines of text files, plain and compressed."""

import bz2
import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st
from together import together

from widebasin.data import DataError
from widebasin.data.text_files import either, lines_of, read_lines


@together(
    ("content", "lines"),
    [
        (b"", []),
        (b"\n", [""]),
        (b"a", ["a"]),
        (b"a\r\nb\n", ["a", "b"]),
        (b"a\n\nb", ["a", "", "b"]),
        (b"\xef\xbb\xbfa\n", ["a"]),
        ("a\x85b c\fd\n".encode(), ["a\x85b c\fd"]),
    ],
)
def test_lines_end_with_a_line_feed_alone(tmp_path, content, lines):
    (tmp_path / "t").write_bytes(content)
    assert read_lines(tmp_path / "t") == lines


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n"))))
def test_lines_are_read_back(some):
    content = "".join(f"{line}\n" for line in some).encode().removeprefix(b"\xef\xbb\xbf")
    assert lines_of("t", content) == [line.removeprefix("\ufeff") if not n else line for n, line in enumerate(some)]


def test_compressed_files_are_told_by_their_first_bytes(tmp_path):
    for name, content in (("t", gzip.compress(b"a\nb\n")), ("t.gz", b"a\nb\n"), ("t.bz2", bz2.compress(b"a\nb\n"))):
        (tmp_path / name).write_bytes(content)
        assert read_lines(tmp_path / name) == ["a", "b"]
    assert either(tmp_path / "t") == tmp_path / "t"
    (tmp_path / "t").unlink()
    assert either(tmp_path / "t") == tmp_path / "t.gz"
    assert either(tmp_path / "u") is None


@together(
    ("content", "line"),
    [
        ("a\nb\ncr\u00e8me\n".encode("latin-1"), "line 3"),
        ("a\n".encode("utf-16"), "line 1"),
        (b"a\n\xc3", "line 2"),
    ],
)
def test_other_encodings_are_refused_with_the_line(tmp_path, content, line):
    (tmp_path / "t").write_bytes(content)
    with pytest.raises(DataError, match=f"t: {line} is not UTF-8 text; save the file in UTF-8"):
        read_lines(tmp_path / "t")


@together("kept", [3, 9, 12, 40, -9, -8, -1])
def test_truncated_files_are_refused(tmp_path, kept):
    content = gzip.compress(b"".join(b"%d\n" % number for number in range(1000)))
    (tmp_path / "t.gz").write_bytes(content[:kept])
    with pytest.raises(DataError, match=r"t\.gz: "):
        read_lines(tmp_path / "t.gz")


def test_files_that_are_none_and_bombs_are_refused(tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r"t: cannot be read \(No such file"):
        read_lines(tmp_path / "t")
    with pytest.raises(DataError, match="not a file but a folder"):
        read_lines(tmp_path)
    monkeypatch.setattr("widebasin.data.archives.ALLOWANCE", 0)
    (tmp_path / "t.gz").write_bytes(gzip.compress(bytes(1 << 20)))
    with pytest.raises(DataError, match="unpacks to over 100 times its size"):
        read_lines(tmp_path / "t.gz")
