"""Tables of molecules: a .csv file with SMILES and binary tasks, as MoleculeNet publishes them."""

import hashlib
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from widebasin.data.archives import Decompressed, explained, refuse_unless_file
from widebasin.data.dataset import Dataset
from widebasin.data.errors import DataError
from widebasin.data.graphs import padded_graphs
from widebasin.data.molecules import (
    ATOM_FEATURES,
    LOGGER,
    Molecules,
    Progress,
    no_progress,
    parts_of_tenths,
    read_smiles,
    scaffold_split,
)
from widebasin.data.npz import cached_arrays
from widebasin.data.places import cache_folder
from widebasin.data.splits import SplitSizes
from widebasin.shown import shown

# Version of the cached arrays.
VERSION = 1
# Bytes that are parsed at a time; a row must be shorter.
BLOCK = 1 << 24
# So many molecules are read in a few seconds.
FEW = 10_000
SHOWN = 3
KEPT = ("nodes", "node_counts", "edges", "edge_counts", "rows", "scaffolds")
SPLITS = ("scaffold", "random")


def molecule_table(
    path: Path | str,
    smiles: str | None = None,
    tasks: Sequence[str] | None = None,
    split: str = "scaffold",
    progress: Progress = no_progress,
) -> Molecules:
    """The molecules of a .csv file, plain or compressed, as graphs, named like the file.

    Tasks are the columns with only 0, 1 and missing values; if there is none, those with false and true. Other columns
    are left out, with a warning. So are rows that cannot be parsed as SMILES; the warning gives their number and the
    first few. Graphs and scaffolds are cached by the content of the file: only the first call is slow, about a second
    per 1,000 molecules, and needs rdkit.

    Args:
        path: the file, UTF-8 text; the first line names the columns.
        smiles: name of the column with SMILES; by default the column called "smiles", in upper or lower case.
        tasks: names of the tasks, in the wanted order; by default all, in the order of the file.
        split: "scaffold", which puts no scaffold into two parts (see ``scaffold_split``) and the parts one after
            another, or "random", by seed; both of 80, 10 and 10 percent.
        progress: called with the number of molecules done and their total, unless they are in the cache.

    Raises:
        DataError: if the file cannot be read or is truncated or empty; a row has more or fewer values than columns; no
            column has SMILES, or none is a task; a named column is missing, or has values other than 0, 1 and missing
            ones; a part of the split is empty; rdkit is needed but not installed.
        ValueError: if there is no such split.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be {' or '.join(SPLITS)}, got {split!r}")
    path = Path(path)
    read = _read(path)
    column = _smiles_column(path, read.column_names, smiles)
    chosen = _tasks(path, read, column, tasks)
    texts = read.column(column).fill_null("").to_pylist()
    kept = _graphs(path, column, texts, progress)
    rows = kept["rows"]
    skipped = _skipped(path, texts, rows)
    if not len(rows):
        raise DataError(
            f"{path}: no text of column {column} could be parsed as SMILES; rename the right column, or give "
            "smiles= in Python"
        )
    order, sizes = _split(path, kept["scaffolds"], split)
    graphs = padded_graphs(*(kept[name] for name in KEPT[:4]), order=order, source=str(path))
    name = path.stem.removesuffix(".csv")
    targets = np.stack(list(chosen.values()), axis=1)[rows[order]]
    valid, test = (0, 0) if split == "random" else (sizes.valid, sizes.test)
    dataset = Dataset(name, graphs.inputs, targets, num_classes=2, fixed_valid=valid, fixed_test=test)
    return Molecules(dataset, tuple(texts[row] for row in rows[order]), tuple(chosen), sizes, skipped)


# Reading -------------------------------------------------------------------------------------------------------------


def _read(path: Path) -> Any:
    """The file as a pyarrow table of strings; missing values are null."""
    import pyarrow as pa
    from pyarrow import csv

    refuse_unless_file(path)
    with explained(path), Decompressed(path) as stream:
        names = _header(path, stream.read(BLOCK))
    with explained(path, "cannot be read as comma-separated values"), Decompressed(path) as stream:
        try:
            # With threads, errors would lack row numbers.
            read = csv.read_csv(
                stream,
                csv.ReadOptions(use_threads=False, block_size=BLOCK),
                csv.ParseOptions(newlines_in_values=True),
                csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True),
            )
        except pa.ArrowInvalid as error:
            if "UTF8" not in str(error):
                raise
            raise DataError(f"{path}: is not UTF-8 text ({error}); save the file in UTF-8") from error
    if not read.num_rows:
        raise DataError(f"{path}: has the columns {_listed(names)}, but no rows; get the file again")
    return read


def _header(path: Path, start: bytes) -> list[str]:
    import csv

    first = next((line for line in start.splitlines() if line.strip()), b"")
    if not first:
        raise DataError(f"{path}: the file is empty; get it again")
    try:
        names = next(csv.reader([first.decode("utf-8-sig")]))
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: the first line is not UTF-8 text; save the file in UTF-8") from error
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"{path}: several columns are named {_listed(twice)}; give every column a different name")
    return names


def _smiles_column(path: Path, names: Sequence[str], given: str | None) -> str:
    there = f"the columns are {_listed(names)}"
    if given is not None:
        if given not in names:
            raise DataError(f"{path}: there is no column {given!r}; {there}")
        return given
    found = [name for name in names if name.strip().lower() == "smiles"]
    if len(found) != 1:
        which = f"several columns are named smiles, {_listed(found)}" if found else "no column is named smiles"
        raise DataError(f"{path}: {which}; rename the column with SMILES, or give smiles= in Python; {there}")
    return found[0]


def _tasks(path: Path, read: Any, smiles: str, named: Sequence[str] | None) -> dict[str, np.ndarray]:
    """Task -> labels, int8, -1 where missing."""
    others = [name for name in read.column_names if name != smiles]
    if named is not None:
        unknown = [name for name in named if name not in read.column_names or name == smiles]
        if not named:
            raise DataError(f"{path}: the list of tasks is empty; name at least one, or leave tasks out to get all")
        if unknown:
            raise DataError(f"{path}: there is no task {_listed(unknown)}; the columns are {_listed(others)}")
    labels, numbers = {}, []
    for name in others if named is None else named:
        found = _labels(read.column(name))
        if found.wrong is None:
            labels[name] = found.values
            if not found.in_words:
                numbers.append(name)
        elif named is not None:
            raise DataError(
                f"{path}: row {found.wrong + 1:,} of column {name!r} is {read.column(name)[found.wrong].as_py()!r}; a "
                "task may contain only 0, 1 and missing values"
            )
    if named is None:
        labels = {name: values for name, values in labels.items() if (values >= 0).any()}
        # Beside tasks of 0 and 1, false and true tell something else, such as whether a SMILES could be parsed.
        of_numbers = {name: labels[name] for name in numbers if name in labels}
        labels = of_numbers or labels
        ignored = [name for name in others if name not in labels]
        if ignored and labels:
            counted = "0, 1" if of_numbers else "false, true"
            words = f"{path}: {_listed(ignored)} left out: only columns of {counted} and missing values count"
            LOGGER.warning(shown(words))
    if not labels:
        raise DataError(
            f"{path}: no column has only 0, 1 and missing values, so there is no task; the columns are "
            f"{_listed(others)}; write labels as 0 and 1 (numbers to regress on are not supported)"
        )
    return labels


class _Labels(NamedTuple):
    """Labels of a column, the first row whose value is not a label, if any, and whether some are false or true."""

    values: np.ndarray
    wrong: int | None
    in_words: bool


def _labels(column: Any) -> _Labels:
    encoded = column.dictionary_encode().unify_dictionaries()
    texts = encoded.chunk(0).dictionary.to_pylist()
    values = np.array([_label(text) for text in texts] + [-1], np.int8)
    codes = np.concatenate([chunk.indices.fill_null(len(texts)).to_numpy() for chunk in encoded.chunks])
    labels = values[codes]
    wrong = labels == -2
    return _Labels(labels, int(wrong.argmax()) if wrong.any() else None, any(text.isalpha() for text in texts))


def _label(text: str) -> int:
    """0 or 1, also as false or true; -2 for anything else."""
    if text.lower() in ("false", "true"):
        return int(text.lower() == "true")
    try:
        number = float(text)
    except ValueError:
        return -2
    return int(number) if number in (0, 1) else -2


# Molecules -----------------------------------------------------------------------------------------------------------


def _graphs(path: Path, column: str, texts: Sequence[str], progress: Progress) -> dict[str, np.ndarray]:
    """The arrays of ``ReadMolecules``, from the cache if possible."""
    with explained(path), path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    digest.update(f"\0widebasin molecules {VERSION}\0{column}".encode())

    def compute() -> dict[str, np.ndarray]:
        if len(texts) > FEW:
            LOGGER.info(
                shown(f"{path}: reading {len(texts):,} molecules, about 1,000 per second; the result is cached")
            )
        read = read_smiles(texts, progress)
        return read.graphs._asdict() | {"rows": read.rows, "scaffolds": read.scaffolds}

    key, folder = digest.hexdigest(), cache_folder("graphs")
    return cached_arrays("molecules", key, KEPT, compute, folder, lambda kept: _consistent(kept, len(texts)))


def _consistent(kept: dict[str, np.ndarray], rows: int) -> bool:
    """Whether cached arrays fit a table with this many rows."""
    return bool(
        kept["nodes"].ndim == 2
        and kept["nodes"].shape[1] == len(ATOM_FEATURES)
        and len({len(kept[name]) for name in ("node_counts", "edge_counts", "rows", "scaffolds")}) == 1
        and kept["node_counts"].sum() == len(kept["nodes"])
        and kept["edge_counts"].sum() == len(kept["edges"])
        and kept["rows"].max(initial=-1) < rows
    )


def _skipped(path: Path, texts: list[str], rows: np.ndarray) -> tuple[tuple[int, str], ...]:
    skipped = tuple((int(row) + 1, texts[row]) for row in np.setdiff1d(np.arange(len(texts)), rows))
    if skipped:
        first = ", ".join(f"row {row:,} {text!r}" for row, text in skipped[:SHOWN])
        more = f" and {len(skipped) - SHOWN:,} more" if len(skipped) > SHOWN else ""
        LOGGER.warning(
            shown(
                f"{path}: {len(skipped):,} of {len(texts):,} rows could not be parsed as SMILES and are left out: "
                f"{first}{more}"
            )
        )
    return skipped


def _split(path: Path, scaffolds: np.ndarray, split: str) -> tuple[np.ndarray, SplitSizes]:
    """The molecules ordered by part, and the sizes of the three parts."""
    if split == "random":
        order, sizes = np.arange(len(scaffolds)), parts_of_tenths(len(scaffolds))
        remedy = "at least 10 molecules are needed"
    else:
        parts = scaffold_split(scaffolds)
        order, sizes = np.concatenate(parts), SplitSizes(*map(len, parts))
        remedy = 'use split="random"'
    if not min(sizes.train, sizes.valid, sizes.test):
        there = len(np.unique(scaffolds))
        raise DataError(
            f"{path}: the {split} split of {len(scaffolds):,} molecules with {there:,} scaffold{'s' * (there != 1)} "
            f"has {sizes.train:,} for training, {sizes.valid:,} for validation and {sizes.test:,} for testing; {remedy}"
        )
    return order, sizes


def _listed(names: Collection[str], most: int = 20) -> str:
    first = ", ".join(map(repr, list(names)[:most]))
    return first + (f" and {len(names) - most} more" if len(names) > most else "")
