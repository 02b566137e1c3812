import hashlib
import socket
import threading

import numpy as np
import pytest
from data.server import Server
from filelock import FileLock

from widebasin.data import DataError
from widebasin.data import download as module
from widebasin.data.download import discard_partial, download, has_checksum

# Larger than several chunks, and no power of two.
CONTENT = np.random.default_rng(0).bytes(300_001)
MD5 = f"md5:{hashlib.md5(CONTENT).hexdigest()}"
LOCK = ".download.lock"


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server({"file.gz": CONTENT, "other.gz": CONTENT[::-1]}) as server:
        yield server


@pytest.fixture
def target(tmp_path):
    return tmp_path / "new" / "file.gz"


def fetch(server, target, *, urls=None, checksum=MD5, **options):
    download(urls or [f"{server.url}file.gz"], checksum, target, **{"wait": 0.001, **options})
    assert target.read_bytes() == CONTENT
    assert {path.name for path in target.parent.iterdir()} <= {"file.gz", LOCK}


def interrupt_at(size):
    def report(name, done, total):
        if done > size:
            raise KeyboardInterrupt

    return report


def nothing_left(target):
    return {path.name for path in target.parent.iterdir()} <= {LOCK}


@pytest.mark.parametrize("checksum", [MD5, f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"])
def test_a_file_arrives_whole_and_says_how_far_it_is(server, target, checksum):
    reports = []
    fetch(server, target, checksum=checksum, report=lambda *report: reports.append(report))
    done = [done for _, done, _ in reports]
    assert done == sorted(done)
    assert reports[-1] == ("file.gz", len(CONTENT), len(CONTENT))
    assert {name for name, _, _ in reports} == {"file.gz"}
    assert server.requests == [("file.gz", None)]


def test_a_connection_that_breaks_off_is_taken_up_where_it_was(server, target):
    server.drops = [140_000, 100_000]
    reports = []
    fetch(server, target, report=lambda *report: reports.append(report))
    starts = [int(asked.removeprefix("bytes=").removesuffix("-")) for _, asked in server.requests[1:]]
    assert 0 < starts[0] <= 140_000 < starts[1] < len(CONTENT)
    # At most a chunk is asked for twice each time.
    assert server.served <= len(CONTENT) + 2 * module.CHUNK
    assert reports[-1][1:] == (len(CONTENT), len(CONTENT))


def test_an_earlier_download_is_continued(server, target):
    with pytest.raises(KeyboardInterrupt):
        fetch(server, target, report=interrupt_at(120_000))
    partial = target.with_name("file.gz.partial")
    size = partial.stat().st_size
    assert partial.read_bytes() == CONTENT[:size]
    assert not target.exists()
    fetch(server, target)
    assert server.requests[-1] == ("file.gz", f"bytes={size}-")


def test_a_server_that_cannot_start_in_the_middle_starts_anew(server, target):
    server.ranges, server.drops = False, [140_000]
    reports = []
    fetch(server, target, report=lambda *report: reports.append(report))
    assert server.served == 140_000 + len(CONTENT)
    assert reports[-1][1:] == (len(CONTENT), len(CONTENT))


def test_a_file_is_not_compressed_on_the_way(server, target):
    """Compressed, it would have another size than announced, and no places to go on from."""
    server.compresses, server.drops = True, [140_000]
    reports = []
    fetch(server, target, report=lambda *report: reports.append(report))
    assert {total for _, _, total in reports} == {len(CONTENT)}


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize(
    "before",
    [b"x" * 1000, CONTENT[:1000] + b"x", CONTENT + b"x", b"x" * len(CONTENT)],
    ids=["wrong", "wrong at the end", "too long", "of the right length"],
)
def test_wrong_bytes_of_an_earlier_download_are_thrown_away(server, target, before, ranges):
    server.ranges = ranges
    target.parent.mkdir()
    target.with_name("file.gz.partial").write_bytes(before)
    fetch(server, target)


def test_a_complete_earlier_download_needs_no_server(server, target):
    target.parent.mkdir()
    target.with_name("file.gz.partial").write_bytes(CONTENT)
    fetch(server, target)
    assert server.requests == []


def test_an_answer_from_elsewhere_in_the_file_is_not_appended(server, target):
    target.parent.mkdir()
    target.with_name("file.gz.partial").write_bytes(CONTENT[:1000])
    server.range_error = 7
    with pytest.raises(DataError, match="answers with bytes 1007-"):
        fetch(server, target)
    assert target.with_name("file.gz.partial").read_bytes() == CONTENT[:1000]


def test_a_wrong_file_is_refused_and_nothing_is_left(server, target):
    with pytest.raises(DataError, match=f"does not have the checksum {MD5}") as error:
        fetch(server, target, urls=[f"{server.url}other.gz"])
    assert str(target) in str(error.value)
    assert f"{server.url}other.gz" in str(error.value)
    assert nothing_left(target)
    assert len(server.requests) == 1


def test_a_wrong_file_does_not_take_the_place_of_an_older_one(server, target):
    target.parent.mkdir()
    target.write_bytes(b"old")
    with pytest.raises(DataError):
        fetch(server, target, urls=[f"{server.url}other.gz"])
    assert target.read_bytes() == b"old"
    fetch(server, target)


def test_the_next_home_is_asked_if_one_has_it_not_or_wrong(server, target):
    fetch(server, target, urls=[f"{server.url}{name}" for name in ("none.gz", "other.gz", "file.gz")])
    assert [name for name, _ in server.requests] == ["none.gz", "other.gz", "file.gz"]


def test_the_next_home_continues_what_the_first_began(server, target):
    server.drops = [140_000]
    server.files["mirror.gz"] = CONTENT
    fetch(server, target, urls=[f"{server.url}file.gz", f"{server.url}mirror.gz"])
    assert [name for name, _ in server.requests] == ["file.gz", "mirror.gz"]
    assert server.requests[1][1] is not None


def test_a_missing_file_is_asked_for_once(server, target):
    with pytest.raises(DataError, match=r"none\.gz: 404 Client Error: Not Found") as error:
        fetch(server, target, urls=[f"{server.url}none.gz"])
    assert str(error.value).count("none.gz") == 1
    assert len(server.requests) == 1
    assert nothing_left(target)


def test_a_server_in_trouble_is_asked_again(server, target):
    server.statuses = [503, 500, 429]
    fetch(server, target)
    assert len(server.requests) == 4


def test_tries_are_limited(server, target):
    server.statuses = [503] * 9
    with pytest.raises(DataError, match="503"):
        fetch(server, target, tries=3)
    assert len(server.requests) == 3


def test_a_connection_that_never_brings_more_is_given_up(server, target):
    server.ranges, server.drops = False, [140_000] * 9
    with pytest.raises(DataError, match="the connection was lost"):
        fetch(server, target, tries=3)
    assert len(server.requests) == 4
    assert not target.exists()


def test_a_refused_connection_is_said(tmp_path, monkeypatch, target):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/file.gz"
        with pytest.raises(DataError, match=f"{url}: no connection"):
            download([url], MD5, target, tries=2, wait=0.001)
    assert nothing_left(target)


def test_a_server_that_says_nothing_is_left(monkeypatch, target):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(module, "TIMEOUT", (1, 0.05))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/file.gz"
        with pytest.raises(DataError, match="no answer in time"):
            download([url], MD5, target, tries=1)


def test_a_folder_that_cannot_be_written_is_said(server, tmp_path):
    (tmp_path / "file").write_text("where a folder should be")
    with pytest.raises(DataError, match=r"cannot be written .*WIDEBASIN_DATA"):
        fetch(server, tmp_path / "file" / "file.gz")
    assert server.requests == []


def test_two_downloads_at_once_do_not_disturb_each_other(server, target):
    errors = []

    def one():
        try:
            download([f"{server.url}file.gz"], MD5, target, wait=0.001)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=one) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert target.read_bytes() == CONTENT
    assert len(server.requests) == 1


def test_a_file_that_is_there_is_not_downloaded_again(server, target):
    fetch(server, target)
    fetch(server, target)
    assert len(server.requests) == 1


def test_what_is_left_of_a_download_goes_when_the_file_has_come_otherwise(server, target):
    target.parent.mkdir()
    target.write_bytes(CONTENT)
    target.with_name("file.gz.partial").write_bytes(CONTENT[:1000])
    fetch(server, target)
    assert server.requests == []


def test_what_is_left_is_discarded_unless_a_download_is_under_way(target):
    discard_partial(target)
    assert not target.parent.exists()
    partial = target.with_name("file.gz.partial")
    target.parent.mkdir()
    partial.write_bytes(b"some")
    with FileLock(target.parent / LOCK):
        discard_partial(target)
    assert partial.read_bytes() == b"some"
    discard_partial(target)
    assert nothing_left(target)


def test_checksums(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert has_checksum(tmp_path / "a", "md5:900150983cd24fb0d6963f7d28e17f72")
    assert not has_checksum(tmp_path / "a", "md5:900150983cd24fb0d6963f7d28e17f73")
