"""The progress of a sweep, read from its folder only; another process may be training it."""

import re
from dataclasses import dataclass

import pandas as pd

from widebasin.statistics import BASELINE
from widebasin.sweep.axes import own_of
from widebasin.sweep.cells import parts, title
from widebasin.sweep.execution import Execution
from widebasin.sweep.folder import ResultsFolder
from widebasin.sweep.leases import Leases
from widebasin.sweep.rows import rows_of_spec
from widebasin.sweep.spec import Resolved

SEAL = re.compile(r"(\d+)\.seal")
# The number of a group, and the stage at the end of a cell's name.
GROUP, STAGE = re.compile(r"group-(\d+)\.checkpoint"), re.compile(r"-stage-\d+$")


@dataclass(frozen=True)
class Begun:
    """A group of networks that was started and is unfinished.

    Attributes:
        cell: name of the cell.
        epoch: epoch of its last checkpoint.
        epochs: epochs that it trains for.
    """

    cell: str
    epoch: int
    epochs: int


@dataclass(frozen=True)
class Status:
    """The progress of a sweep.

    Attributes:
        parts: one row per width, value of each axis that splits cells, and method: number of ``networks``, how many are
            ``trained`` and how many ``missing``.
        own: the columns of ``parts`` that are the workload's own axes.
        networks: number of networks in the sweep.
        trained: number of trained networks.
        begun: groups with a checkpoint; in training if a process has locked the folder.
        holder: the process that has locked the folder, or the processes that share it; empty if none.
    """

    parts: pd.DataFrame
    own: tuple[str, ...]
    networks: int
    trained: int
    begun: tuple[Begun, ...]
    holder: str


def status_of(folder: ResultsFolder) -> Status:
    """The progress of the sweep in a folder.

    Raises:
        UsageError: if the folder contains no sweep.
        SweepError: if it is damaged.
    """
    spec = folder.spec()
    wanted, done = rows_of_spec(spec), folder.finished_results(spec)
    own = tuple(axis.name for axis in own_of(spec.axes) if not axis.traced)
    columns = ["width", *own, "method"]
    trained = wanted.assign(trained=wanted.index.isin(done.index))
    parts = trained.groupby(columns, sort=False)["trained"].agg(networks="size", trained="sum").reset_index()
    parts["missing"] = parts["networks"] - parts["trained"]
    return Status(
        parts=parts,
        own=own,
        networks=len(wanted),
        trained=len(done),
        begun=tuple(_begun(folder, spec)),
        holder=folder.holder() or " and ".join(Leases(folder, Execution.lease_seconds).holders()),
    )


def _begun(folder: ResultsFolder, spec: Resolved) -> list[Begun]:
    epochs = {}
    for part in parts(spec):
        # Small networks of the baseline train along with those of a method.
        for methods in ((part.method,), (BASELINE, part.method)):
            epochs[title(spec.workload, part.width, part.own, methods)] = part.epochs
    found, kept = [], folder.keeps_parameters()
    for checkpoint in sorted((folder.path / "cells").glob("*/group-*.checkpoint")):
        cell, number = checkpoint.parent.name, GROUP.fullmatch(checkpoint.name)
        saved = [int(match[1]) for file in checkpoint.glob("*.seal") if (match := SEAL.fullmatch(file.name))]
        of = epochs.get(STAGE.sub("", cell))
        # A process that was killed may have left that of a group which is finished.
        if saved and number and of and not folder.finished(cell, int(number[1]), kept):
            found.append(Begun(cell, max(saved), of))
    return found
