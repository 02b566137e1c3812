import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pytest
from data.files import needs_data, real, write_binary, write_mnist, write_tar, zipped_glue
from data.server import Server

from widebasin.data import DATASETS, DataError, Dataset
from widebasin.data.catalogue import ImageCounts, PublishedFile, parts
from widebasin.data.cifar import CIFAR10
from widebasin.data.places import Found, folders_of

SMALL = dataclasses.replace(CIFAR10, examples=(20, 10))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("WIDEBASIN_DATA", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return tmp_path / "own"


def mnist_arrays():
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (9, 28, 28), np.uint8)
    return images[:6], np.arange(6, dtype=np.uint8), images[6:], np.arange(3, dtype=np.uint8)


@pytest.fixture
def served(tmp_path, folder):
    """The MNIST source with small files of a server on this machine, and the server."""
    write_mnist(tmp_path / "home", *mnist_arrays())
    content = {path.name: path.read_bytes() for path in (tmp_path / "home").iterdir()}
    with Server(content) as server:
        files = tuple(
            dataclasses.replace(
                file, homes=(server.url,), checksum=f"sha256:{hashlib.sha256(content[file.name]).hexdigest()}"
            )
            for file in DATASETS["mnist"].files
        )
        yield dataclasses.replace(DATASETS["mnist"], files=files), server


@pytest.mark.parametrize("name", DATASETS)
def test_sources_agree_with_themselves(name):
    source = DATASETS[name]
    assert source.name == name
    assert len(source.examples) in (2, 3)
    assert bool(source.files) != bool(source.obtain)
    if source.images:
        assert source.shape == " x ".join(map(str, source.inspect.shape))
        published = source.inspect.published
        assert published is None or tuple(map(sum, published)) == source.examples
        assert published is None or [len(counts) for counts in published] == [source.inspect.num_classes] * 2
    for file in source.files:
        algorithm, digest = file.checksum.split(":")
        assert len(bytes.fromhex(digest)) == {"md5": 16, "sha256": 32}[algorithm]
        assert all(url.startswith("http") and url.endswith(f"/{file.name}") for url in file.urls)
        assert file.size > 0


def test_what_is_fetched_is_found_and_is_not_fetched_again(folder, served):
    source, server = served
    assert source.find() is None
    found = source.fetch()
    assert found == source.find() == Found(folder / "mnist", "idx files")
    assert len(server.requests) == 4
    assert source.fetch() == found
    assert len(server.requests) == 4
    (folder / "mnist" / "t10k-labels-idx1-ubyte.gz").unlink()
    assert source.fetch() == found
    assert [name for name, _ in server.requests[4:]] == ["t10k-labels-idx1-ubyte.gz"]


def test_what_was_half_fetched_and_has_come_otherwise_leaves_nothing_in_any_folder(folder, served, tmp_path):
    """Put into the data folder by hand, after an interrupted download into the cache."""
    source, server = served
    cached = tmp_path / "cache" / "widebasin" / "data" / "mnist"
    cached.mkdir(parents=True)
    for there in (cached, folder / "mnist"):
        write_mnist(folder / "mnist", *mnist_arrays())
        (there / f"{source.files[0].name}.partial").write_bytes(b"some")
        assert source.fetch() == Found(folder / "mnist", "idx files")
    assert server.requests == []
    assert list(tmp_path.rglob("*.partial")) == []


@pytest.mark.parametrize(
    ("name", "home"),
    [
        ("imagenet", "image-net.org"),
        ("imagenette", "github.com/fastai"),
        ("ud-english-lines", "github.com/UniversalDependencies/UD_English-LinES and put them into a folder ud/UD_Engl"),
    ],
)
def test_what_cannot_be_downloaded_says_where_to_get_it(folder, name, home):
    with pytest.raises(DataError, match=f"cannot be downloaded by this program: .*https://{home}"):
        DATASETS[name].fetch()
    if not DATASETS[name].images:
        return
    for part in ("train", "val"):
        (folder / name / part / "n01440764").mkdir(parents=True)
    assert DATASETS[name].fetch() == Found(folder / name, "class folders")


@needs_data
def test_the_real_image_files_are_found_and_counted(folder, monkeypatch):
    monkeypatch.setenv("WIDEBASIN_DATA", str(real("imagenette").parent))
    data, found, contents = DATASETS["imagenette"].check()
    assert found.kind == "tar archive"
    assert contents.startswith("1,500 files, not opened; per class 100 to train")
    assert [np.bincount(labels).tolist() for labels in parts(data)] == [[100] * 10, [50] * 10]


def test_a_damaged_file_is_named_and_fetched_again(folder, served):
    source, server = served
    found = source.fetch()
    path = folder / "mnist" / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-1])
    assert source.damaged(found) == [f"{path}: does not have the published checksum {source.files[2].checksum}"]
    source.fetch()
    assert source.damaged(found) == []
    assert len(server.requests) == 5


def test_without_a_data_folder_downloads_go_to_the_cache(served, monkeypatch, tmp_path):
    monkeypatch.delenv("WIDEBASIN_DATA")
    source, _ = served
    assert source.fetch().path == tmp_path / "cache" / "widebasin" / "data" / "mnist" == folders_of("mnist")[0]


def test_what_is_in_the_cache_is_not_fetched_into_a_data_folder(folder, served, tmp_path):
    source, server = served
    cached = tmp_path / "cache" / "widebasin" / "data" / "mnist"
    write_mnist(cached, *mnist_arrays(), gzipped=False)
    assert source.fetch().path == cached
    assert server.requests == []


def test_images_in_class_folders_may_be_lossy_and_are_no_reason_not_to_fetch(folder):
    (folder / "cifar10" / "train").mkdir(parents=True)
    (folder / "cifar10" / "test").mkdir()
    source = DATASETS["cifar10"]
    assert source.find() == Found(folder / "cifar10", "class folders")
    content = b"batches"
    with Server({"cifar-10-binary.tar.gz": content}) as server:
        (file,) = source.files
        file = dataclasses.replace(file, homes=(server.url,), checksum=f"md5:{hashlib.md5(content).hexdigest()}")
        found = dataclasses.replace(source, files=(file,)).fetch()
    assert found == Found(folder / "cifar10" / "cifar-10-binary.tar.gz", "binary batches")


def test_an_archive_is_compared_with_its_published_checksum(folder, tmp_path):
    arrays = (
        np.zeros((20, 32, 32, 3), np.uint8),
        np.zeros(20, int),
        np.zeros((10, 32, 32, 3), np.uint8),
        np.zeros(10, int),
    )
    batches = write_binary(SMALL, folder / "cifar10" / "cifar-10-batches-bin", *arrays)
    source = DATASETS["cifar10"]
    assert source.damaged(source.find()) == []
    archive = write_tar(folder / "cifar10" / "cifar-10-binary.tar.gz", batches)
    assert source.damaged(Found(archive, "binary batches")) == [
        f"{archive}: does not have the published checksum {source.files[0].checksum}"
    ]


def source_of(targets, shape=(2, 2, 1), fixed_test=3):
    """A source of nine examples in three classes that loads these targets."""
    data = Dataset("small", np.zeros((len(targets), *shape), np.uint8), np.asarray(targets, np.int32), 3, fixed_test)
    return dataclasses.replace(
        DATASETS["mnist"],
        load=lambda: data,
        find=lambda: Found(Path("nowhere"), "idx files"),
        inspect=ImageCounts((2, 2, 1), 3, ((2, 2, 2), (1, 1, 1))),
    )


def test_a_sound_data_set_is_given_back():
    data, found, contents = source_of([0, 0, 1, 1, 2, 2, 0, 1, 2]).check()
    assert (data.name, found.path.name) == ("small", "nowhere")
    assert contents == "9 examples of shape 2 x 2 x 1; per class 2 to train and 1 to test on"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (source_of([0, 0, 1, 1, 1, 2, 0, 1, 2]), "3 train examples of class 1, where 2 are published"),
        (source_of([0, 0, 1, 1, 2, 2, 0, 2, 2]), "0 test examples of class 1, where 1 are published"),
        (source_of([0, 0, 1, 1, 2, 2, 0, 1, 2], shape=(2, 3, 1)), r"inputs have shape \(9, 2, 3, 1\)"),
        (source_of([0, 0, 1, 1, 2, 2, 0, 1, 2], fixed_test=2), "3 train examples of class 0"),
    ],
)
def test_numbers_that_are_not_the_published_ones_are_said(source, reason):
    with pytest.raises(DataError, match=f"nowhere: {reason}"):
        source.check()


@needs_data
def test_the_real_files_have_the_published_checksums_and_sizes():
    source = DATASETS["mnist"]
    folder = real("mnist")
    assert source.damaged(Found(folder, "idx files")) == []
    assert [(folder / file.name).stat().st_size for file in source.files] == [file.size for file in source.files]


@needs_data
def test_the_real_mnist_is_downloaded_from_its_second_home_and_sound(folder):
    content = {path.name: path.read_bytes() for path in real("mnist").iterdir()}
    with Server(content) as server:
        server.drops = [3_000_000, 5_000_000]
        files = tuple(
            dataclasses.replace(file, homes=(f"{server.url}none/", server.url)) for file in DATASETS["mnist"].files
        )
        source = dataclasses.replace(DATASETS["mnist"], files=files)
        source.fetch()
        data, found, _ = source.check()
    assert found == Found(folder / "mnist", "idx files")
    assert data.name == "MNIST"
    assert server.served < sum(map(len, content.values())) + 4 * 65_536


@needs_data
@pytest.mark.slow
def test_the_real_sentences_are_found_and_counted(folder, monkeypatch):
    monkeypatch.setenv("WIDEBASIN_DATA", str(real("sst2").parent))
    data, found, contents = DATASETS["sst2"].check()
    assert (data.name, found) == ("SST-2", Found(real("sst2"), "tsv files"))
    assert contents.startswith("67,349 phrases to train, 872 sentences to validate and 1,821 to test on; in favour are")
    one_less = dataclasses.replace(
        data, inputs=data.inputs[:-1], targets=data.targets[:-1], fixed_test=data.fixed_test - 1
    )
    with pytest.raises(DataError, match="70,041 phrases and sentences, 1,820 of them to test on, where 70,042 and"):
        dataclasses.replace(DATASETS["sst2"], load=lambda: one_less).check()


@needs_data
def test_the_real_treebanks_are_found_and_counted(folder, monkeypatch):
    monkeypatch.setenv("WIDEBASIN_DATA", str(real("ud").parent))
    _, _, contents = DATASETS["ud-english-partut"].check()
    assert contents == "2,090 sentences, 49,634 words, 49,634 of them tagged; number of tags: 17"
    for name in ("ud-english-lines", "ud-english-partut"):
        assert len(DATASETS[name].load()) == sum(DATASETS[name].examples)


def test_sst2_is_fetched_from_its_homes_and_read(folder):
    content = {"SST-2.zip": zipped_glue(), "stsa.binary.test": b"1 fine .\n"}
    with Server(content) as server:
        files = tuple(
            PublishedFile(name, (server.url,), f"sha256:{hashlib.sha256(one).hexdigest()}", len(one))
            for name, one in content.items()
        )
        source = dataclasses.replace(DATASETS["sst2"], files=files)
        assert source.fetch() == Found(folder / "sst2", "archive of GLUE")
        source.fetch()
        assert len(server.requests) == 2
    assert source.load().targets.tolist() == [1, 0, 1]
    (folder / "sst2" / "stsa.binary.test").write_bytes(b"0 fine .\n")
    (damaged,) = source.damaged(source.find())
    assert "stsa.binary.test: does not have the published checksum" in damaged
