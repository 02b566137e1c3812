"""The folder of a sweep: its lock, its spec, the rows of finished groups, the table of results.

::

    spec.toml          the resolved spec
    run.json           plan of every cell, versions, platform, command
    results.parquet    one row per trained network
    history.parquet    one row per network and epoch
    cells/CELL/        group-K.results.parquet and group-K.history.parquet, written when the group is finished,
                       group-K.checkpoint/ while it trains, group-K.parameters/ if parameters are kept
    measurements/      what was measured of the trained networks, a table for each kind
"""

import contextlib
import hashlib
import json
import os
import shutil
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import filelock
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from widebasin.sweep.errors import SweepError, UsageError
from widebasin.sweep.spec import Spec, differences, read_spec, spec_toml

TABLE_FORMAT = b"2"
RECORD_FORMAT = 2
# What the figures, the page and the tables of a sweep take, generously.
REPORT_BYTES = 50 * 2**20
RESULT_FILES = ("results.parquet", "history.parquet", "report.html", "measure.html")
OWN_FOLDERS = ("cells", "figures", "measurements")
# Written before anything else, in this order.
RECORD_FILES = ("run.json", "spec.toml")


class ResultsFolder:
    """A results folder on disk. Every file in it appears whole or not at all."""

    def __init__(self, path: Path) -> None:
        self.path = path

    # Opening -------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Creates the folder and holds it for this process.

        Raises:
            UsageError: if the folder cannot be created or written.
            SweepError: if another process holds it.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = filelock.FileLock(self.path / ".lock", timeout=0)
            lock.acquire()
        except filelock.Timeout:
            owner = self._text(".owner") or "another process"
            raise SweepError(
                f"{self.path} is in use by {owner}; wait until it has ended, or choose another folder with --out"
            ) from None
        except OSError as error:
            why = "is a file, not a folder" if self.path.is_file() else f"cannot be written ({error.strerror})"
            raise UsageError("out", str(self.path), f"{why}; choose another --out") from error
        try:
            self.write(".owner", f"process {os.getpid()} on {socket.gethostname()}".encode())
            yield
        finally:
            (self.path / ".owner").unlink(missing_ok=True)
            lock.release()

    def check_space(self, bytes_needed: int) -> None:
        """Raises ``UsageError`` unless a file can be written here and the sweep's files will fit the disk."""
        needed = bytes_needed + REPORT_BYTES
        free = shutil.disk_usage(self.path).free
        if free < needed:
            remedy = f"has {free / 2**20:.0f} MiB free and the sweep needs up to {needed / 2**20:.0f}"
            raise UsageError("out", str(self.path), f"{remedy}; free some space or choose another --out")
        self.write(".probe", b"\0" * 4096)
        (self.path / ".probe").unlink()

    def holds_sweep(self) -> bool:
        """Whether a sweep has been started here."""
        return (self.path / "spec.toml").exists()

    def check_foreign(self, own: Sequence[str]) -> None:
        """Raises ``UsageError`` if the folder holds files other than widebasin's own that are named."""
        names = {path.name.removesuffix(".partial") for path in self.path.iterdir() if not path.name.startswith(".")}
        foreign = sorted(names - set(own))
        if foreign:
            raise UsageError(
                "out", str(self.path), f"holds other files ({', '.join(foreign[:3])}); choose another --out"
            )

    def check_same(self, spec: Spec) -> None:
        """Raises ``UsageError`` if the folder holds the results of another spec."""
        different = differences(self.spec(), spec)
        if different:
            raise UsageError(
                "out",
                str(self.path),
                f"holds results of another spec ({'; '.join(different)}); "
                "choose another --out, or give --overwrite to delete them",
            )

    def clear(self) -> None:
        """Deletes the sweep. The spec last: what is left by a process that ends meanwhile is still that spec's."""
        for name in OWN_FOLDERS:
            if (self.path / name).exists():
                shutil.rmtree(self.path / name)
        for name in (*RESULT_FILES, *RECORD_FILES):
            (self.path / name).unlink(missing_ok=True)

    # Spec and run --------------------------------------------------------------------------------------------------

    def spec(self) -> Spec:
        """The spec of the sweep held here."""
        if not self.holds_sweep():
            raise UsageError(
                "folder", str(self.path), "holds no sweep (no spec.toml); give the folder of a finished one"
            )
        return read_spec(self.path / "spec.toml")

    def begin(self, spec: Spec, run: dict[str, Any]) -> None:
        """Records what is about to run; the spec last: it marks the folder as a sweep's."""
        self.write("run.json", json.dumps(run, indent=2).encode())
        self.write("spec.toml", spec_toml(spec).encode())

    def run_record(self) -> dict[str, Any]:
        """The content of run.json.

        Raises:
            SweepError: if it is damaged or of another format.
        """
        remedy = "choose another --out, or give --overwrite to delete the results there"
        try:
            record = json.loads(self._text("run.json"))
            version = record["format"]
            complete = record["plans"] and record["environments"]
        except (ValueError, KeyError, TypeError) as error:
            raise SweepError(f"{self.path / 'run.json'} is damaged ({error}); {remedy}") from error
        if version != RECORD_FORMAT or not complete:
            raise SweepError(f"{self.path / 'run.json'} has format {version}, not {RECORD_FORMAT}; {remedy}")
        return record

    # Groups --------------------------------------------------------------------------------------------------------

    def group(self, cell: str, number: int, part: str) -> Path:
        """The path of a group's ``results.parquet``, ``history.parquet``, ``checkpoint`` or ``parameters``."""
        return self.path / "cells" / cell / f"group-{number}.{part}"

    def finished(self, cell: str, number: int, with_parameters: bool = False) -> bool:
        """Whether a group is finished: both tables are there, and its parameters where they are wanted."""
        tables = all(self.group(cell, number, part).exists() for part in ("results.parquet", "history.parquet"))
        # Parameters count from their seal on, as checkpoints do.
        return tables and (not with_parameters or any(self.group(cell, number, "parameters").glob("*.seal")))

    def verify_group(self, cell: str, number: int) -> None:
        """Raises ``SweepError`` if a table of a finished group is damaged."""
        for part in ("results", "history"):
            self.read_table(self.group(cell, number, f"{part}.parquet"))

    def write_group(self, cell: str, number: int, results: pd.DataFrame, history: pd.DataFrame) -> None:
        """Writes the rows of a finished group."""
        self.group(cell, number, "results.parquet").parent.mkdir(parents=True, exist_ok=True)
        self.write_table(self.group(cell, number, "history.parquet"), history)
        self.write_table(self.group(cell, number, "results.parquet"), results)

    def merge(self, groups: list[tuple[str, int]]) -> None:
        """Writes results.parquet and history.parquet from the rows of all groups, in the order given."""
        for part in ("results", "history"):
            tables = [self.read_table(self.group(cell, number, f"{part}.parquet")) for cell, number in groups]
            self.write_table(self.path / f"{part}.parquet", pd.concat(tables, ignore_index=True))

    def results(self) -> pd.DataFrame:
        """One row per trained network."""
        return self.read_table(self.path / "results.parquet")

    def history(self) -> pd.DataFrame:
        """One row per network and epoch."""
        return self.read_table(self.path / "history.parquet")

    def measurements(self, name: str) -> pd.DataFrame | None:
        """What was measured of the networks, by the name of the kind; ``None`` if it was not."""
        path = self._measurements(name)
        return self.read_table(path, "delete it and run the same command again") if path.exists() else None

    def write_measurements(self, name: str, table: pd.DataFrame) -> None:
        """Keeps what was measured of the networks."""
        self.write_table(self._measurements(name), table)

    def _measurements(self, name: str) -> Path:
        return self.path / "measurements" / f"{name}.parquet"

    # Files ---------------------------------------------------------------------------------------------------------

    def write(self, name: str, content: bytes) -> None:
        """Writes a file atomically.

        Raises:
            SweepError: if the disk does not take it; the file that was there before is unharmed.
        """
        path = self.path / name
        aside = path.with_name(path.name + ".partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with aside.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                aside.unlink(missing_ok=True)
            raise SweepError(
                f"cannot write {path} ({error.strerror}); make room or give another --out. "
                "Run the same command again to continue: finished networks are kept"
            ) from error

    def write_table(self, path: Path, table: pd.DataFrame) -> None:
        """Writes a parquet table atomically, with a digest of its values and the format's version."""
        arrow = pa.Table.from_pandas(table, preserve_index=False)
        arrow = arrow.replace_schema_metadata({b"widebasin_format": TABLE_FORMAT, b"widebasin_sha256": _digest(arrow)})
        sink = pa.BufferOutputStream()
        pq.write_table(arrow, sink)
        self.write(str(path.relative_to(self.path)), sink.getvalue().to_pybytes())

    def read_table(
        self,
        path: Path,
        remedy: str = "delete it and run the same command again: only its networks are trained anew",
    ) -> pd.DataFrame:
        """Reads a parquet table and verifies its digest and format.

        Raises:
            SweepError: if the file is missing, truncated, corrupt or of another format.
        """
        try:
            arrow = pq.read_table(path)
            digest, table = _digest(arrow), arrow.to_pandas()
        except FileNotFoundError as error:
            raise SweepError(f"{path} does not exist; the sweep is not finished: run it again to continue") from error
        except Exception as error:  # damaged bytes make pyarrow and pandas raise almost anything
            raise SweepError(f"{path} is corrupt or truncated ({str(error).splitlines()[0]}); {remedy}") from error
        metadata = arrow.schema.metadata or {}
        version = metadata.get(b"widebasin_format")
        if version != TABLE_FORMAT:
            raise SweepError(f"{path} has format {version}, this version of widebasin reads {TABLE_FORMAT}; {remedy}")
        if metadata.get(b"widebasin_sha256") != digest:
            raise SweepError(f"{path} is corrupt: its values do not match their digest; {remedy}")
        return table

    def _text(self, name: str) -> str:
        try:
            return (self.path / name).read_text()
        except OSError:
            return ""


def _digest(table: pa.Table) -> bytes:
    """SHA-256 of names and values."""
    digest = hashlib.sha256()
    for name, column in zip(table.column_names, table.columns, strict=True):
        digest.update(name.encode())
        digest.update(pd.util.hash_array(column.to_numpy()).tobytes())
    return digest.hexdigest().encode()
