"""Tables as parquet files, each with a digest of its column names, types and values."""

import hashlib

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

FORMAT = b"3"


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
        raise TableError(
            f"is corrupt or truncated ({(str(error).splitlines() or [type(error).__name__])[0]})"
        ) from error
    version = metadata.get(b"widebasin_format")
    if version != FORMAT:
        raise TableError(f"has format {version}, but this version of widebasin reads {FORMAT}")
    if metadata.get(b"widebasin_sha256") != digest:
        raise TableError("is corrupt: its values do not match their digest")
    return table


def _digest(table: pa.Table) -> bytes:
    """SHA-256 of column names, types and values."""
    digest = hashlib.sha256()
    for field, column in zip(table.schema, table.columns, strict=True):
        digest.update(f"{field.name}: {field.type}, {len(column)}\n".encode())
        digest.update(pd.util.hash_array(column.to_numpy()).tobytes())
    return digest.hexdigest().encode()
