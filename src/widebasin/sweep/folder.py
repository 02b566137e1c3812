"""The folder of a sweep: its lock, its spec, the rows of finished groups, the table of results.

::

    spec.toml          the resolved spec
    description.json   what a report needs of the workload, see ``Description``
    run.json           plan of every cell, versions, platform, data; digests of the two files above, and its own
    results.parquet    one row per trained network
    history.parquet    one row per network and epoch
    cells/CELL/        group-K.results.parquet and group-K.history.parquet, written when the group is finished,
                       group-K.checkpoint/ while it trains, group-K.parameters/ if parameters are kept
    measurements/      what was measured of the trained networks, a table for each kind
"""

import contextlib
import json
import os
import shutil
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import pandas as pd

from widebasin.sweep.axes import Axis, from_record, own_of, record_of
from widebasin.sweep.description import Description
from widebasin.sweep.errors import SweepError, UsageError
from widebasin.sweep.rows import PARAMETERS, rows_of_spec
from widebasin.sweep.sealed import digest_of, sealed, unsealed
from widebasin.sweep.spec import Resolved
from widebasin.sweep.spec_file import differences, parse_resolved, spec_toml
from widebasin.sweep.tables import TableError, packed, unpacked

RECORD_FORMAT = 3
# What the figures, the page and the tables of a sweep take, generously.
REPORT_BYTES = 50 * 2**20
RESULT_FILES = ("results.parquet", "history.parquet", "report.html", "measure.html")
OWN_FOLDERS = ("cells", "figures", "measurements")
# Written before anything else, in this order.
RECORD_FILES = ("description.json", "run.json", "spec.toml")
REMEDY = "choose another --out, or give --overwrite to delete the results there"
TRAIN_AGAIN = "delete it and run the same command again: only its networks are trained anew"
MERGE_AGAIN = "delete it and run the same command again: nothing is trained anew"


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
            owner = self._bytes(".owner").decode(errors="replace") or "another process"
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

    def check_same(self, spec: Resolved) -> None:
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

    def spec(self) -> Resolved:
        """The spec of the sweep held here, as it was resolved; its workload and data need not be here.

        Raises:
            UsageError: if the folder holds no sweep.
            SweepError: if it is damaged, was changed, or is of another format.
        """
        text = self._verified("spec.toml")
        try:
            return parse_resolved(text.decode(), self._own_axes())
        except ValueError as error:
            raise SweepError(f"{self.path / 'spec.toml'} cannot be read ({error}); {REMEDY}") from error

    def description(self) -> Description:
        """What the sweep held here says of itself.

        Raises:
            UsageError: if the folder holds no sweep.
            SweepError: if it is damaged, was changed, or is of another format.
        """
        content = self._verified("description.json")
        try:
            return Description.from_record(unsealed(content))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise SweepError(f"{self.path / 'description.json'} is damaged ({error}); {REMEDY}") from error

    def begin(self, spec: Resolved, description: Description, run: dict[str, Any]) -> None:
        """Records what is about to run; the spec last: it marks the folder as a sweep's.

        Args:
            spec: of the sweep.
            description: of the sweep.
            run: ``plans`` and ``environments``.
        """
        text, facts = spec_toml(spec).encode(), sealed(description.record())
        files = {"spec.toml": digest_of(text), "description.json": digest_of(facts)}
        self.write("description.json", facts)
        self.write_run_record({"format": RECORD_FORMAT, "files": files, "axes": record_of(own_of(spec.axes)), **run})
        self.write("spec.toml", text)

    def run_record(self) -> dict[str, Any]:
        """The content of run.json.

        Raises:
            SweepError: if it is damaged, was changed, or is of another format.
        """
        path = self.path / "run.json"
        try:
            record = unsealed(self._bytes("run.json"))
        except ValueError as error:
            version = _format(self._bytes("run.json"))
            if version not in (None, RECORD_FORMAT):
                raise SweepError(_of_format(path, version)) from error
            raise SweepError(f"{path} is damaged or was changed ({error}); {REMEDY}") from error
        if record.get("format") != RECORD_FORMAT:
            raise SweepError(_of_format(path, record.get("format")))
        if not all(record.get(name) for name in ("files", "plans", "environments")):
            raise SweepError(f"{path} is not complete; {REMEDY}")
        return record

    def write_run_record(self, record: dict[str, Any]) -> None:
        """Replaces run.json."""
        self.write("run.json", sealed(record))

    def _verified(self, name: str) -> bytes:
        """The content of a file whose digest is in run.json."""
        if not self.holds_sweep():
            raise UsageError(
                "folder", str(self.path), "holds no sweep (no spec.toml); give the folder of a finished one"
            )
        content = self._bytes(name)
        if self.run_record()["files"].get(name) != digest_of(content):
            raise SweepError(
                f"{self.path / name} is damaged or was changed since the sweep began: it does not match its digest in "
                f"run.json; {REMEDY}"
            )
        return content

    def _own_axes(self) -> tuple[Axis, ...]:
        try:
            return from_record(self.run_record()["axes"])
        except (KeyError, TypeError, ValueError) as error:
            raise SweepError(f"{self.path / 'run.json'} has damaged axes ({error}); {REMEDY}") from error

    # Groups --------------------------------------------------------------------------------------------------------

    def group(self, cell: str, number: int, part: str) -> Path:
        """The path of a group's ``results.parquet``, ``history.parquet``, ``checkpoint`` or ``parameters``."""
        return self.path / "cells" / cell / f"group-{number}.{part}"

    def relative(self, path: Path) -> str:
        """A path within the folder, from it on."""
        return path.relative_to(self.path).as_posix()

    def finished(self, cell: str, number: int, with_parameters: bool = False) -> bool:
        """Whether a group is finished: both tables are there, and its parameters where they are wanted."""
        tables = all(self.group(cell, number, part).exists() for part in ("results.parquet", "history.parquet"))
        # Parameters count from their seal on, as checkpoints do.
        return tables and (not with_parameters or any(self.group(cell, number, "parameters").glob("*.seal")))

    def verify_group(self, cell: str, number: int, expected: pd.DataFrame) -> None:
        """Raises ``SweepError`` if a table of a finished group is damaged, or of other networks than ``expected``."""
        self._group_table(cell, number, "results", expected)
        self._group_table(cell, number, "history", expected)

    def write_group(self, cell: str, number: int, results: pd.DataFrame, history: pd.DataFrame) -> None:
        """Writes the rows of a finished group."""
        self.group(cell, number, "results.parquet").parent.mkdir(parents=True, exist_ok=True)
        self.write_table(self.group(cell, number, "history.parquet"), history)
        self.write_table(self.group(cell, number, "results.parquet"), results)

    def merge(self, groups: Sequence[tuple[str, int, pd.DataFrame]]) -> None:
        """Writes results.parquet and history.parquet from the rows of all groups, in the order given.

        Args:
            groups: cell, number and the rows of ``rows_of_spec`` that the group must have.
        """
        for part in ("results", "history"):
            tables = [self._group_table(cell, number, part, expected) for cell, number, expected in groups]
            self.write_table(self.path / f"{part}.parquet", pd.concat(tables, ignore_index=True))

    def _group_table(self, cell: str, number: int, part: str, expected: pd.DataFrame) -> pd.DataFrame:
        path = self.group(cell, number, f"{part}.parquet")
        return self._of_networks(path, self.read_table(path), expected, TRAIN_AGAIN)

    def results(self) -> pd.DataFrame:
        """One row per trained network.

        Raises:
            UsageError: if the folder holds no sweep.
            SweepError: if it is not finished, damaged, or its rows are not those of its spec.
        """
        return self._table("results.parquet")

    def history(self) -> pd.DataFrame:
        """One row per network and epoch; raises what ``results`` does."""
        return self._table("history.parquet")

    def _table(self, name: str) -> pd.DataFrame:
        expected = rows_of_spec(self.spec())
        path = self.path / name
        return self._of_networks(path, self.read_table(path, MERGE_AGAIN), expected, MERGE_AGAIN)

    def _of_networks(self, path: Path, table: pd.DataFrame, expected: pd.DataFrame, remedy: str) -> pd.DataFrame:
        """The table, if its rows are those of the networks expected, each once or once per epoch."""
        if path.name.endswith("history.parquet"):
            epochs = expected["epochs"]
            expected = expected.loc[expected.index.repeat(epochs)].drop(columns="epochs")
            expected = expected.assign(epoch=np.concatenate([np.arange(1, count + 1) for count in epochs]))
        same = len(table) == len(expected) and all(
            name in table and table[name].tolist() == expected[name].tolist() for name in expected
        )
        if not same:
            raise SweepError(f"{path} is damaged: its rows are not those of the networks of spec.toml; {remedy}")
        if "results" in path.name and not _names_places(table):
            raise SweepError(f"{path} is damaged: it does not say where parameters are; {remedy}")
        return table

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
        """Writes a parquet table atomically, see ``packed``."""
        self.write(self.relative(path), packed(table))

    def read_table(self, path: Path, remedy: str = TRAIN_AGAIN) -> pd.DataFrame:
        """Reads a parquet table and verifies its digest and format.

        Raises:
            SweepError: if the file is missing, truncated, corrupt or of another format.
        """
        try:
            return unpacked(path.read_bytes())
        except FileNotFoundError as error:
            raise SweepError(f"{path} does not exist; the sweep is not finished: run it again to continue") from error
        except OSError as error:
            raise SweepError(f"{path} cannot be read ({error.strerror}); {remedy}") from error
        except TableError as error:
            raise SweepError(f"{path} {error}; {remedy}") from error

    def _bytes(self, name: str) -> bytes:
        try:
            return (self.path / name).read_bytes()
        except OSError:
            return b""


def _format(content: bytes) -> Any:
    """The format that a record names, whatever else it holds; ``None`` if it cannot be told."""
    try:
        return json.loads(content)["format"]
    except (ValueError, KeyError, TypeError):
        return None


def _of_format(path: Path, version: Any) -> str:
    return f"{path} has format {version}, this version of widebasin reads {RECORD_FORMAT}; {REMEDY}"


def _names_places(table: pd.DataFrame) -> bool:
    return PARAMETERS in table and all(isinstance(place, str) for place in table[PARAMETERS])
