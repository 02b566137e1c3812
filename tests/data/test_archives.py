import contextlib
import gzip
import io
import lzma
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from widebasin.data import DataError
from widebasin.data.archives import explained, read_files, walk_files

FILES = {"top/a": b"1" * 700, "top/b/c": bytes(range(256)) * 8, "d": b""}
COMPRESSIONS = ("", "gz", "xz", "bz2")


def archive(compression):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=f"w:{compression}") as tar:
        for name, content in FILES.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return file.getvalue()


ARCHIVES = {compression: archive(compression) for compression in COMPRESSIONS}


def everything(source):
    return {"/".join(parts): content for parts, content in walk_files(source, lambda parts: True)}


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_folder_and_an_archive_of_it_have_the_same_files(tmp_path, compression):
    (tmp_path / "a.tar").write_bytes(ARCHIVES[compression])
    for name, content in FILES.items():
        (tmp_path / "folder" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "folder" / name).write_bytes(content)
    assert everything(tmp_path / "a.tar") == everything(tmp_path / "folder") == FILES


def test_files_by_name_and_only_those(tmp_path):
    (tmp_path / "a.tar").write_bytes(ARCHIVES["gz"])
    assert read_files(tmp_path / "a.tar", ["a", "c"]) == {"a": FILES["top/a"], "c": FILES["top/b/c"]}
    with pytest.raises(DataError, match=r"a\.tar: x and y missing"):
        read_files(tmp_path / "a.tar", ["a", "x", "y"])
    with pytest.raises(DataError, match="a missing"):
        read_files(tmp_path, ["a"])


def test_an_archive_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.tar: cannot be read \(No such file or directory\)"):
        everything(tmp_path / "none.tar")


@given(
    compression=st.sampled_from(COMPRESSIONS),
    place=st.floats(0, 1, exclude_max=True),
    byte=st.integers(0, 255),
    cut=st.booleans(),
)
def test_a_damaged_archive_is_read_or_refused(tmp_path_factory, compression, place, byte, cut):
    content = bytearray(ARCHIVES[compression])
    position = int(place * len(content))
    content[position] = byte
    path = tmp_path_factory.getbasetemp() / "damaged.tar"
    path.write_bytes(content[:position] if cut else content)
    found = {}
    with contextlib.suppress(DataError):
        found = everything(path)
    # What is compressed has a checksum; the names and contents of a plain archive have none of their own.
    if compression and not cut:
        assert found in ({}, FILES)


@pytest.mark.parametrize(
    "read",
    [
        lambda: gzip.decompress(ARCHIVES["gz"][:-20]),
        lambda: gzip.decompress(ARCHIVES["gz"][:12] + b"\xff" * 40),
        lambda: lzma.decompress(ARCHIVES["xz"][:40] + b"\xff" * 40),
        lambda: tarfile.TarInfo.frombuf(b"no archive", "ascii", "strict"),
    ],
    ids=["cut", "zlib", "lzma", "tar"],
)
def test_whatever_is_wrong_with_an_archive_is_the_users_error(tmp_path, read):
    with pytest.raises(DataError, match=r"a\.tar: truncated or damaged archive"), explained(tmp_path / "a.tar"):
        read()
