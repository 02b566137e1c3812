"""Pretrained embeddings of words, from npz and from safetensors files."""

import json

import numpy as np
import pytest
from data.files import safetensors_bytes
from together import together

from widebasin.data import DataError, Vocabulary, embeddings

VOCABULARY = Vocabulary(("film", "good", "xyzzy", "."))
WORDS = ["good", "bad", ".", "film", "good"]
VECTORS = np.arange(10, dtype=np.float32).reshape(5, 2) + 1
# Padding and unknown words first.
EXPECTED = [[0, 0], [0, 0], [7, 8], [1, 2], [0, 0], [5, 6]]


def write_npz(path, **changes):
    arrays = {"words": np.array(WORDS), "vectors": VECTORS} | changes
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


def write_safetensors(path, **tensors):
    path.write_bytes(safetensors_bytes(tensors or {"embedding.weight": ("F32", VECTORS)}))
    return path


def write_json(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


@together("dtype", [np.float16, np.float32, np.float64])
def test_words_get_their_vectors_from_an_npz_file(tmp_path, dtype):
    found, number = embeddings(write_npz(tmp_path / "e.npz", vectors=VECTORS.astype(dtype)), VOCABULARY)
    assert (found.dtype, found.tolist(), number) == (np.float32, EXPECTED, 3)


@together("kind", ["F16", "F32", "F64", "BF16"])
def test_words_get_their_vectors_from_a_safetensors_file(tmp_path, kind):
    upper = (VECTORS.view(np.uint32) >> 16).astype("<u2")
    array = upper if kind == "BF16" else VECTORS.astype(f"<f{int(kind[1:]) // 8}")
    path = write_safetensors(tmp_path / "e.safetensors", bias=("F32", np.zeros(3, "<f4")), weight=(kind, array))
    (tmp_path / "e.txt").write_text("\n".join(WORDS) + "\n")
    found, number = embeddings(path, VOCABULARY)
    assert (found.dtype, found.tolist(), number) == (np.float32, EXPECTED, 3)
    elsewhere = tmp_path / "words.list"
    elsewhere.write_text("\n".join(WORDS[::-1]))
    assert embeddings(path, VOCABULARY, elsewhere)[0].tolist() == [[0, 0]] * 2 + [[3, 4], [1, 2], [0, 0], [5, 6]]


@together(
    "pieces",
    [
        {"good": 0, "bad": 1, ".": 2, "film": 3},
        {"▁good": 0, "good": 1, ".": 2, "▁film": 3, "film": 4},
        {"film": 4, "good": 1, "Ġgood": 0, "Ġfilm": 3, "Ġ.": 2, ".": 1, "Ġ": 4},
        [["good", -1.5], ["bad", -2], [".", 0.0], ["film", -3], ["good", -9]],
        [["▁good", -1.5], ["good", -2], [".", 0.0], ["▁film", -3], ["film", -9]],
    ],
)
def test_pieces_of_a_tokenizer_that_begin_a_word_stand_for_it(tmp_path, pieces):
    path = write_safetensors(tmp_path / "e.safetensors")
    write_json(tmp_path / "tokenizer.json", {"version": "1.0", "model": {"type": "any", "vocab": pieces}})
    found, number = embeddings(path, VOCABULARY)
    assert (found.tolist(), number) == (EXPECTED, 3)


def test_no_word_may_have_a_vector(tmp_path):
    found, number = embeddings(write_npz(tmp_path / "e.npz"), Vocabulary(("none",)))
    assert (found.shape, number) == ((3, 2), 0)
    assert not found.any()


@together(
    ("changes", "message"),
    [
        ({"words": None}, r"the array words is missing; write it with numpy\.savez\(path, words="),
        ({"vectors": None}, "the array vectors is missing"),
        ({"more": VECTORS}, "unknown array more"),
        ({"words": np.array(WORDS, object)}, "Python objects, which are not read"),
        ({"words": np.arange(5)}, r"words are int64 of shape \(5,\); they must be strings on one axis"),
        ({"words": np.array([WORDS])}, r"words are <U4 of shape \(1, 5\)"),
        ({"words": np.array(WORDS[1:])}, "4 words for 5 vectors; give one word for every vector"),
        ({"vectors": VECTORS[0]}, r"vectors are float32 of shape \(2,\); they must be floats on two axes"),
        ({"vectors": VECTORS.astype(int)}, r"vectors are int64 of shape \(5, 2\)"),
        (
            {"vectors": np.where(VECTORS == 8, np.nan, VECTORS)},
            "1 vectors, such as that of 'film', contain NaN or infinity",
        ),
        ({"vectors": VECTORS.astype(float) * 1e38}, "such as that of 'film', contain NaN or infinity"),
    ],
)
def test_arrays_that_are_no_embeddings_are_refused(tmp_path, changes, message):
    with pytest.raises(DataError, match=message) as error:
        embeddings(write_npz(tmp_path / "e.npz", **changes), VOCABULARY)
    assert "e.npz: " in str(error.value)


@together(
    ("tensors", "message"),
    [
        (
            {"a": ("F32", VECTORS), "b": ("F16", VECTORS.astype("<f2"))},
            "2 arrays of floats have two axes: 'a', 'b'; there",
        ),
        ({"a": ("F32", VECTORS[0])}, "0 arrays of floats have two axes; there must be exactly one"),
        ({"a": ("I32", VECTORS.astype("<i4"))}, "0 arrays of floats have two axes"),
    ],
    ids=["two", "none", "integers"],
)
def test_files_without_one_array_of_embeddings_are_refused(tmp_path, tensors, message):
    with pytest.raises(DataError, match=message):
        embeddings(write_safetensors(tmp_path / "e.safetensors", **tensors), VOCABULARY)


def file_of(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def entry(shape=(2, 1), offsets=(0, 8), kind="F32"):
    return {"dtype": kind, "shape": list(shape), "data_offsets": list(offsets)}


@together(
    "content",
    [
        b"",
        b"\2\0\0",
        file_of({"a": entry()}, bytes(8), length=1_000),
        file_of({}, length=2**64 - 1),
        file_of(b"{no}"),
        file_of(b"[" * 100_000),
        file_of({"a": entry(kind="F9")}, bytes(8)),
        file_of({"a": entry(shape=(-2, 1))}, bytes(8)),
        file_of({"a": entry(offsets=(8, 0))}, bytes(8)),
        file_of({"a": entry(shape=(2**40, 2**40))}, bytes(8)),
        file_of({"a": entry(), "b": entry(offsets=(4, 12))}, bytes(12)),
        file_of({"a": entry(offsets=(8, 16))}, bytes(16)),
        file_of({"a": entry()}, bytes(7)),
        file_of({"a": entry()}, bytes(9)),
    ],
)
def test_damaged_safetensors_files_are_refused(tmp_path, content):
    path = tmp_path / "e.safetensors"
    path.write_bytes(content)
    (tmp_path / "e.txt").write_text("good\nbad\n")
    with pytest.raises(DataError, match=r"e\.safetensors: not a safetensors file, or damaged"):
        embeddings(path, VOCABULARY)


@together(
    ("name", "content", "message"),
    [
        ("e.txt", "good\nbad\n", r"e\.txt: 2 words for 5 vectors"),
        ("tokenizer.json", "{no", r"tokenizer\.json: not a tokenizer: invalid JSON"),
        ("tokenizer.json", [], "not a tokenizer: it has no model.vocab with pieces and their numbers"),
        ("tokenizer.json", {"model": {"vocab": {"good": "0"}}}, "it has no model.vocab"),
        ("tokenizer.json", {"model": {"vocab": {"good": -1}}}, "it has no model.vocab"),
        ("tokenizer.json", {"model": {"vocab": ["good"]}}, "it has no model.vocab"),
        ("tokenizer.json", {"model": {"vocab": {"good": 5}}}, "a piece has the number 5, but there are only 5 vectors"),
    ],
)
def test_files_of_words_that_do_not_fit_are_refused(tmp_path_factory, name, content, message):
    folder = tmp_path_factory.mktemp("embeddings")
    path = write_safetensors(folder / "e.safetensors")
    write_json(folder / name, content)
    with pytest.raises(DataError, match=message):
        embeddings(path, VOCABULARY)


def test_a_file_without_words_and_other_files_are_refused(tmp_path):
    path = write_safetensors(tmp_path / "e.safetensors")
    with pytest.raises(
        DataError, match=r"the file with its words is missing; put e\.txt \(one word per line\) or tokenizer\.json into"
    ):
        embeddings(path, VOCABULARY)
    with pytest.raises(ValueError, match=r"path must end in \.npz or \.safetensors, got .*e\.bin"):
        embeddings(tmp_path / "e.bin", VOCABULARY)
    with pytest.raises(ValueError, match="words must be left out for an npz file"):
        embeddings(write_npz(tmp_path / "e.npz"), VOCABULARY, tmp_path / "e.txt")
    for name in ("none.npz", "none.safetensors"):
        with pytest.raises(DataError, match=rf"{name}: cannot be read"):
            embeddings(tmp_path / name, VOCABULARY)
    (tmp_path / "f.safetensors").mkdir()
    with pytest.raises(DataError, match="not a file but a folder"):
        embeddings(tmp_path / "f.safetensors", VOCABULARY)
