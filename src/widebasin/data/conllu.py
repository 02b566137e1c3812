"""The CoNLL-U format of treebanks: a word a line, ten columns, a blank line after each sentence."""

import re
from dataclasses import dataclass
from pathlib import Path

from widebasin.data.errors import DataError
from widebasin.data.text_files import read_lines

NAMES = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
# Columns that hold the tag of a word.
TAG_COLUMNS = ("upos", "xpos", "deprel", "feats")
MISSING = "_"
_WORD, _SEVERAL_WORDS, _EMPTY_NODE = (re.compile(form, re.ASCII) for form in (r"\d+", r"\d+-\d+", r"\d+\.\d+"))


@dataclass(frozen=True)
class Sentences:
    """Tagged sentences.

    Attributes:
        words: of every sentence, as spelled.
        tags: of every word; ``None`` where the file gives none.
        column: that the tags are from.
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

    Comments, tokens of several words (``1-2``) and empty nodes (``8.1``) are passed over, as are sentences that have no
    words. A tag ``_`` is a missing one.

    Args:
        path: the file, in UTF-8.
        column: of the tags: "upos", "xpos", "deprel" or "feats".

    Raises:
        DataError: if the file cannot be read, or is truncated; with the number of the line if it has not ten columns
            separated by tabs, its id is none or not the next one, its form or tag is empty, or it is not in UTF-8; if
            there is no word at all.
        ValueError: if there is no such column of tags.

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
                raise DataError(f"{path}: line {number:,} has an empty {name}; write {MISSING} where there is none")
        words.append(fields[1])
        tags.append(None if fields[place] == MISSING else fields[place])
    if not sentences:
        raise DataError(f"{path}: holds no word; restore the file")
    return Sentences(tuple(sentences), tuple(tagged), column)


def _refuse_unless_passed_over(path: Path, number: int, fields: list[str], following: int) -> None:
    """Raises ``DataError`` for a line that is not that of the following word, unless it is of no syntactic word."""
    if len(fields) != len(NAMES):
        raise DataError(
            f"{path}: line {number:,} has {len(fields)} columns, where CoNLL-U has {len(NAMES)}, separated by one tab "
            "each; restore the file"
        )
    if _SEVERAL_WORDS.fullmatch(fields[0]) or _EMPTY_NODE.fullmatch(fields[0]):
        return
    if not _WORD.fullmatch(fields[0]):
        raise DataError(
            f"{path}: line {number:,} has the id {fields[0]!r}, which is no number such as 3, 3-4 or 3.1; restore the "
            "file"
        )
    raise DataError(
        f"{path}: line {number:,} has the id {fields[0]}, where {following} is the next; words are numbered from 1 in "
        "every sentence, and a blank line ends it"
    )
