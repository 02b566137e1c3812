"""Pretrained word embeddings for the words of a vocabulary."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from widebasin.data.archives import explained, read_file, refuse_unless_file
from widebasin.data.errors import DataError
from widebasin.data.npz import read_npz
from widebasin.data.text_files import read_lines
from widebasin.data.vocabulary import RESERVED, Vocabulary

NPZ, SAFETENSORS, JSON = ".npz", ".safetensors", ".json"
ARRAYS = ("words", "vectors")
TOKENIZER = "tokenizer.json"
FLOATS = ("F16", "BF16", "F32", "F64")
# Largest tokenizer file that is read, in bytes.
LARGEST = 1 << 28
# How tokenizers mark pieces at the start of a word.
WORD_STARTS = ("▁", "Ġ")


def embeddings(
    path: Path | str, vocabulary: Vocabulary, words: Path | str | None = None
) -> tuple[Float32[np.ndarray, "vocabulary features"], int]:
    """The embeddings of a vocabulary's words from a file of pretrained embeddings.

    The file is an npz with ``words`` (strings ``[W]``) and ``vectors`` (floats ``[W, D]``), or a safetensors file with
    exactly one two-dimensional array of floats, whose rows belong to the words of a second file: a text file with one
    word per line, or a HuggingFace tokenizer (``model.vocab``). In a tokenizer, a word is looked up as a piece at the
    start of a word, then as a piece with the same spelling. A word that occurs several times gets its first vector.

    Args:
        path: the file, ``.npz`` or ``.safetensors``.
        vocabulary: the words.
        words: the file of words, ``.json`` for a tokenizer; by default the file with the same name ending in ``.txt``,
            or else ``tokenizer.json`` in the same folder.

    Returns:
        Vectors, float32 ``[len(vocabulary), D]``, 0 for padding, unknown words and words without a vector; and the
        number of words that have one.

    Raises:
        DataError: if a file cannot be read or is damaged; the numbers of words and vectors differ; or a vector that is
            needed is not finite.
        ValueError: if the path has another ending, or a file of words is given with an npz file.
    """
    path = Path(path)
    if path.suffix == NPZ:
        if words is not None:
            raise ValueError(f"words must be left out for an npz file, which contains them, got {words}")
        rows, vectors = _from_npz(path)
    elif path.suffix == SAFETENSORS:
        rows, vectors = _from_safetensors(path, None if words is None else Path(words))
    else:
        raise ValueError(f"path must end in {NPZ} or {SAFETENSORS}, got {path}")
    found = {number: rows[word] for word, number in vocabulary.numbers.items() if word in rows}
    embedded = np.zeros((len(vocabulary), vectors.shape[1]), np.float32)
    with np.errstate(over="ignore"):
        embedded[list(found)] = vectors[list(found.values())]
    wrong = np.flatnonzero(~np.isfinite(embedded).all(1))
    if len(wrong):
        word = vocabulary.words[wrong[0] - RESERVED]
        raise DataError(
            f"{path}: {len(wrong):,} vectors, such as that of {word!r}, contain NaN or infinity; get the file again"
        )
    return embedded, len(found)


def _from_npz(path: Path) -> tuple[dict[str, int], np.ndarray]:
    there = read_npz(path, ARRAYS)
    if missing := [name for name in ARRAYS if name not in there]:
        raise DataError(
            f"{path}: the array {' and '.join(missing)} is missing; write it with "
            "numpy.savez(path, words=..., vectors=...)"
        )
    words, vectors = (there[name] for name in ARRAYS)
    if words.ndim != 1 or words.dtype.kind != "U":
        raise DataError(f"{path}: words are {words.dtype} of shape {words.shape}; they must be strings on one axis")
    if vectors.ndim != 2 or vectors.dtype.kind != "f":
        raise DataError(
            f"{path}: vectors are {vectors.dtype} of shape {vectors.shape}; they must be floats on two axes"
        )
    return _rows(path, words.tolist(), len(vectors)), vectors


def _from_safetensors(path: Path, words: Path | None) -> tuple[dict[str, int], np.ndarray]:
    from safetensors import safe_open

    refuse_unless_file(path)
    # Through JAX, as NumPy has no bfloat16.
    with explained(path, "not a safetensors file, or damaged"), safe_open(path, framework="flax") as file:
        name, vectors = _matrix(path, file)
        if words is None:
            usual = path.with_suffix(".txt"), path.with_name(TOKENIZER)
            words = next((one for one in usual if one.is_file()), None)
            if words is None:
                raise DataError(
                    f"{path}: the file with its words is missing; put {usual[0].name} (one word per line) or "
                    f"{TOKENIZER} into the same folder"
                )
        rows = _from_tokenizer(words, vectors) if words.suffix == JSON else _rows(words, read_lines(words), vectors)
        return rows, np.asarray(file.get_tensor(name), np.float32)


def _matrix(path: Path, file: Any) -> tuple[str, int]:
    """Name and number of rows of the only two-dimensional array of floats."""
    slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (it is not a dictionary)
    shapes = {name: one.get_shape() for name, one in slices.items() if one.get_dtype() in FLOATS}
    matrices = {name: shape for name, shape in shapes.items() if len(shape) == 2}
    if len(matrices) != 1:
        names = f": {', '.join(map(repr, matrices))}" if matrices else ""
        raise DataError(
            f"{path}: {len(matrices)} arrays of floats have two axes{names}; there must be exactly one, the embeddings"
        )
    ((name, (rows, _)),) = matrices.items()
    return name, rows


def _rows(path: Path, words: Sequence[str], vectors: int) -> dict[str, int]:
    if len(words) != vectors:
        raise DataError(f"{path}: {len(words):,} words for {vectors:,} vectors; give one word for every vector")
    rows: dict[str, int] = {}
    for row, word in enumerate(words):
        rows.setdefault(word, row)
    return rows


def _from_tokenizer(path: Path, vectors: int) -> dict[str, int]:
    """Word -> row, from a tokenizer's pieces: a dictionary of piece -> number, or a list of (piece, score)."""
    with explained(path, "not a tokenizer: invalid JSON"):
        read: Any = json.loads(read_file(path, LARGEST).decode())
    model = read.get("model") if isinstance(read, dict) else None
    pieces = model.get("vocab") if isinstance(model, dict) else None
    if isinstance(pieces, list) and all(isinstance(one, list) and one and isinstance(one[0], str) for one in pieces):
        pieces = {piece: row for row, (piece, *_) in reversed(list(enumerate(pieces)))}
    if not isinstance(pieces, dict) or not all(type(row) is int and row >= 0 for row in pieces.values()):
        raise DataError(f"{path}: not a tokenizer: it has no model.vocab with pieces and their numbers")
    if (largest := max(pieces.values(), default=0)) >= vectors:
        raise DataError(
            f"{path}: a piece has the number {largest:,}, but there are only {vectors:,} vectors; use matching files"
        )
    starts = {
        piece.removeprefix(mark): row for mark in WORD_STARTS for piece, row in pieces.items() if piece.startswith(mark)
    }
    return pieces | starts
