"""Tables in CSV and parquet files."""

import codecs
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from widebasin.data.archives import ALLOWANCE, LARGEST_RATIO, explained, refuse_unless_file
from widebasin.data.arrays import CLASSIFICATION, FEW, REGRESSION, TASKS
from widebasin.data.dataset import Dataset
from widebasin.data.errors import DataError
from widebasin.shown import shown

# Names of the column that is the target where none is named.
TARGETS = ("target", "label", "y")
# Different texts of a column that are encoded, an input for each.
MOST_CATEGORIES = 50
# Different integers of a target that are taken for classes.
MOST_CLASSES = 20
# Examples times inputs.
MOST_NUMBERS = 1 << 30
# Bytes of a file that are parsed at a time, of which a row must have fewer.
BLOCK = 1 << 24
# What pandas calls a column without a name, such as the numbers of rows that it has written.
UNNAMED, WITHOUT_ROW_NUMBERS = "Unnamed: ", "write the table without it, as with to_csv(index=False) in pandas"
# A number that a CSV file may have, and one with a decimal comma, commas at thousands, or a sign such as %.
NUMBER = r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$"
NUMBER_AS_WRITTEN = r"^[\s$€£]*[+−-]?[\s$€£]*(\d+[.,]?\d*|[.,]\d+|\d{1,3}(,\d{3})+\.?\d*)([eE][+-]?\d+)?[\s%$€£]*$"
LOGGER = logging.getLogger("widebasin")


class Table(NamedTuple):
    """A table as a data set.

    Attributes:
        dataset: the examples, one per row.
        inputs: names of the inputs: the column's name for numbers, ``column=text`` for each text in a column of texts.
        target: name of the target column.
        classes: names of the classes; ``None`` for regression.
        deviation: standard deviation of regression targets, by which they are divided after subtracting the mean; 1 for
            labels.
    """

    dataset: Dataset
    inputs: tuple[str, ...]
    target: str
    classes: tuple[str, ...] | None
    deviation: float


def table(path: Path | str, target: str | None = None, task: str | None = None) -> Table:
    """The table in a .csv or .parquet file as a data set, named after the file.

    Columns of numbers are standardized: minus their mean, divided by their standard deviation, over all rows. Columns
    of texts, categories and booleans are one-hot encoded. Columns with a single value are left out. The target is a
    class if it has texts, categories, booleans or at most 20 different integers, numbered in sorted order; floats or
    more integers mean regression.

    Args:
        path: the file; a CSV file must be in UTF-8 and have the column names in the first line.
        target: name of the target column; by default the one named target, label or y.
        task: "classification" or "regression", if different from what the target implies.

    Raises:
        DataError: if the file cannot be read or has no table; a value is missing or infinite; a column has more than 50
            different texts, or has dates, lists or other types; most of the different texts of a column of a CSV file
            are numbers, such as 1,5 or 12%; a column without a name numbers the rows; all targets are equal.
        ValueError: if the column or the task does not exist.
    """
    if task is not None and task not in TASKS:
        raise ValueError(f"task must be one of {', '.join(TASKS)}, got {task!r}")
    path = Path(path)
    read = _read(path)
    target = chosen_target(path, read.column_names, target)
    _refuse_missing(path, read)
    values, names = _inputs(path, read.drop_columns([target]))
    found = _target(path, target, read.column(target), task)
    return Table(
        Dataset(path.stem, values, found.values, None if found.classes is None else len(found.classes)),
        names,
        target,
        found.classes,
        found.deviation,
    )


def chosen_target(path: Path, columns: Sequence[str], target: str | None) -> str:
    """The target column.

    Raises:
        ValueError: if there is no such column, or none is given and not exactly one column has a usual name.
    """
    there = f"the columns of {path.name} are {_listed(columns)}"
    if target is not None:
        if target not in columns:
            raise ValueError(f"there is no column {target!r}; {there}")
        return target
    usual = [name for name in columns if name in TARGETS]
    if len(usual) != 1:
        why = f"{_listed(usual)} may all be the target" if usual else f"no column is named {', '.join(TARGETS)}"
        raise ValueError(f"{why}; name the target, as in {path.name}:{(usual or columns)[-1]}; {there}")
    return usual[0]


# Reading -------------------------------------------------------------------------------------------------------------


def _read(path: Path) -> Any:
    """Reads the table of a file with pyarrow."""
    refuse_unless_file(path)
    read = _parquet(path) if _is_parquet(path) else _csv(path)
    names = read.column_names
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"{path}: several columns are named {_listed(twice)}; give each its own name")
    if any(not name.strip() for name in names):
        raise DataError(f"{path}: a column has no name; if it numbers the rows, {WITHOUT_ROW_NUMBERS}")
    if len(names) < 2:
        raise _single(path, names[0])
    if all(map(_is_number, names)):
        raise DataError(f"{path}: the first line has numbers, {_listed(names)}; it must have the column names")
    if not read.num_rows:
        raise DataError(f"{path}: there are columns, {_listed(names)}, but no rows")
    for name, column in zip(names, read.columns, strict=True):
        if name.startswith(UNNAMED) and _counts(column):
            raise DataError(f"{path}: column {name} numbers the rows; {WITHOUT_ROW_NUMBERS}")
    return read


def _is_parquet(path: Path) -> bool:
    return path.suffix.lower() == ".parquet"


def _single(path: Path, name: str) -> DataError:
    return DataError(
        f"{path}: there is only one column, {name!r}; columns must be separated by commas, and there must be inputs "
        "besides the target"
    )


def _counts(column: Any) -> bool:
    """Whether these are whole numbers in a row, from 0 or from 1."""
    from pyarrow import types

    if not types.is_integer(column.type) or column[0].as_py() not in (0, 1):
        return False
    return bool((np.diff(column.to_numpy()) == 1).all())


def _csv(path: Path) -> Any:
    from pyarrow import csv

    with explained(path, "cannot be read as comma-separated values"), path.open("rb") as stream:
        first = stream.read(2)
        if not first[:1].strip():
            raise DataError(f"{path}: is empty")
        if first in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            raise DataError(f"{path}: is UTF-16 text; save the file in UTF-8")
        stream.seek(0)
        line = stream.readline(BLOCK)
        # Decimal commas in the rows would be an error of the rows.
        if b"," not in line and any(separator in line for separator in b";\t"):
            raise _single(path, line.decode("utf-8-sig", "replace").strip())
        stream.seek(0)
        read = csv.read_csv(
            stream,
            # Threads do not know the numbers of rows that errors name.
            csv.ReadOptions(use_threads=False, block_size=BLOCK),
            csv.ParseOptions(newlines_in_values=True),
            csv.ConvertOptions(strings_can_be_null=True),
        )
        try:
            read.column_names  # noqa: B018 (decodes the names)
        except UnicodeDecodeError as error:
            raise DataError(f"{path}: the first line is not UTF-8 text; save the file in UTF-8") from error
        return read


def _parquet(path: Path) -> Any:
    from pyarrow import parquet

    with explained(path, "not a parquet file, or damaged"), path.open("rb") as stream:
        size = stream.seek(0, 2)
        stream.seek(0)
        file = parquet.ParquetFile(stream)
        facts, schema = file.metadata, file.schema_arrow
        needed = sum(facts.row_group(number).total_byte_size for number in range(facts.num_row_groups))
        if facts.num_rows * facts.num_columns > MOST_NUMBERS or needed > LARGEST_RATIO * size + ALLOWANCE:
            raise DataError(
                f"{path}: {facts.num_rows:,} rows of {facts.num_columns:,} columns in {size:,} bytes are too many to "
                f"read at once; the limit is {MOST_NUMBERS:,} numbers"
            )
        # What pandas keeps as the index of rows is no column.
        kept = (schema.pandas_metadata or {}).get("index_columns", [])
        names = [name for name in schema.names if name not in kept]
        texts = [name for name in names if _is_text(schema.field(name).type)] if len(set(names)) == len(names) else []
        return parquet.ParquetFile(stream, read_dictionary=texts).read(names)


def _refuse_missing(path: Path, read: Any) -> None:
    import pyarrow.compute
    from pyarrow import types

    compute: Any = pyarrow.compute  # whose functions are made at run time
    missing = {}
    for name, column in zip(read.column_names, read.columns, strict=True):
        count = column.null_count
        if types.is_floating(column.type):
            count += compute.sum(compute.is_nan(column)).as_py() or 0
        if count:
            missing[name] = count
    if missing:
        found = ", ".join(f"{name} in {count:,}" for name, count in list(missing.items())[:5])
        more = f" and {len(missing) - 5} further columns" if len(missing) > 5 else ""
        raise DataError(
            f"{path}: values are missing: {found}{more} of {read.num_rows:,} rows; fill them in, or drop these rows or "
            "columns, as with fillna or dropna in pandas"
        )


# Columns -------------------------------------------------------------------------------------------------------------


def _is_text(kind: Any) -> bool:
    from pyarrow import types

    return types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)


def _is_categorical(kind: Any) -> bool:
    from pyarrow import types

    return _is_text(kind) or types.is_dictionary(kind) or types.is_boolean(kind)


class _Categories(NamedTuple):
    """The distinct values of a column as texts, sorted, and for every row the index of its value."""

    names: list[str]
    codes: np.ndarray


def _categories(path: Path, name: str, column: Any, most: int | None = MOST_CATEGORIES) -> _Categories:
    from pyarrow import types

    encoded = column.unify_dictionaries() if types.is_dictionary(column.type) else column.dictionary_encode()
    codes = np.concatenate([chunk.indices.to_numpy(zero_copy_only=False) for chunk in encoded.chunks])
    used, codes = np.unique(codes, return_inverse=True)
    dictionary = encoded.chunk(0).dictionary
    if most is not None and len(used) > most:
        raise DataError(
            f"{path}: column {name} has {len(used):,} different texts, such as {str(dictionary[0])!r}, but at most "
            f"{most} can be encoded; drop the column, or write numbers with a decimal point"
        )
    texts = np.array([str(dictionary[int(one)]) for one in used], object)
    order = np.argsort(texts, kind="stable")
    return _Categories(texts[order].tolist(), np.argsort(order)[codes])


def _refuse_numbers_as_texts(path: Path, name: str, column: Any, otherwise: str) -> None:
    """Raises ``DataError`` for texts of a CSV file that were meant as numbers: most of the different ones are."""
    import pyarrow.compute

    if _is_parquet(path) or not _is_text(column.type):
        return
    compute: Any = pyarrow.compute  # whose functions are made at run time
    texts = compute.unique(column)
    if 2 * compute.sum(compute.match_substring_regex(texts, NUMBER_AS_WRITTEN)).as_py() <= len(texts):
        return
    other = texts.filter(compute.invert(compute.match_substring_regex(texts, NUMBER))).to_pylist()
    raise DataError(
        f"{path}: most values of column {name} are numbers, but not {_listed(other, 3)}: fill in missing values; write "
        f"decimal points, and no commas or signs such as %; {otherwise}"
    )


def _floats(path: Path, name: str, column: Any) -> np.ndarray:
    """A column of numbers in float64."""
    import pyarrow as pa
    from pyarrow import types

    kind = column.type
    if types.is_binary(kind) and not _is_parquet(path):
        raise DataError(f"{path}: column {name} is not UTF-8 text; save the file in UTF-8")
    if not (types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)):
        raise DataError(
            f"{path}: column {name} has type {kind}, not a valid input; convert it to numbers or texts, or drop it"
        )
    values = np.asarray(column.cast(pa.float64(), safe=False).to_numpy(), float)
    wrong = int((~np.isfinite(values)).sum())
    if wrong:
        raise DataError(f"{path}: column {name} has {wrong:,} infinite values; replace them, or drop their rows")
    return values


def _standardized(path: Path, name: str, values: np.ndarray) -> tuple[np.ndarray, float]:
    """Values minus their mean, divided by their standard deviation; and the standard deviation."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        deviation = float(values.std())
        standardized = (values - values.mean()) / deviation
    if not 0 < deviation < np.inf or not np.isfinite(standardized).all():
        raise DataError(f"{path}: numbers in column {name} are too large or too small to be standardized")
    return standardized.astype(np.float32), deviation


def _inputs(path: Path, read: Any) -> tuple[np.ndarray, tuple[str, ...]]:
    """The inputs of all rows, and their names."""
    blocks, names, constant, encoded = [], [], [], []
    for name, column in zip(read.column_names, read.columns, strict=True):
        if _is_categorical(column.type):
            _refuse_numbers_as_texts(path, name, column, "if they are categories, save the table as .parquet")
            found = _categories(path, name, column)
            own = [f"{name}={text}" for text in found.names]
            block = np.zeros((read.num_rows, len(own)), np.float32) if len(own) > 1 else None
            if block is not None:
                block[np.arange(read.num_rows), found.codes] = 1
                encoded.append(f"{name!r} ({len(own)})")
        else:
            values, own = _floats(path, name, column), [name]
            block = None if values.min() == values.max() else _standardized(path, name, values)[0][:, None]
        if block is None:
            constant.append(name)
            continue
        blocks.append(block)
        names += own
        if read.num_rows * len(names) > MOST_NUMBERS:
            raise DataError(
                f"{path}: {read.num_rows:,} examples with all inputs are more than {MOST_NUMBERS:,} numbers; drop rows "
                "or columns"
            )
    if encoded:
        LOGGER.warning(shown(f"{path}: columns that get an input for each of their values: {_some(encoded)}"))
    if constant:
        LOGGER.warning(shown(f"{path}: columns left out because all their values are equal: {_listed(constant)}"))
    if not names:
        raise DataError(f"{path}: no column besides the target differs between rows; there must be inputs")
    return np.concatenate(blocks, axis=1), tuple(names)


# The target ----------------------------------------------------------------------------------------------------------


class _Target(NamedTuple):
    """Labels or numbers, see ``Table``."""

    values: np.ndarray
    classes: tuple[str, ...] | None
    deviation: float


def _target(path: Path, name: str, column: Any, task: str | None) -> _Target:
    from pyarrow import types

    if _is_categorical(column.type):
        if task != CLASSIFICATION:
            _refuse_numbers_as_texts(path, name, column, _instead(path, name, CLASSIFICATION))
        if task == REGRESSION:
            raise DataError(f"{path}: the target {name} has texts, which cannot be regressed on")
        found = _categories(path, name, column, most=None)
        _say(path, name, f"texts, used as {_classes(found.names)}", len(found.codes) < FEW * len(found.names))
        return _labels(path, name, found)
    values = _floats(path, name, column)
    integers = types.is_integer(column.type)
    # Not as floats, which do not tell large integers, such as identifiers, apart.
    different, codes = np.unique(column.to_numpy() if integers else values, return_inverse=True)
    whole = bool((different == np.round(different)).all())
    if task == CLASSIFICATION and not whole:
        part = different[different != np.round(different)][0]
        raise DataError(f"{path}: the target {name} has numbers such as {part:g}, which are not labels")
    few = len(different) <= MOST_CLASSES
    if task == CLASSIFICATION or (task is None and integers and few):
        found = _Categories([str(int(value)) for value in different], codes)
        if task is None and not np.array_equal(different, np.arange(len(different))):
            _say(path, name, f"integers, used as {_classes(found.names)}; {_instead(path, name, REGRESSION)}")
        return _labels(path, name, found)
    if len(different) == 1:
        raise DataError(f"{path}: all targets, column {name}, are {different[0]:g}; there is nothing to learn")
    if task is None and whole and (integers or few):
        kind = "integers" if integers else "floats, all whole numbers,"
        which = f"{kind} with {len(different):,} different values"
        _say(path, name, f"{which}, used for regression; {_instead(path, name, CLASSIFICATION)}")
    standardized, deviation = _standardized(path, name, values)
    return _Target(standardized[:, None], None, deviation)


def _labels(path: Path, name: str, found: _Categories) -> _Target:
    if len(found.names) == 1:
        raise DataError(f"{path}: all targets, column {name}, are {found.names[0]!r}; there is nothing to learn")
    return _Target(found.codes.astype(np.int32), tuple(found.names), 1.0)


def _classes(names: Sequence[str]) -> str:
    return f"{len(names)} classes in this order: {_listed(names)}"


def _instead(path: Path, name: str, task: str) -> str:
    return (
        f"if they are {'classes' if task == CLASSIFICATION else 'numbers to regress on'}, say {path.name}:{name}:{task}"
    )


def _say(path: Path, name: str, taken: str, few: bool = False) -> None:
    fewer = f"; these are fewer than {FEW} examples per class" if few else ""
    LOGGER.warning(shown(f"{path}: the target {name} has {taken}{fewer}"))


def _listed(names: Sequence[str], most: int = 20) -> str:
    return _some(list(map(repr, names)), most)


def _some(words: Sequence[str], most: int = 20) -> str:
    return ", ".join(words[:most]) + (f" and {len(words) - most} more" if len(words) > most else "")


def _is_number(name: str) -> bool:
    try:
        float(name)
    except ValueError:
        return False
    return True
