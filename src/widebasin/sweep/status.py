"""How far a sweep is, read from its folder alone; another process may train it meanwhile."""

import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from widebasin.sweep.axes import own_of
from widebasin.sweep.folder import ResultsFolder
from widebasin.sweep.rows import rows_of_spec

SEAL = re.compile(r"(\d+)\.seal")


@dataclass(frozen=True)
class Training:
    """A group of networks that has begun and is not finished.

    Attributes:
        cell: name.
        epoch: of its last checkpoint.
        epochs: that it trains for.
    """

    cell: str
    epoch: int
    epochs: int


@dataclass(frozen=True)
class Status:
    """How far a sweep is.

    Attributes:
        parts: for every width, value of an axis that splits cells, and method: ``networks``, how many of them are
            ``trained`` and how many ``missing``.
        own: the workload's own axes among its columns.
        networks: of the sweep.
        trained: of them.
        training: groups with a checkpoint.
        holder: the process that holds the folder; empty if none does.
    """

    parts: pd.DataFrame
    own: tuple[str, ...]
    networks: int
    trained: int
    training: tuple[Training, ...]
    holder: str


def status_of(folder: ResultsFolder) -> Status:
    """How far the sweep in a folder is.

    Raises:
        UsageError: if the folder holds no sweep.
        SweepError: if it is damaged.
    """
    spec = folder.spec()
    wanted, done = rows_of_spec(spec), folder.finished_results()
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
        training=tuple(_training(folder.path, int(wanted["epochs"].max()))),
        holder=folder.holder(),
    )


def _training(path: Path, epochs: int) -> list[Training]:
    found = []
    for checkpoint in sorted((path / "cells").glob("*/group-*.checkpoint")):
        saved = [int(match[1]) for file in checkpoint.glob("*.seal") if (match := SEAL.fullmatch(file.name))]
        if saved:
            found.append(Training(checkpoint.parent.name, max(saved), epochs))
    return found
