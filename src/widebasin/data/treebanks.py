"""Treebanks of Universal Dependencies as data sets of tagged sentences."""

import functools
import logging
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from widebasin.data.conllu import TAG_COLUMNS, Sentences, read_conllu
from widebasin.data.dataset import Dataset
from widebasin.data.errors import DataError
from widebasin.data.places import ENVIRONMENT, Found, Versions, folders_here, folders_of, versions
from widebasin.data.text_files import either
from widebasin.data.vocabulary import Vocabulary
from widebasin.shown import shown

LOGGER = logging.getLogger("widebasin")

FOLDER, PARTS = "ud", ("train", "dev", "test")
KIND = "CoNLL-U files"
NO_TAG = -1
_FILE = re.compile(rf"(?P<code>.+)-ud-({'|'.join(PARTS)})\.conllu(\.gz)?")


@dataclass(frozen=True, eq=False)
class Treebank:
    """A treebank for tagging.

    Attributes:
        name: its code and the column of its tags, such as "en_lines upos".
        train: the training sentences, whole.
        dev: the validation sentences.
        test: the test sentences.
        words: vocabulary of the training words, as spelled.
        suffixes: vocabulary of the last characters of these words, in lower case.
        tags: tags of the training sentences, sorted; the label of a tag is its index here.
        unseen: tags of the other sentences that no training sentence has, sorted. They share the label ``len(tags)``,
            which no training example has, so words with these tags count as wrong.
        cut: numbers of words of the three parts that are left out of the data set because their sentences are longer
            than its rows.
        dataset: inputs ``{"words": int32 [N, T], "suffixes": int32 [N, T]}``, targets int32 ``[N, T]``, -1 for padding
            and for words without a tag; the sentences of train, dev and test in this order.
    """

    name: str
    train: Sentences
    dev: Sentences
    test: Sentences
    words: Vocabulary
    suffixes: Vocabulary
    tags: tuple[str, ...]
    unseen: tuple[str, ...]
    cut: tuple[int, int, int]
    dataset: Dataset


def treebank(
    name: str, column: str = "upos", minimum_frequency: int = 2, length: int = 256, suffix: int = 3
) -> Treebank:
    """A treebank of Universal Dependencies.

    Searches the folder ``ud`` of the data folder, the data folder itself and the cache (see ``folders_of``), unless
    ``name`` is the path of a folder. The files are ``CODE-ud-train.conllu``, ``CODE-ud-dev.conllu`` and
    ``CODE-ud-test.conllu``, each optionally with ``.gz``.

    Args:
        name: name of the treebank's folder ("UD_English-LinES"), its code ("en_lines"), or the path of its folder.
        column: column of the tags: "upos", "xpos", "deprel" or "feats".
        minimum_frequency: how often a word or suffix must occur in the training sentences to be in its vocabulary.
        length: largest number of words in a row; T is this, or the length of the longest sentence if that is less.
        suffix: number of last characters of a word.

    Raises:
        DataError: if the treebank is not found, one of its three files is missing or invalid (see ``read_conllu``), or
            no word of a file has a tag.
        ValueError: if there is no such column, or a number is below 1.
    """
    for argument, value in (("minimum_frequency", minimum_frequency), ("length", length), ("suffix", suffix)):
        if value < 1:
            raise ValueError(f"{argument} must be at least 1, got {value}")
    if column not in TAG_COLUMNS:
        raise ValueError(f"column must be one of {', '.join(TAG_COLUMNS)}, got {column!r}")
    place = _place(name)
    if place is None:
        raise _absent(name)
    folder, code = place
    files = _files(folder, code)
    missing = [f"{code}-ud-{part}.conllu" for part in PARTS if part not in files]
    if missing:
        raise DataError(
            f"{folder}: {' and '.join(missing)} missing; training, validation and test each need their file: add what "
            "is missing, or choose a treebank that has all three"
        )
    version = versions(files.values())
    return _read(folder.resolve(), code, column, minimum_frequency, length, suffix, version)


def find_treebank(name: str) -> Found | None:
    """Where a treebank with all three files is; see ``treebank`` for its name.

    Raises:
        DataError: if a folder cannot be read, or the one given by its path contains several treebanks.
    """
    place = _place(name)
    return Found(place[0], KIND) if place is not None and len(_files(*place)) == len(PARTS) else None


def word_suffixes(sentences: Iterable[Sequence[str]], suffix: int = 3) -> list[list[str]]:
    """The last characters of all words, in lower case."""
    return [[word[-suffix:].lower() for word in sentence] for sentence in sentences]


def _place(name: str) -> tuple[Path, str] | None:
    """The folder of a treebank, and its code."""
    if not name:
        raise ValueError("name must be the name of a treebank, such as UD_English-LinES or en_lines, got ''")
    for base in () if os.sep in name else folders_here(FOLDER):
        for folder in (base, *_treebanks_in(base)):
            codes = _codes(folder)
            if name in codes:
                return folder, name
            if codes and folder.name == name:
                return folder, _only_code(folder)
    path = Path(os.path.expanduser(name))  # noqa: PTH111  without a home, ~ is a name
    return (path, _only_code(path)) if path.is_dir() else None


def _absent(name: str) -> DataError:
    if Path(name).is_file():
        return DataError(f"{name}: is a file; give the folder of the treebank, which has its three files")
    there = sorted({folder.name for base in folders_here(FOLDER) for folder in _treebanks_in(base)})
    looked = ", ".join(map(str, folders_of(FOLDER)))
    return DataError(
        f"the treebank {name} was not found; put its folder, from https://github.com/UniversalDependencies, into a "
        f"folder {FOLDER} in ${ENVIRONMENT} (searched {looked}; treebanks there: {', '.join(there) or 'none'})"
    )


def _treebanks_in(folder: Path) -> list[Path]:
    return sorted(path for path in _entries(folder) if path.name.startswith("UD_") and path.is_dir())


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as error:
        raise DataError(f"{folder}: cannot be read ({error.strerror}); make it readable") from error


def _codes(folder: Path) -> set[str]:
    """Codes of the treebanks that have a file in a folder."""
    return {match["code"] for path in _entries(folder) if (match := _FILE.fullmatch(path.name)) and path.is_file()}


def _only_code(folder: Path) -> str:
    codes = sorted(_codes(folder))
    if len(codes) != 1:
        held = (
            f"contains several treebanks, {', '.join(codes)}; move each into a folder of its own"
            if codes
            else "contains no file *-ud-train.conllu"
        )
        raise DataError(f"{folder}: {held}")
    return codes[0]


def _files(folder: Path, code: str) -> dict[str, Path]:
    files = {part: either(folder / f"{code}-ud-{part}.conllu") for part in PARTS}
    return {part: path for part, path in files.items() if path is not None}


@functools.lru_cache(maxsize=8)
def _read(
    folder: Path, code: str, column: str, minimum_frequency: int, length: int, suffix: int, version: Versions
) -> Treebank:
    del version
    files = _files(folder, code)
    train, dev, test = (read_conllu(files[part], column) for part in PARTS)
    tags, tags_of_dev, tags_of_test = map(_tags, (train, dev, test))
    for part, there in zip(PARTS, (tags, tags_of_dev, tags_of_test), strict=True):
        if not there:
            raise DataError(f"{files[part]}: no word has a tag in the column {column}; choose another column")
    unseen = tuple(sorted({*tags_of_dev, *tags_of_test} - set(tags)))
    words = Vocabulary.from_sentences(train.words, minimum_frequency)
    suffixes = Vocabulary.from_sentences(word_suffixes(train.words, suffix), minimum_frequency)
    sentences = [*train.words, *dev.words, *test.words]
    longest = min(length, max(map(len, sentences)))
    labels = dict.fromkeys(unseen, len(tags)) | {tag: label for label, tag in enumerate(tags)}
    targets = np.full((len(sentences), longest), NO_TAG, np.int32)
    for row, tagged in zip(targets, [*train.tags, *dev.tags, *test.tags], strict=True):
        row[: len(tagged)] = [NO_TAG if tag is None else labels[tag] for tag in tagged[:longest]]
    name = f"{code} {column}"
    dataset = Dataset(
        name=name,
        inputs={
            "words": words.encode(sentences, longest),
            "suffixes": suffixes.encode(word_suffixes(sentences, suffix), longest),
        },
        targets=targets,
        num_classes=len(tags) + bool(unseen),
        training_classes=len(tags) if unseen else None,
        fixed_test=len(test),
        fixed_valid=len(dev),
    )
    train_cut, dev_cut, test_cut = (
        sum(max(len(sentence) - longest, 0) for sentence in part.words) for part in (train, dev, test)
    )
    cut = (train_cut, dev_cut, test_cut)
    if any(cut):
        LOGGER.warning(
            shown(
                f"{folder}: sentences are read up to {longest} words; left out are {train_cut:,} words of training, "
                f"{dev_cut:,} of validation and {test_cut:,} of test sentences"
            )
        )
    return Treebank(name, train, dev, test, words, suffixes, tags, unseen, cut, dataset)


def _tags(sentences: Sentences) -> tuple[str, ...]:
    return tuple(sorted({tag for tags in sentences.tags for tag in tags if tag is not None}))
