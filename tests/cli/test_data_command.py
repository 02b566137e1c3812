"""``widebasin data`` as it is used: list, fetch and check, with the exit codes and errors of it."""

import dataclasses
import hashlib
import io
import shutil

import numpy as np
import pytest
from data.files import needs_data, real, write_mnist
from data.server import Server
from rich.console import Console
from sweep.commands import widebasin
from together import together

from widebasin.data import DATASETS, DataError
from widebasin.data_command import CheckCommand, FetchCommand, ListCommand


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("WIDEBASIN_DATA", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return tmp_path / "own"


def arrays():
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (9, 28, 28), np.uint8)
    return images[:6], np.arange(6, dtype=np.uint8), images[6:], np.arange(3, dtype=np.uint8)


@pytest.fixture
def server(tmp_path, folder, monkeypatch):
    """Has the files of "mnist", small ones."""
    write_mnist(tmp_path / "home", *arrays())
    content = {path.name: path.read_bytes() for path in (tmp_path / "home").iterdir()}
    with Server(content) as server:
        files = tuple(
            dataclasses.replace(
                file, homes=(server.url,), checksum=f"sha256:{hashlib.sha256(content[file.name]).hexdigest()}"
            )
            for file in DATASETS["mnist"].files
        )
        monkeypatch.setitem(DATASETS, "mnist", dataclasses.replace(DATASETS["mnist"], files=files))
        yield server


def printed(command, **options):
    console = Console(file=io.StringIO(), width=400, **options)
    command.run(console)
    return console.file.getvalue()


@together("command", [(), ("list",), ("fetch",), ("check",)])
def test_help_shows_examples(command, here):
    text = here("data", *command, "--help").out
    assert f"widebasin data {' '.join(command)}" in text
    assert "xample" in text


def test_list_names_all_data_sets_and_where_they_are(folder):
    text = printed(ListCommand())
    assert all(f" {name} " in text for name in DATASETS)
    assert text.count("not here") == len(DATASETS)
    assert "28 x 28 x 1" in text
    assert "60,000 + 10,000" in text
    assert "170.1 MB" in text
    assert "67,349 + 872 + 1,821" in text
    write_mnist(folder / "mnist", *arrays())
    assert printed(ListCommand()).count("not here") == len(DATASETS) - 1


def test_a_folder_named_by_a_flag_is_looked_into_first(folder, tmp_path):
    write_mnist(tmp_path / "o" / "mnist", *arrays())
    assert f"{tmp_path / 'o' / 'mnist'} (idx files)" in printed(ListCommand(data_dir=tmp_path / "o"))


def test_fetch_says_what_came_and_where_it_is(folder, server):
    text = printed(FetchCommand(("mnist",)))
    assert text.count("-ubyte.gz: 0.0 MB") == 4
    assert f"MNIST is here: {folder / 'mnist'}" in text
    assert printed(FetchCommand(("mnist",))) == f"MNIST is here: {folder / 'mnist'}\n"
    assert len(server.requests) == 4


def test_fetch_shows_bars_on_a_terminal_and_nothing_if_quiet(tmp_path, server):
    text = printed(FetchCommand(("mnist",)), force_terminal=True)
    assert "train-images-idx3-ubyte.gz" in text
    assert "━" in text
    quiet = printed(FetchCommand(("mnist",), data_dir=tmp_path / "other", quiet=True))
    assert quiet == f"MNIST is here: {tmp_path / 'other' / 'mnist'}\n"
    assert len(server.requests) == 8


def test_fetch_fails_with_the_reason(server, folder):
    server.files.clear()
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz: 404"):
        printed(FetchCommand(("mnist",)))


def test_check_goes_on_after_a_broken_data_set_and_fails_at_the_end(folder):
    write_mnist(folder / "mnist", *arrays())
    write_mnist(folder / "fashion-mnist", *arrays())
    with pytest.raises(DataError) as error:
        printed(CheckCommand())
    first, named, _ = str(error.value).partition("; fashion-mnist: ")
    assert first.startswith("mnist: ")
    assert named
    assert "(6, 28, 28), but uint8 of shape (60000, 28, 28) is needed" in first


@together(
    ("arguments", "code", "said"),
    [
        (("check",), 1, "no data set is here"),
        (("check", "cifar10"), 1, "widebasin data fetch cifar10"),
        (("fetch", "imagenet"), 1, "https://image-net.org"),
        (("fetch", "fashon-mnist"), 2, "did you mean 'fashion-mnist'?"),
        (("fetch",), 2, "give at least one"),
        (("check", "mnist", "nonsense"), 2, "unknown"),
    ],
)
def test_a_mistake_is_explained_in_one_line(here, tmp_path, monkeypatch, arguments, code, said):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("WIDEBASIN_DATA", str(tmp_path / "none"))
    printed = here("data", *arguments, check=code)
    assert said in printed.err
    assert printed.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


@needs_data
def test_the_real_mnist_is_sound():
    done = widebasin("data", "check", "mnist", "--data-dir", real("mnist").parent, check=0)
    assert "MNIST: sound" in done.stdout
    assert "per class 5,421 to 6,742 to train and 892 to 1,135 to test on" in done.stdout


@needs_data
def test_a_real_file_with_one_wrong_bit_is_broken(tmp_path):
    folder = tmp_path / "mnist"
    folder.mkdir()
    for path in real("mnist").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    labels = folder / "t10k-labels-idx1-ubyte.gz"
    content = bytearray(labels.read_bytes())
    content[4] ^= 1  # The time in the header of gzip: the labels themselves remain as they are.
    labels.write_bytes(content)
    done = widebasin("data", "check", "mnist", "--data-dir", tmp_path, check=1)
    assert f"{labels}: does not have the published checksum md5:ec29112dd5afa0611ce80d1b7f02629c" in done.stderr
    assert "MNIST: broken" in done.stdout


def test_check_says_what_is_in_data_sets_that_are_no_images(folder):
    (folder / "ud" / "UD_English-LinES").mkdir(parents=True)
    for part in ("train", "dev", "test"):
        words = "1\tYes\t_\tINTJ" + "\t_" * 6 + "\n2\t!\t_" + "\t_" * 7 + "\n"
        (folder / "ud" / "UD_English-LinES" / f"en_lines-ud-{part}.conllu").write_text(words)
    where = folder / "ud" / "UD_English-LinES"
    assert printed(CheckCommand(("ud-english-lines",))) == (
        f"en_lines upos: sound ({where}, CoNLL-U files): 3 sentences, 6 words, 3 of them tagged; number of tags: 1\n"
    )
    assert f"{where} (CoNLL-U files)" in printed(ListCommand())
    broken = shutil.copytree(where, folder / "ud" / "UD_English-ParTUT")
    for part in ("train", "dev", "test"):
        (broken / f"en_lines-ud-{part}.conllu").rename(broken / f"en_partut-ud-{part}.conllu")
    (broken / "en_partut-ud-dev.conllu").write_text("1\tYes\n")
    with pytest.raises(DataError, match=r"^ud-english-partut: .*en_partut-ud-dev\.conllu: line 1 has 2 columns"):
        printed(CheckCommand())


def test_names_of_data_sets_stay_whole_on_a_narrow_terminal(folder):
    console = Console(file=io.StringIO(), width=100)
    ListCommand().run(console)
    assert all(f" {name} " in console.file.getvalue() for name in DATASETS)
