"""The folder of a sweep: its lock, its spec, the rows of finished groups, the table of results.

::

    spec.toml          the resolved spec
    description.json   what a report needs to know about the workload, see ``Description``
    run.json           stages of the sweep, plan of every cell, versions, platform, data; digests of the two
                       files above and of itself
    results.parquet    one row per trained network
    history.parquet    one row per network and epoch
    cells/CELL/        group-K.results.parquet and group-K.history.parquet, written when the group is finished,
                       group-K.checkpoint/ while it trains, group-K.parameters/ if parameters are kept
    measurements/      measurements of the trained networks, one table per kind
    workers/           while other processes train it: what they were given, tell and print, see ``workers``
    log.jsonl          the events, see ``trackers``; other trackers have a folder each
"""

import contextlib
import json
import os
import re
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from widebasin.sweep.axes import Axis, from_record, own_of, record_of
from widebasin.sweep.cells import contains
from widebasin.sweep.description import Description
from widebasin.sweep.errors import DamagedResults, OtherResults, SweepError, UsageError
from widebasin.sweep.held_folder import TRAIN_AGAIN, HeldFolder
from widebasin.sweep.rows import PARAMETERS, Groups, rows_of_spec
from widebasin.sweep.sealed import digest_of, sealed, unsealed
from widebasin.sweep.spec import Resolved
from widebasin.sweep.spec_file import differences, parse_resolved, spec_toml
from widebasin.sweep.tables import stacked
from widebasin.sweep.trackers import ALWAYS, TRACKERS
from widebasin.sweep.units import bytes_in_words

RECORD_FORMAT = 5
# What the figures, the page and the tables of a sweep take, generously.
REPORT_BYTES = 50 * 2**20
# Seconds to wait for others that share the folder, which begin, merge or write a report.
OTHERS = 600.0
TABLES = ("results.parquet", "history.parquet")
PAGES = ("report.html", "explore.html", "measure.html")
RESULT_FILES = (*TABLES, *PAGES, *(f"partial-{name}" for name in PAGES), *ALWAYS)
# What the processes of an executor get, tell and print, see ``workers``.
WORKERS = "workers"
# In the folder of every command that started some: its process, as ``process_name`` names it.
COMMAND = "command"
OWN_FOLDERS = ("cells", "figures", "partial-figures", "tables", "measurements", WORKERS, *TRACKERS)
# Written before anything else, in this order.
RECORD_FILES = ("run.json", "description.json", "spec.toml")
GROUP = re.compile(r"group-(\d+)\.([a-z.]+)")
# Tables of groups that are read together: as many more make it no faster.
TOGETHER = 500
MERGE_AGAIN = "delete it and run the same command again: nothing is trained again"


@dataclass(frozen=True)
class Look:
    """What a look at the folder of a cell has found: numbers of groups.

    Attributes:
        finished: groups whose tables are there, and their parameters if wanted.
        leased: groups that a process has, or had when it was killed.
        begun: groups with a checkpoint.
    """

    finished: frozenset[int] = frozenset()
    leased: frozenset[int] = frozenset()
    begun: frozenset[int] = frozenset()


class ResultsFolder(HeldFolder):
    """The results folder of a sweep on disk, see ``HeldFolder`` for its arguments."""

    @property
    def remedy(self) -> str:
        """What to do if the sweep in it cannot be used."""
        if self.argument == "folder":
            return "train it again: widebasin sweep or study, with --overwrite"
        return f"{self.another}, or give --overwrite to delete the results there"

    # Opening -------------------------------------------------------------------------------------------------------

    def how_far(self) -> str:
        """The progress of the sweep, if it can be read."""
        with contextlib.suppress(UsageError, SweepError):
            return f" ({self.progress()})"
        return ""

    def _what(self) -> str:
        """What is there instead of a sweep."""
        if self.path.is_dir():
            return "contains no sweep (no spec.toml)"
        return "is a file, not a folder" if self.path.exists() else "does not exist"

    def check_space(self, bytes_needed: int) -> None:
        """Raises ``UsageError`` unless a file can be written here and the sweep's files will fit on the disk."""
        needed = bytes_needed + REPORT_BYTES
        free = shutil.disk_usage(self.path).free
        if free < needed:
            remedy = f"has {bytes_in_words(free)} free and the sweep needs up to {bytes_in_words(needed)}"
            raise UsageError(self.argument, str(self.path), f"{remedy}; free some space or {self.another}")
        self.write(".probe", b"\0" * 4096)
        (self.path / ".probe").unlink()

    def holds_sweep(self) -> bool:
        """Whether a sweep has been started here."""
        return (self.path / "spec.toml").exists()

    def holds_work(self) -> bool:
        """Whether anything was trained here: rows of groups, checkpoints or parameters."""
        return any((self.path / "cells").glob("*/group-*"))

    def is_finished(self) -> bool:
        """Whether all networks of the sweep are trained and in its tables."""
        return all((self.path / name).exists() for name in TABLES)

    def keeps_parameters(self) -> bool:
        """Whether the last process that trained was set to keep parameters."""
        return bool(self.run_record().get("keep_parameters"))

    def trackers(self) -> list[str]:
        """Names of the trackers that the training was logged to, besides ``log.jsonl``."""
        return [name for name in TRACKERS if (self.path / name).exists()]

    def progress(self, trained: int | None = None) -> str:
        """The progress of an unfinished sweep, in words.

        Args:
            trained: number of trained networks, if known.
        """
        if trained is None:
            trained = sum(len(self.read_table(path)) for path in self._finished_groups("results"))
        return f"{trained} of {len(rows_of_spec(self.spec()))} networks are trained"

    def check_foreign(self, own: Sequence[str]) -> None:
        """Raises ``UsageError`` if the folder contains files other than the given ones, widebasin's own."""
        names = {path.name.removesuffix(".partial") for path in self.path.iterdir() if not path.name.startswith(".")}
        foreign = sorted(names - set(own))
        if foreign:
            raise UsageError(
                "out", str(self.path), f"contains other files ({', '.join(foreign[:3])}); choose another --out"
            )

    def refused(self, which: str, remedy: str = "") -> OtherResults:
        """The error for a folder with other results, with an additional remedy."""
        said = f"contains results {which}; {remedy and remedy + ', '}{self.another}, or delete them with --overwrite"
        return OtherResults(self.argument, str(self.path), said)

    def check_grows_to(self, spec: Resolved) -> None:
        """Raises ``UsageError`` unless the folder contains results of this spec, or of one that it extends."""
        here = self.spec()
        if not contains(spec, here):
            different = "; ".join(differences(here, spec))
            axes = {axis.flag for axis in spec.axes} | {"first_seed", "radii"}
            there, asked = here.given(), spec.given()
            grows = {name for name in there | asked if there.get(name) != asked.get(name)} <= axes
            more = "repeat its values and add to them, to extend the sweep" if grows else ""
            raise self.refused(f"of a different spec ({different})", more)

    def clear(self) -> None:
        """Deletes the sweep, the spec last, so that whatever an interrupted deletion leaves still belongs to it.

        What workers were given stays: those that wait in a queue still need it. What they tell is heard no longer.
        """
        for command in (self.path / WORKERS).glob(f"*/{COMMAND}"):
            command.unlink(missing_ok=True)
        for name in OWN_FOLDERS:
            if name != WORKERS and (self.path / name).exists():
                shutil.rmtree(self.path / name)
        for name in (*RESULT_FILES, *RECORD_FILES):
            (self.path / name).unlink(missing_ok=True)

    def remove_tables(self) -> None:
        """Deletes the tables, which are made of the rows of groups: the sweep is then no longer finished."""
        for name in TABLES:
            (self.path / name).unlink(missing_ok=True)

    # Spec and run --------------------------------------------------------------------------------------------------

    def spec(self) -> Resolved:
        """The resolved spec of the sweep in this folder; its workload and data are not needed.

        Raises:
            UsageError: if the folder contains no sweep.
            SweepError: if it is damaged, was changed, or has another format.
        """
        return self.stages()[-1]

    def stages(self) -> list[Resolved]:
        """The spec of each stage of the sweep: each contains all networks of the one before, the last is current.

        Raises:
            UsageError: if the folder contains no sweep.
            SweepError: if it is damaged, was changed, or has another format.
        """
        records, _ = self._stage_records()
        try:
            own = self._own_axes()
            return [parse_resolved(record["spec"], own) for record in records]
        except ValueError as error:
            raise DamagedResults(f"{self.path / 'spec.toml'} cannot be read ({error}); {self.remedy}") from error

    def description(self) -> Description:
        """The description of the sweep in this folder.

        Raises:
            UsageError: if the folder contains no sweep.
            SweepError: if it is damaged, was changed, or has another format.
        """
        # Read before the records: it is written after them, by a process that lets the sweep grow just now.
        content = self.content("description.json")
        records, next_ones = self._stage_records()
        if digest_of(content) not in {record["description"] for record in (*records, *next_ones)}:
            raise DamagedResults(self._changed("description.json"))
        try:
            return Description.from_record(unsealed(content))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DamagedResults(f"{self.path / 'description.json'} is damaged ({error}); {self.remedy}") from error

    def begin(
        self,
        spec: Resolved,
        description: Description,
        plans: Mapping[str, Mapping[str, Any]],
        environments: Sequence[Mapping[str, Any]],
        keep_parameters: bool = False,
        imported: str = "",
    ) -> None:
        """Records what is about to run. The spec is written last: it marks the sweep, or an extension of it, as begun.

        Args:
            spec: the spec of the sweep; if the folder has a sweep, a larger one.
            description: the description of the sweep.
            plans: name of a cell -> how its networks are trained, for all stages.
            environments: the environments it was trained in.
            keep_parameters: whether the parameters of its networks are kept.
            imported: origin of its network, if it was not trained here.
        """
        stages = self._stage_records()[0] if self.holds_sweep() else []
        text, facts = spec_toml(spec), sealed(description.record())
        self.write_run_record(
            {
                "format": RECORD_FORMAT,
                "stages": [*stages, {"spec": text, "description": digest_of(facts)}],
                "axes": record_of(own_of(spec.axes)),
                "plans": plans,
                "environments": environments,
                "keep_parameters": keep_parameters,
                "imported": imported,
            }
        )
        self.write("description.json", facts)
        self.remove_tables()
        self.write("spec.toml", text.encode())

    def run_record(self) -> dict[str, Any]:
        """The content of run.json.

        Raises:
            SweepError: if it is damaged, was changed, or has another format.
        """
        path, content = self.path / "run.json", self.content("run.json")
        try:
            record = unsealed(content)
        except ValueError as error:
            version = _format(content)
            if version not in (None, RECORD_FORMAT):
                raise DamagedResults(self._of_format(version)) from error
            what = f"is damaged or was changed ({error})" if content else "is empty or missing"
            raise DamagedResults(f"{path} {what}; {self.remedy}") from error
        if record.get("format") != RECORD_FORMAT:
            raise DamagedResults(self._of_format(record.get("format")))
        if not all(record.get(name) for name in ("stages", "plans", "environments")):
            raise DamagedResults(f"{path} is incomplete; {self.remedy}")
        return record

    def write_run_record(self, record: dict[str, Any]) -> None:
        """Replaces run.json."""
        self.write("run.json", sealed(record))

    def _stage_records(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """The stages up to that of spec.toml, and the next one if its start was interrupted."""
        if not self.holds_sweep():
            raise UsageError(self.argument, str(self.path), f"{self._what()}; give the results folder of a sweep")
        # In this order: see ``description``.
        text = self.content("spec.toml")
        records = self.run_record()["stages"]
        for count, record in enumerate(records, start=1):
            if record["spec"].encode() == text:
                return records[:count], records[count:]
        raise DamagedResults(self._changed("spec.toml"))

    def _changed(self, name: str) -> str:
        return (
            f"{self.path / name} is damaged or was changed since the sweep began: it does not match its digest in "
            f"run.json; {self.remedy}"
        )

    def _own_axes(self) -> tuple[Axis, ...]:
        try:
            return from_record(self.run_record()["axes"])
        except (KeyError, TypeError, ValueError) as error:
            raise DamagedResults(f"{self.path / 'run.json'} has damaged axes ({error}); {self.remedy}") from error

    def _of_format(self, version: Any) -> str:
        path = self.path / "run.json"
        return f"{path} has format {version}, but this version of widebasin reads {RECORD_FORMAT}; {self.remedy}"

    # Groups --------------------------------------------------------------------------------------------------------

    def group(self, cell: str, number: int, part: str) -> Path:
        """The path of a group's ``results.parquet``, ``history.parquet``, ``checkpoint`` or ``parameters``."""
        return self.path / "cells" / cell / f"group-{number}.{part}"

    def finished(self, cell: str, number: int, with_parameters: bool = False) -> bool:
        """Whether a group is finished: both tables exist, and its parameters if wanted."""
        tables = all(self.group(cell, number, part).exists() for part in ("results.parquet", "history.parquet"))
        # Parameters count from their seal on, as checkpoints do.
        return tables and (not with_parameters or any(self.group(cell, number, "parameters").glob("*.seal")))

    def look(self, cell: str, with_parameters: bool = False, known: Collection[int] = ()) -> Look:
        """What there is of all groups of a cell, from one listing of its folder.

        Args:
            cell: name of the cell.
            with_parameters: see ``finished``; each group that has its tables is then looked at.
            known: numbers of groups that are known to be finished, which are not looked at again.
        """
        found: dict[str, set[int]] = {}
        with contextlib.suppress(FileNotFoundError), os.scandir(self.path / "cells" / cell) as entries:
            for entry in entries:
                if match := GROUP.fullmatch(entry.name):
                    found.setdefault(match[2], set()).add(int(match[1]))
        tables = found.get("results.parquet", set()) & found.get("history.parquet", set())
        finished = {one for one in tables if not with_parameters or one in known or self.finished(cell, one, True)}
        return Look(frozenset(finished), frozenset(found.get("lease", ())), frozenset(found.get("checkpoint", ())))

    def verify(self, groups: Groups, numbers: Sequence[int]) -> None:
        """Raises ``SweepError`` if a table of finished groups is damaged, or has networks that are not expected."""
        for part in ("results", "history"):
            for _ in self._tables_of(groups, part, numbers):
                pass

    def write_group(self, cell: str, number: int, results: pd.DataFrame, history: pd.DataFrame) -> None:
        """Writes the rows of a finished group."""
        self.group(cell, number, "results.parquet").parent.mkdir(parents=True, exist_ok=True)
        self.write_table(self.group(cell, number, "history.parquet"), history)
        self.write_table(self.group(cell, number, "results.parquet"), results)

    def merge(self, groups: Sequence[Groups]) -> None:
        """Writes results.parquet and history.parquet from the rows of all groups, in the spec's order.

        Args:
            groups: the groups of every cell.
        """
        order = rows_of_spec(self.spec()).drop(columns="epochs").reset_index(names="position")
        for part in ("results", "history"):
            tables = (table for one in groups for table in self._tables_of(one, part, range(len(one))))
            table = pd.concat(tables, ignore_index=True)
            columns = [name for name in order if name != "position"]
            position = table[columns].merge(order, on=columns, how="left")["position"]
            in_order = position.sort_values(kind="stable").index
            self.write_table(self.path / f"{part}.parquet", table.loc[in_order].reset_index(drop=True))

    def _tables_of(self, groups: Groups, part: str, numbers: Sequence[int]) -> Iterator[pd.DataFrame]:
        """The tables of finished groups, several groups at a time, if they have the networks expected."""
        for first in range(0, len(numbers), TOGETHER):
            some = numbers[first : first + TOGETHER]
            paths = [self.group(groups.cell, number, f"{part}.parquet") for number in some]
            found = _stacked(paths)
            if found is not None and found[1] == [groups.length(number, part) for number in some]:
                table = found[0]
                if _has_rows(table, _expected(part, groups.rows(some))) and (part != "results" or _names_places(table)):
                    yield table
                    continue
            for number, path in zip(some, paths, strict=True):
                expected = _expected(part, groups.rows([number]))
                yield self._of_networks(path, self.read_table(path), expected, TRAIN_AGAIN)

    def results(self) -> pd.DataFrame:
        """One row per trained network.

        Raises:
            UsageError: if the folder contains no sweep.
            SweepError: if it is unfinished, damaged, or its rows do not match its spec.
        """
        return self._table("results.parquet")

    def history(self) -> pd.DataFrame:
        """One row per network and epoch; raises the same errors as ``results``."""
        return self._table("history.parquet")

    def finished_results(self, spec: Resolved) -> pd.DataFrame:
        """One row per network trained so far; the index is the number of the network in the whole sweep.

        Args:
            spec: the spec of the sweep, which may be extended while its tables are read.

        Raises:
            UsageError: if the folder contains no sweep.
            SweepError: if the sweep or a table is damaged, or its networks do not match the spec.
        """
        return self._so_far("results", spec, [])

    def finished_history(self, spec: Resolved) -> pd.DataFrame:
        """One row per epoch of the networks in ``finished_results``, in their order; raises the same errors."""
        return self._so_far("history", spec, ["epoch"]).reset_index(drop=True)

    def _so_far(self, part: str, spec: Resolved, besides: list[str]) -> pd.DataFrame:
        wanted = rows_of_spec(spec).drop(columns="epochs")
        columns = list(wanted)
        tables = []
        paths = self._finished_groups(part)
        for first in range(0, len(paths), TOGETHER):
            some = paths[first : first + TOGETHER]
            found = _stacked(some)
            if found is not None and {*columns, *besides} <= set(found[0]):
                tables.append(found[0])
                continue
            for path in some:
                tables.append(self.read_table(path))
                if not {*columns, *besides} <= set(tables[-1]):
                    raise DamagedResults(f"{path} is damaged: columns are missing; {TRAIN_AGAIN}")
        if not tables:
            return wanted.iloc[:0]
        table = pd.concat(tables, ignore_index=True)
        numbers = table[columns].merge(wanted.reset_index(names="number"), on=columns, how="left")["number"]
        if numbers.isna().any() or table[besides].assign(number=numbers).duplicated().any():
            raise DamagedResults(f"{self.path / 'cells'} has networks twice or not in spec.toml; {TRAIN_AGAIN}")
        return table.set_index(numbers.astype(int).rename(None)).sort_index(kind="stable")

    def _finished_groups(self, part: str) -> list[Path]:
        """The tables of finished groups; history is written first."""
        paths = sorted((self.path / "cells").glob("*/group-*.results.parquet"))
        return [path.with_name(path.name.replace("results", part)) for path in paths]

    def _table(self, name: str) -> pd.DataFrame:
        expected = rows_of_spec(self.spec())
        path = self.path / name
        expected = _expected(name.removesuffix(".parquet"), expected)
        return self._of_networks(path, self.read_table(path, MERGE_AGAIN), expected, MERGE_AGAIN)

    def _of_networks(self, path: Path, table: pd.DataFrame, expected: pd.DataFrame, remedy: str) -> pd.DataFrame:
        """The table, if it has the rows expected."""
        if not _has_rows(table, expected):
            raise DamagedResults(f"{path} is damaged: its rows do not match the networks of spec.toml; {remedy}")
        if "results" in path.name and not _names_places(table):
            raise DamagedResults(f"{path} is damaged: it does not say where the parameters are; {remedy}")
        return table

    def measurements(self, name: str) -> pd.DataFrame | None:
        """The measurements of a kind; ``None`` if there are none."""
        path = self._measurements(name)
        return self.read_table(path, "delete it and run the same command again") if path.exists() else None

    def remove_partial(self) -> None:
        """Deletes the reports written before the sweep was finished."""
        for name in RESULT_FILES:
            if name.startswith("partial"):
                (self.path / name).unlink(missing_ok=True)
        shutil.rmtree(self.path / "partial-figures", ignore_errors=True)

    def write_measurements(self, name: str, table: pd.DataFrame) -> None:
        """Writes the measurements of a kind."""
        self.write_table(self._measurements(name), table)

    def _measurements(self, name: str) -> Path:
        return self.path / "measurements" / f"{name}.parquet"


def _format(content: bytes) -> Any:
    """The format number in a record, whatever else it contains; ``None`` if it cannot be read."""
    try:
        return json.loads(content)["format"]
    except (ValueError, KeyError, TypeError):
        return None


def _expected(part: str, networks: pd.DataFrame) -> pd.DataFrame:
    """The rows that a table must have: one per network, or in ``history`` one per network and epoch.

    Args:
        part: ``results`` or ``history``.
        networks: rows of ``rows_of_spec``.
    """
    if part == "results":
        return networks
    epochs = networks["epochs"].to_numpy()
    rows = networks.iloc[np.arange(len(networks)).repeat(epochs)].drop(columns="epochs")
    return rows.assign(epoch=np.arange(1, len(rows) + 1) - (epochs.cumsum() - epochs).repeat(epochs))


def _has_rows(table: pd.DataFrame, expected: pd.DataFrame) -> bool:
    return len(table) == len(expected) and all(
        name in table and np.array_equal(table[name].to_numpy(), expected[name].to_numpy()) for name in expected
    )


def _stacked(paths: Sequence[Path]) -> tuple[pd.DataFrame, list[int]] | None:
    """See ``tables.stacked``; ``None`` also if a file cannot be read."""
    try:
        return stacked([path.read_bytes() for path in paths])
    except OSError:
        return None


def _names_places(table: pd.DataFrame) -> bool:
    return PARAMETERS in table and all(isinstance(place, str) for place in table[PARAMETERS])
