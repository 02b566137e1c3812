"""SST-2 in every form that it is handed on in."""

import gzip

import numpy as np
import pytest
from data.files import needs_data, real, zipped_glue
from together import together

from widebasin.data import DataError, read_sst2, read_sst2_sentences, sst2, sst2_sentences
from widebasin.data.places import Found
from widebasin.data.sst2 import find_sst2, find_sst2_sentences
from widebasin.workloads.language_baselines import tfidf_logistic_regression

EXAMPLES = {
    "train": [("a good film", 1), ("a bad film", 0), ("bad", 0)],
    "dev": [("a dull film", 0)],
    "test": [("good !", 1), ("a", 0)],
}
STSA = {part: "".join(f"{label} {text}\n" for text, label in some) for part, some in EXAMPLES.items()}
SENTENCES = (("a", "good", "film"), ("a", "bad", "film"), ("bad",), ("a", "dull", "film"), ("good", "!"), ("a",))
LABELS = [1, 0, 0, 0, 1, 0]


def tsv(columns, part):
    rows = [dict(zip(("sentence", "content", "label"), (t, t, str(label)), strict=True)) for t, label in EXAMPLES[part]]
    lines = [columns, *([row.get(column, "7") for column in columns] for row in rows)]
    return "".join("\t".join(line) + "\n" for line in lines)


def write(folder, **contents):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        path = folder / name.replace("__", ".")
        content = content.encode() if isinstance(content, str) else content
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return folder


def parts(**columns):
    return {f"{part}__tsv": tsv(columns.get(part, ["sentence", "label"]), part) for part in EXAMPLES}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("WIDEBASIN_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "sst2"


def test_phrases_become_numbers_and_keep_their_order(folder):
    write(folder, **parts())
    phrases = read_sst2(1)
    assert (phrases.sentences, phrases.labels.tolist(), phrases.sizes) == (SENTENCES, LABELS, (3, 1, 2))
    assert phrases.vocabulary.words == ("a", "bad", "film", "good")
    assert phrases.part("dev") == ((("a", "dull", "film"),), [0])
    assert phrases.part("test")[0] == SENTENCES[4:]
    data = sst2(1, 2)
    assert data.inputs.tolist() == [[2, 5], [2, 3], [3, 0], [2, 1], [5, 1], [2, 0]]
    assert (data.inputs.dtype, data.targets.dtype) == (np.int32, np.int32)
    assert (data.name, data.num_classes, data.fixed_valid, data.fixed_test) == ("SST-2", 2, 1, 2)
    assert read_sst2().vocabulary.words == ("a", "bad", "film")
    assert sst2().inputs.shape == (6, 60)
    assert read_sst2() is read_sst2()
    with pytest.raises(ValueError, match="name must be one of train, dev, test, got 'val'"):
        phrases.part("val")


@together(
    "columns",
    [["label", "content"], ["index", "sentence", "more", "label"], ["sentence", "label"]],
)
def test_columns_are_found_by_their_names(tmp_path_factory, columns):
    folder = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WIDEBASIN_DATA", str(folder))
        write(folder / "SST-2", **{f"{name}__gz": text for name, text in parts(dev=columns).items()})
        assert read_sst2(1).sentences == SENTENCES
        assert find_sst2() == Found(folder / "SST-2", "tsv files")


UNLABELLED = "index\tsentence\n0\tgood !\n1\ta\n"


def test_labels_to_test_on_come_from_the_file_beside_if_need_be(folder):
    write(folder / "SST-2", **parts() | {"test__tsv": UNLABELLED})
    reason = rf"\({folder}/SST-2 has no labels for the test sentences, .*: add stsa\.binary\.test from https:"
    with pytest.raises(DataError, match=reason):
        sst2()
    assert find_sst2() is None
    write(folder / "SST-2", stsa__binary__test__gz=STSA["test"])
    assert read_sst2(1).labels.tolist() == LABELS
    (folder / "SST-2" / "test.tsv").unlink()
    assert find_sst2() == Found(folder / "SST-2", "tsv files")


def test_the_archive_of_glue_is_read(folder):
    write(folder, **{"SST-2__zip": zipped_glue()})
    with pytest.raises(DataError, match="has no labels for the test sentences"):
        sst2()
    write(folder, stsa__binary__test="1 fine .\n")
    assert sst2(1, 4).inputs.tolist() == [[2, 4, 3, 0], [2, 1, 3, 0], [1, 1, 0, 0]]
    assert find_sst2() == Found(folder, "archive of GLUE")


@together(
    ("content", "message"),
    [
        (zipped_glue(dev=None), r"SST-2\.zip: SST-2/dev\.tsv is missing; download the archive again"),
        (zipped_glue(dev="sentence\tlabel\na\t2\n"), r"SST-2\.zip: SST-2/dev\.tsv: line 2 has the label '2'"),
        (zipped_glue()[:200], r"SST-2\.zip: not a zip archive, or damaged"),
        (zipped_glue().replace(b"PK\1\2", b"PK\1\3"), r"SST-2\.zip: not a zip archive, or damaged"),
    ],
    ids=["missing", "label", "truncated", "damaged"],
)
def test_damaged_archives_are_refused(tmp_path_factory, content, message):
    folder = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WIDEBASIN_DATA", str(folder))
        write(folder / "sst2", **{"SST-2__zip": content, "stsa__binary__test": "1 fine .\n"})
        with pytest.raises(DataError, match=message):
            sst2()


def test_whole_sentences_are_read(folder):
    with pytest.raises(DataError, match=r"SST-2 \(sentences\) was not found; put stsa\.binary\.train, .*\(searched"):
        sst2_sentences()
    write(folder, **{f"stsa__binary__{part}": text for part, text in STSA.items() if part != "dev"})
    with pytest.raises(DataError, match=rf"{folder} lacks stsa\.binary\.dev\), "):
        sst2_sentences()
    write(folder, stsa__binary__dev__gz=STSA["dev"])
    phrases = read_sst2_sentences(1)
    assert (phrases.sentences, phrases.labels.tolist(), phrases.sizes) == (SENTENCES, LABELS, (3, 1, 2))
    data = sst2_sentences(2, 3)
    assert (data.name, data.inputs.shape, data.fixed_test) == ("SST-2 (sentences)", (6, 3), 2)
    assert find_sst2_sentences() == Found(folder, "stsa files")


BAD = {
    "": "is empty; its first line must name the columns",
    "sentence\tlabel\n": "contains no sentences",
    "text\tlabel\na\t1\n": "the columns are 'text', 'label'; the first line must name sentence or content, and label",
    "sentence\tmark\na\t1\n": "the columns are 'sentence', 'mark'",
    "sentence\tcontent\tlabel\na\ta\t1\n": "the first line must name sentence or content, and label, once each",
    "sentence\tlabel\tlabel\na\t1\t1\n": "the first line must name sentence or content, and label, once each",
    "sentence\tlabel\na\t1\na 1\n": "line 3 has 1 columns, but the first line names 2; separate columns by",
    "sentence\tlabel\na\tb\t1\n": "line 2 has 3 columns",
    "sentence\tlabel\na\t1\n\nb\t0\n": "line 3 has 1 columns",
    "sentence\tlabel\na\t\n": "line 2 has the label '', which must be 0 or 1",
    "sentence\tlabel\na\t-1\n": "line 2 has the label '-1', which must be 0 or 1",
    "sentence\tlabel\n \t1\n": "line 2 contains no words; delete the line or get the file again",
    b"sentence\tlabel\ncr\xe8me\t1\n": "line 2 is not UTF-8 text",
}


@together("text", BAD)
def test_what_is_no_table_of_sentences_is_an_error_with_file_and_line(tmp_path_factory, text):
    folder = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WIDEBASIN_DATA", str(folder))
        write(folder / "sst2", **parts() | {"dev__tsv": text})
        with pytest.raises(DataError, match=BAD[text]) as error:
            sst2()
    assert f"{folder}/sst2/dev.tsv: " in str(error.value)


@together(
    ("text", "message"),
    [
        ("", "contains no sentences"),
        ("2 a\n", "line 1 has the label '2'"),
        ("1 a\n\n", "line 2 has the label ''"),
        ("1 a\n0\n", "line 2 contains no words"),
        ("1\ta\n", r"line 1 has the label '1\\ta', which must be 0 or 1"),
    ],
)
def test_what_is_no_file_of_labelled_sentences_is_an_error(tmp_path_factory, text, message):
    folder = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WIDEBASIN_DATA", str(folder))
        write(folder / "sst2", **{f"stsa__binary__{part}": one for part, one in (STSA | {"dev": text}).items()})
        with pytest.raises(DataError, match=message):
            sst2_sentences()


def test_a_part_that_is_missing_is_named_and_files_of_others_are_not_taken(folder, tmp_path):
    write(tmp_path, **parts())
    assert find_sst2() is None
    write(folder, **{name: text for name, text in parts().items() if not name.startswith("dev")})
    with pytest.raises(DataError, match=rf"\({folder} lacks dev\.tsv\), {tmp_path}"):
        sst2()


@pytest.mark.parametrize("kept", [2, 12, 30, -5])
def test_a_truncated_file_is_refused(folder, kept):
    write(folder, **{f"{name}__gz": text for name, text in parts().items()})
    path = folder / "test.tsv.gz"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(DataError, match=r"test\.tsv\.gz: "):
        sst2()


@needs_data
def test_the_real_sentences(monkeypatch, folder):
    monkeypatch.setenv("WIDEBASIN_DATA", str(real("sst2").parent))
    phrases = read_sst2_sentences()
    assert phrases.sizes == (6_920, 872, 1_821)
    data = sst2_sentences()
    assert data.inputs.shape == (9_613, 60)
    assert (data.inputs[:, -1] == 0).all()
    accuracy = tfidf_logistic_regression(*phrases.part("train"), *phrases.part("dev"))
    assert accuracy == pytest.approx(0.780, abs=0.01)


@needs_data
@pytest.mark.slow
def test_the_real_phrases(monkeypatch, folder):
    monkeypatch.setenv("WIDEBASIN_DATA", str(real("sst2").parent))
    phrases = read_sst2()
    assert (phrases.sizes, len(phrases.vocabulary)) == ((67_349, 872, 1_821), 14_311)
    assert sst2().inputs.shape == (70_042, 60)
    whole = read_sst2_sentences()
    for part in ("dev", "test"):
        assert phrases.part(part)[0] == whole.part(part)[0]
        np.testing.assert_array_equal(phrases.part(part)[1], whole.part(part)[1])
    assert not set(phrases.part("train")[0]) & set(phrases.part("dev")[0])
    accuracy = tfidf_logistic_regression(*phrases.part("train"), *phrases.part("dev"))
    assert accuracy == pytest.approx(0.800, abs=0.01)
