"""Treebanks: where they are found, and what a network is given of them."""

import dataclasses
import gzip

import numpy as np
import pytest
from data.files import needs_data, real
from together import together

from widebasin.data import DataError, read_conllu, treebank
from widebasin.data.places import Found
from widebasin.data.treebanks import find_treebank
from widebasin.workloads.language_baselines import majority_tag, majority_tag_with_suffixes

TRAIN = [[("The", "DET"), ("dogs", "NOUN"), ("bark", "VERB")], [("dogs", "NOUN"), ("bark", None), ("loudly", "ADV")]]
DEV = [[("cats", "NOUN"), ("!", "PUNCT")]]
TEST = [[("The", "DET"), ("hedgehogs", "NOUN"), ("say", "VERB"), ("oh", "INTJ"), ("oh", "INTJ")]]


def conllu(sentences):
    return "\n\n".join(
        "\n".join(
            f"{number}\t{word}\t_\t{tag or '_'}\t" + "\t".join("______") for number, (word, tag) in enumerate(one, 1)
        )
        for one in sentences
    )


def write_treebank(folder, code="en_toy", zipped=False, **parts):
    folder.mkdir(parents=True, exist_ok=True)
    for part, sentences in ({"train": TRAIN, "dev": DEV, "test": TEST} | parts).items():
        content = conllu(sentences).encode()
        path = folder / f"{code}-ud-{part}.conllu"
        if zipped:
            path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(content))
        else:
            path.write_bytes(content)
    return folder


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("WIDEBASIN_DATA", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "own"


def test_words_suffixes_and_tags_become_numbers(folder):
    write_treebank(folder / "ud" / "UD_English-Toy")
    found = treebank("UD_English-Toy", minimum_frequency=1)
    assert found.name == found.dataset.name == "en_toy upos"
    assert found.words.words == ("bark", "dogs", "The", "loudly")
    assert found.suffixes.words == ("ark", "ogs", "dly", "the")
    assert (found.tags, found.unseen, found.cut) == (("ADV", "DET", "NOUN", "VERB"), ("INTJ", "PUNCT"), (0, 0, 0))
    data = found.dataset
    assert data.inputs["words"].tolist() == [
        [4, 3, 2, 0, 0],
        [3, 2, 5, 0, 0],
        [1, 1, 0, 0, 0],
        [4, 1, 1, 1, 1],
    ]
    assert data.inputs["suffixes"].tolist() == [
        [5, 3, 2, 0, 0],
        [3, 2, 4, 0, 0],
        [1, 1, 0, 0, 0],
        [5, 3, 1, 1, 1],
    ]
    assert data.targets.tolist() == [
        [1, 2, 3, -1, -1],
        [2, -1, 0, -1, -1],
        [2, 4, -1, -1, -1],
        [1, 2, 3, 4, 4],
    ]
    assert {array.dtype for array in (*data.inputs.values(), data.targets)} == {np.dtype(np.int32)}
    assert (len(found.train), len(found.dev), len(found.test), found.train.missing) == (2, 1, 1, 1)
    assert (data.num_classes, data.fixed_valid, data.fixed_test) == (5, 1, 1)
    assert data.training_classes == 4


def test_files_that_changed_are_read_again(folder):
    place = write_treebank(folder / "en_toy")
    first = treebank(str(place))
    assert treebank(str(place)) is first
    changed = place / "en_toy-ud-train.conllu"
    changed.write_bytes(changed.read_bytes().replace(b"NOUN", b"PROPN"))
    assert treebank(str(place)).tags == tuple("PROPN" if tag == "NOUN" else tag for tag in first.tags)


def test_rare_words_are_unknown_and_long_sentences_are_cut(folder):
    write_treebank(folder / "ud" / "UD_English-Toy")
    found = treebank("en_toy", length=2, suffix=2)
    assert found.words.words == ("bark", "dogs")
    assert found.suffixes.words == ("gs", "rk")
    assert found.dataset.inputs["words"].tolist() == [[1, 3], [3, 2], [1, 1], [1, 1]]
    assert found.dataset.targets.tolist() == [[1, 2], [2, -1], [2, 4], [1, 2]]
    assert found.cut == (2, 0, 3)
    assert found.test.tokens == 5


def test_without_unseen_tags_there_are_as_many_classes_as_tags(folder):
    write_treebank(folder / "ud" / "UD_English-Toy", dev=TRAIN, test=TRAIN)
    found = treebank("en_toy")
    assert (found.unseen, found.dataset.num_classes, found.dataset.training_classes) == ((), 4, None)


@together(
    ("place", "name"),
    [
        ("own/ud/UD_A-One", "UD_A-One"),
        ("own/ud/UD_A-Two", "a_two"),
        ("own/UD_A-Three", "UD_A-Three"),
        ("own/UD_A-Four", "a_four"),
        ("own/ud", "a_five"),
        ("own", "a_six"),
        ("cache/widebasin/data/ud/UD_A-Seven", "UD_A-Seven"),
        ("elsewhere/mine", "elsewhere/mine"),
        ("here", "here"),
    ],
)
def test_a_treebank_is_found_by_folder_code_or_path(folder, tmp_path, place, name):
    code = name if name.startswith("a_") else "xx_" + name.rpartition("/")[2].lower().replace("-", "_")
    write_treebank(tmp_path / place, code, zipped=name == "a_two")
    found = find_treebank(name)
    assert (found.path.resolve(), found.kind) == (tmp_path / place, "CoNLL-U files")
    assert treebank(name).name == f"{code} upos"


def test_words_beyond_the_length_are_counted_aloud(folder, caplog):
    there = write_treebank(folder / "ud" / "UD_English-Toy")
    treebank("en_toy", length=4)
    assert "read up to 4 words; left out are 0 words of training, 0 of validation and 1 of test" in caplog.text
    with pytest.raises(DataError, match="is a file; give the folder of the treebank"):
        treebank(str(there / "en_toy-ud-train.conllu"))


def test_what_is_missing_is_said(folder):
    with pytest.raises(DataError, match=r"the treebank en_toy was not found; put its folder, .* there: none\)"):
        treebank("en_toy")
    there = write_treebank(folder / "ud" / "UD_English-Toy")
    with pytest.raises(DataError, match=rf"searched {folder}/ud, .*; treebanks there: UD_English-Toy\)"):
        treebank("UD_English-Other")
    (there / "en_toy-ud-train.conllu").unlink()
    assert find_treebank("en_toy") is None
    with pytest.raises(
        DataError, match=r"UD_English-Toy: en_toy-ud-train\.conllu missing; training, validation and test"
    ):
        treebank("en_toy")
    write_treebank(there, "en_other")
    with pytest.raises(DataError, match="UD_English-Toy: contains several treebanks, en_other, en_toy; move each into"):
        treebank("UD_English-Toy")
    assert treebank("en_other").name == "en_other upos"
    (folder / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty: contains no file \*-ud-train.conllu"):
        treebank(str(folder / "empty"))


def test_a_column_without_tags_and_a_damaged_file_are_refused(folder):
    there = write_treebank(folder / "ud" / "UD_English-Toy")
    with pytest.raises(DataError, match=r"en_toy-ud-train\.conllu: no word has a tag in the column xpos"):
        treebank("en_toy", "xpos")
    for part in ("dev", "test"):
        write_treebank(there)
        (there / f"en_toy-ud-{part}.conllu").write_text(conllu([[("cats", None)]]))
        with pytest.raises(DataError, match=rf"en_toy-ud-{part}\.conllu: no word has a tag in the column upos; choose"):
            treebank("en_toy")
    (there / "en_toy-ud-dev.conllu").write_text("1\ta\n")
    with pytest.raises(DataError, match=r"en_toy-ud-dev\.conllu: line 1 has 2 columns"):
        treebank("en_toy")


@together(
    ("changes", "message"),
    [
        ({"name": ""}, "name must be the name of a treebank"),
        ({"column": "head"}, "column must be one of upos, xpos, deprel, feats, got 'head'"),
        ({"minimum_frequency": 0}, "minimum_frequency must be at least 1, got 0"),
        ({"length": 0}, "length must be at least 1, got 0"),
        ({"suffix": 0}, "suffix must be at least 1, got 0"),
    ],
)
def test_arguments_that_cannot_be_are_refused(folder, changes, message):
    with pytest.raises(ValueError, match=message):
        treebank(**{"name": "en_toy"} | changes)


@needs_data
@together(
    ("name", "column", "word", "suffix"),
    [
        ("UD_English-LinES", "upos", 88.4, 90.0),
        ("en_partut", "upos", 86.0, 88.3),
        # Where the file gives no tag, the word does not count.
        ("en_lines", "xpos", 85.4, 88.2),
    ],
)
def test_the_real_treebanks_and_their_baselines(folder, monkeypatch, name, column, word, suffix):
    monkeypatch.setenv("WIDEBASIN_DATA", str(real("ud").parent))
    found = treebank(name, column)
    assert 100 * majority_tag(found.train, found.dev) == pytest.approx(word, abs=0.2)
    assert 100 * majority_tag_with_suffixes(found.train, found.dev) == pytest.approx(suffix, abs=0.2)
    assert found.dataset.targets.max() < found.dataset.num_classes == len(found.tags) + bool(found.unseen)
    tokens = found.train.tokens + found.dev.tokens + found.test.tokens
    assert (found.dataset.inputs["words"] > 0).sum() == tokens
    missing = found.train.missing + found.dev.missing + found.test.missing
    assert (found.dataset.targets >= 0).sum() == tokens - missing


@needs_data
def test_where_no_tag_is_itself_a_tag_the_baselines_are_as_usually_given(folder, monkeypatch):
    monkeypatch.setenv("WIDEBASIN_DATA", str(real("ud").parent))
    found = treebank("en_lines", "xpos")
    train, dev = (
        dataclasses.replace(part, tags=tuple(tuple(tag or "_" for tag in tags) for tags in part.tags))
        for part in (found.train, found.dev)
    )
    assert 100 * majority_tag(train, dev) == pytest.approx(84.0, abs=0.2)
    assert 100 * majority_tag_with_suffixes(train, dev) == pytest.approx(89.0, abs=0.2)


@needs_data
def test_the_real_treebank_without_training_data(folder, monkeypatch):
    there = real("ud") / "UD_Ancient_Greek-Perseus"
    monkeypatch.setenv("WIDEBASIN_DATA", str(real("ud").parent))
    with pytest.raises(DataError, match=r"grc_perseus-ud-train\.conllu missing"):
        treebank("UD_Ancient_Greek-Perseus")
    dev, test = (read_conllu(there / f"grc_perseus-ud-{part}.conllu.gz", "xpos") for part in ("dev", "test"))
    assert 100 * majority_tag(dev, test) == pytest.approx(59.0, abs=0.2)
    assert 100 * majority_tag_with_suffixes(dev, test) == pytest.approx(70.1, abs=0.2)


def test_where_a_treebank_is(folder):
    there = write_treebank(folder / "ud" / "UD_English-Toy")
    assert find_treebank("UD_English-Toy") == Found(there, "CoNLL-U files")
    assert find_treebank("UD_English-Other") is None
