"""The CoNLL-U format of treebanks: one word per line, ten columns, a blank line after each sentence."""

import re
from dataclasses import dataclass
from pathlib import Path

from widebasin.data.errors import DataError
from widebasin.data.text_files import read_lines

NAMES = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
# Columns that can be read as tags.
TAG_COLUMNS = ("upos", "xpos", "deprel", "feats")
MISSING = "_"
_WORD, _SEVERAL_WORDS, _EMPTY_NODE = (re.compile(form, re.ASCII) for form in (r"\d+", r"\d+-\d+", r"\d+\.\d+"))


@dataclass(frozen=True)
class Sentences:
    """Tagged sentences.

    Attributes:
        words: words of every sentence, as spelled.
        tags: tag of every word; ``None`` where the file has none.
        column: the column that the tags were read from.
    """

    words: tuple[tuple[str, ...], ...]
    tags: tuple[tuple[str | None, ...], ...]
    column: str

    def __len__(self) -> int:
        """Number of sentences."""
        return len(self.words)

    @property
    def tokens(self) -> int:
        """Number of words."""
        return sum(map(len, self.words))

    @property
    def missing(self) -> int:
        """Number of words without a tag."""
        return sum(tags.count(None) for tags in self.tags)


def read_conllu(path: Path | str, column: str = "upos") -> Sentences:
    """The syntactic words of a CoNLL-U file, plain or compressed, and their tags.

    Comments, multiword tokens (``1-2``), empty nodes (``8.1``) and sentences without words are skipped. The tag ``_``
    means that the tag is missing.

    Args:
        path: the file, UTF-8 text.
        column: column of the tags: "upos", "xpos", "deprel" or "feats".

    Raises:
        DataError: if the file cannot be read, is truncated or contains no words; with the line number if a line is not
            UTF-8 text, does not have ten columns separated by tabs, has an id that is invalid or out of order, or an
            empty form or tag.
        ValueError: if the column is none of these.

    Source: https://universaldependencies.org/format.html
    """
    if column not in TAG_COLUMNS:
        raise ValueError(f"column must be one of {', '.join(TAG_COLUMNS)}, got {column!r}")
    path, place = Path(path), NAMES.index(column)
    sentences: list[tuple[str, ...]] = []
    tagged: list[tuple[str | None, ...]] = []
    words: list[str] = []
    tags: list[str | None] = []
    for number, line in enumerate([*read_lines(path), ""], 1):
        if not line.strip(" "):
            if words:
                sentences.append(tuple(words))
                tagged.append(tuple(tags))
                words, tags = [], []
            continue
        if line.startswith("#"):
            continue
        fields, following = line.split("\t"), len(words) + 1
        if len(fields) != len(NAMES) or fields[0] != str(following):
            _refuse_unless_passed_over(path, number, fields, following)
            continue
        for name, text in (("form", fields[1]), (column, fields[place])):
            if not text.strip():
                raise DataError(f"{path}: line {number:,} has an empty {name}; write {MISSING} for a missing one")
        words.append(fields[1])
        tags.append(None if fields[place] == MISSING else fields[place])
    if not sentences:
        raise DataError(f"{path}: contains no words; get the file again")
    return Sentences(tuple(sentences), tuple(tagged), column)


def _refuse_unless_passed_over(path: Path, number: int, fields: list[str], following: int) -> None:
    """Raises ``DataError`` for a line that is neither the next word nor a multiword token or empty node."""
    if len(fields) != len(NAMES):
        columns = f"{len(fields)} column{'s' * (len(fields) != 1)}"
        raise DataError(
            f"{path}: line {number:,} has {columns}, but CoNLL-U has {len(NAMES)}, separated by single tabs; get the "
            "file again"
        )
    if _SEVERAL_WORDS.fullmatch(fields[0]) or _EMPTY_NODE.fullmatch(fields[0]):
        return
    if not _WORD.fullmatch(fields[0]):
        raise DataError(
            f"{path}: line {number:,} has the id {fields[0]!r}, which must be a number such as 3, 3-4 or 3.1; get "
            "the file again"
        )
    raise DataError(
        f"{path}: line {number:,} has the id {fields[0]}, but the next word is {following}; number the words of every "
        "sentence from 1, and end it with a blank line"
    )
