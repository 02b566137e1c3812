"""Tables as parquet files, each with a digest of its column names, types and values."""

import hashlib
import itertools
from collections.abc import Sequence

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from widebasin.shown import first_line

FORMAT = b"3"
FEW_ROWS = 1000


class TableError(ValueError):
    """A table is damaged or has another format."""


def packed(table: pd.DataFrame) -> bytes:
    """Writes a table as the content of a parquet file."""
    arrow = pa.Table.from_pandas(table, preserve_index=False).replace_schema_metadata(None)
    arrow = arrow.replace_schema_metadata({b"widebasin_format": FORMAT, b"widebasin_sha256": _digest(arrow)})
    sink = pa.BufferOutputStream()
    pq.write_table(arrow, sink)
    return sink.getvalue().to_pybytes()


def unpacked(content: bytes) -> pd.DataFrame:
    """Reads a table written by ``packed``.

    Raises:
        TableError: if the content is truncated, corrupt or has another format.
    """
    try:
        arrow = pq.read_table(pa.BufferReader(content))
        metadata = arrow.schema.metadata or {}
        arrow = arrow.replace_schema_metadata(None)
        digest, table = _digest(arrow), arrow.to_pandas()
    except Exception as error:  # damaged bytes make pyarrow and pandas raise almost anything
        raise TableError(f"is corrupt or truncated ({first_line(error)})") from error
    version = metadata.get(b"widebasin_format")
    if version != FORMAT:
        raise TableError(f"has format {version}, but this version of widebasin reads {FORMAT}")
    if metadata.get(b"widebasin_sha256") != digest:
        raise TableError("is corrupt: its values do not match their digest")
    return table


def stacked(contents: Sequence[bytes]) -> tuple[pd.DataFrame, list[int]] | None:
    """Reads several tables that have the same columns, one below the other: faster than ``unpacked`` one by one.

    Returns:
        The table that ``pandas.concat`` would give, and the number of rows of each; ``None`` if one of them is damaged
        or their columns differ, which ``unpacked`` tells one by one.
    """
    try:
        return _stacked(contents)
    except Exception:  # see ``unpacked``
        return None


def _stacked(contents: Sequence[bytes]) -> tuple[pd.DataFrame, list[int]] | None:
    arrows = [pq.ParquetFile(pa.BufferReader(content)).read(use_threads=False) for content in contents]
    seals = [arrow.schema.metadata or {} for arrow in arrows]
    arrows = [arrow.replace_schema_metadata(None) for arrow in arrows]
    if not arrows or any(not arrow.schema.equals(arrows[0].schema) for arrow in arrows):
        return None
    lengths, together = [len(arrow) for arrow in arrows], pa.concat_tables(arrows)
    # Missing whole numbers would change the type of the other tables' values, too.
    if any(column.null_count and not pa.types.is_floating(column.type) for column in together.columns):
        return None
    wanted = [(FORMAT, digest) for digest in _digests(together, lengths)]
    if [(seal.get(b"widebasin_format"), seal.get(b"widebasin_sha256")) for seal in seals] != wanted:
        return None
    return together.to_pandas(), lengths


def _digest(table: pa.Table) -> bytes:
    """SHA-256 of column names, types and values."""
    return _digests(table, [len(table)])[0]


def _digests(together: pa.Table, lengths: Sequence[int]) -> list[bytes]:
    """The digests of tables of these lengths, one below the other: values are hashed one by one, so all at once."""
    ends = list(itertools.accumulate(lengths))
    digests = [hashlib.sha256() for _ in lengths]
    for field, column in zip(together.schema, together.columns, strict=True):
        # Of a few rows, it takes longer to find equal texts than to hash each.
        hashes = pd.util.hash_array(column.to_numpy(), categorize=len(column) > FEW_ROWS)
        for digest, length, end in zip(digests, lengths, ends, strict=True):
            digest.update(f"{field.name}: {field.type}, {length}\n".encode())
            digest.update(hashes[end - length : end].tobytes())
    return [digest.hexdigest().encode() for digest in digests]
