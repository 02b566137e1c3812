import contextlib
import gzip
import io
import lzma
import os
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st
from together import together

from widebasin.data import DataError, archives
from widebasin.data.archives import explained, read_files, walk_files

LARGEST = 5_000
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
    return {"/".join(parts): content for parts, content in walk_files(source, lambda parts: True, LARGEST)}


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_folder_and_an_archive_of_it_have_the_same_files(tmp_path, compression):
    (tmp_path / "a.tar").write_bytes(ARCHIVES[compression])
    for name, content in FILES.items():
        (tmp_path / "folder" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "folder" / name).write_bytes(content)
    assert everything(tmp_path / "a.tar") == everything(tmp_path / "folder") == FILES


def test_files_by_name_and_only_those(tmp_path):
    (tmp_path / "a.tar").write_bytes(ARCHIVES["gz"])
    assert read_files(tmp_path / "a.tar", ["a", "c"], LARGEST) == {"a": FILES["top/a"], "c": FILES["top/b/c"]}
    with pytest.raises(DataError, match=r"a\.tar: x and y missing"):
        read_files(tmp_path / "a.tar", ["a", "x", "y"], LARGEST)
    with pytest.raises(DataError, match="a missing"):
        read_files(tmp_path, ["a"], LARGEST)


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
    with pytest.raises(DataError, match=r"a\.tar: truncated or damaged"), explained(tmp_path / "a.tar"):
        read()


def member(name, kind=tarfile.REGTYPE, size=0, pax=None):
    """A member of an archive, with as many zeros as its header says, but a megabyte and a bit at most."""
    info = tarfile.TarInfo(name)
    info.type, info.size, info.pax_headers = kind, size, pax or {}
    form = tarfile.PAX_FORMAT if pax else tarfile.GNU_FORMAT
    return info.tobuf(form) + bytes(max(0, min(-(-size // 512) * 512, 1_100_000)))


def test_what_is_no_file_is_passed_over_whatever_its_name(tmp_path):
    folder = tmp_path / "folder"
    for name in ("a", ".hidden/a", "b/.a"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"1")
    (folder / "directory.a").mkdir()
    os.mkfifo(folder / "pipe")
    (folder / "nowhere").symlink_to(tmp_path / "nothing")
    (folder / "b" / "circle").symlink_to(folder / "b")
    assert everything(folder) == {"a": b"1"}
    links = [
        member(name, kind) for name, kind in (("l", tarfile.SYMTYPE), ("h", tarfile.LNKTYPE), ("f", tarfile.FIFOTYPE))
    ]
    others = [member("c", tarfile.CHRTYPE), member("d", tarfile.DIRTYPE), member("x", b"9", 700), member("")]
    content = b"".join([*links, *others, member(".hidden/a"), member("a")])
    (tmp_path / "a.tar").write_bytes(content + bytes(1024))
    assert everything(tmp_path / "a.tar") == {"a": b""}


@together(
    ("content", "reason"),
    [
        (member("a", size=LARGEST + 1), r"a\.tar: a: 5,001 bytes, but at most 5,000 are expected"),
        (member("a", size=2**60), "a: 1,152,921,504,606,846,976 bytes"),
        (member("a", size=-512), "a file of -512 bytes"),
        (member("a", tarfile.GNUTYPE_LONGNAME, size=2**20 + 1), "a name or attributes of 1,048,577 bytes"),
        (member("a", tarfile.XHDTYPE, size=2**40), "a name or attributes of"),
        (member("a", pax={"size": "-3"}), "a: -3 bytes"),
        (member("a", pax={"size": "-5000"}), "a: -5,000 bytes"),
        (
            member("a", pax={"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9" * 16}),
            "a.tar: ",
        ),
        (member("a" * 90, tarfile.GNUTYPE_LONGNAME, size=512) * 2_000, "truncated or damaged"),
    ],
    ids=["large", "huge", "negative", "name", "attributes", "pax size", "backwards", "sparse", "names of names"],
)
def test_an_archive_is_refused_before_what_its_headers_ask_for_is_read(tmp_path, content, reason):
    (tmp_path / "a.tar").write_bytes(content + bytes(1024))
    with pytest.raises(DataError, match=reason):
        everything(tmp_path / "a.tar")


def test_a_file_larger_than_expected_is_refused(tmp_path):
    (tmp_path / "a").write_bytes(bytes(LARGEST + 1))
    for read in (lambda: everything(tmp_path), lambda: read_files(tmp_path, ["a"], LARGEST)):
        with pytest.raises(DataError, match=f"{tmp_path / 'a'}: 5,001 bytes, but at most 5,000 are expected"):
            read()


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress])
@pytest.mark.parametrize("place", ["file", "end"])
def test_an_archive_that_grows_without_end_is_refused_in_time(tmp_path, monkeypatch, compress, place):
    monkeypatch.setattr(archives, "ALLOWANCE", 1 << 20)
    content = member("b", size=1_000) if place == "end" else b""
    zeros = bytes(1 << 22) if place == "end" else member("a", size=1 << 30) + bytes(1 << 22)
    (tmp_path / "a.tar").write_bytes(compress(content + zeros))
    with pytest.raises(DataError, match=r"a\.tar: unpacks to over 100 times its size"):
        list(walk_files(tmp_path / "a.tar", lambda parts: parts[-1] == "b", LARGEST))


def test_two_files_of_one_name_are_told_apart(tmp_path):
    (tmp_path / "a.tar").write_bytes(member("one/a") + member("two/a") + bytes(1024))
    with pytest.raises(DataError, match=r"a\.tar: has both one/a and two/a; keep only one of them"):
        read_files(tmp_path / "a.tar", ["a"], LARGEST)
