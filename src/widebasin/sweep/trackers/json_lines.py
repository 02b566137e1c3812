"""A log of every sweep in its results folder: ``log.jsonl``, one JSON object per line."""

import datetime
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from widebasin.sweep.errors import cannot_write
from widebasin.sweep.events import Checkpoint, Epoch, Event, Failed, Finished, GroupFinished, GroupStarted, Started
from widebasin.sweep.trackers.tracker import Tracker

if TYPE_CHECKING:
    import numpy as np

NAMES = {
    Started: "started",
    GroupStarted: "group-started",
    Epoch: "epoch",
    Checkpoint: "checkpoint",
    GroupFinished: "group-finished",
    Finished: "finished",
    Failed: "failed",
}
_AS_JSON = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def read_log(path: Path) -> list[dict[str, Any]]:
    """The lines of a log, oldest first; a line left incomplete by a killed process is omitted.

    Every line has ``time`` (UTC) and ``event``, and the data of the event: ``cell``, ``group``, ``epoch``, ``count`` of
    networks, ``error``. A line for an epoch also has

    * ``diverged``: how many networks have diverged so far;
    * ``mean``: the mean of every metric over the networks with a finite value;
    * ``networks``: name of a column -> values in the order of the networks, or one value that all share, as
      ``pandas.DataFrame`` accepts it. A value that is not finite is ``None``.

    Raises:
        OSError: if the log cannot be read.
    """
    with path.open("rb") as file:
        return list(_whole(file))


def append_line(file: BinaryIO, record: Mapping[str, Any]) -> None:
    """Writes a line to an unbuffered file."""
    rest = memoryview(_AS_JSON(record).encode() + b"\n")
    while rest:
        rest = rest[file.write(rest) :]


def opened_log(path: Path) -> tuple[BinaryIO, dict[tuple[str, int], int]]:
    """Opens a log for appending; a last line left incomplete by a killed process is ended, so that readers omit it.

    Returns:
        The file, and the last epoch in it for every cell and group.

    Raises:
        OSError: if the log cannot be read or written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("ab", buffering=0)
    try:
        last: dict[tuple[str, int], int] = {}
        with path.open("rb") as before:
            for line in _whole(before):
                match line:
                    case {"event": "epoch", "cell": str(cell), "group": int(group), "epoch": int(epoch)}:
                        last[cell, group] = max(last.get((cell, group), 0), epoch)
            incomplete = before.read(1)
        if incomplete:
            file.write(b"\n")
        return file, last
    except BaseException:
        file.close()
        raise


def _whole(file: BinaryIO) -> Iterator[dict[str, Any]]:
    """The lines that are JSON objects; stops at an incomplete line and leaves the file position there."""
    end = 0
    while (line := file.readline()).endswith(b"\n"):
        end += len(line)
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            yield record
    file.seek(end)


class _JsonLines:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._identities: dict[tuple[str, int], dict[str, Any]] = {}

    def __call__(self, event: Event) -> None:
        """Writes an event, if it is not in the log yet."""
        try:
            if isinstance(event, Started):
                self._close()
                self._file, self._last = opened_log(self._path)
            if self._file is not None and (content := self._content(event)) is not None:
                time = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
                append_line(self._file, {"time": time, "event": NAMES[type(event)]} | content)
        except OSError as error:
            self._close()
            raise cannot_write(self._path, error) from error
        if isinstance(event, Finished | Failed):
            self._close()

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file = None

    def _content(self, event: Event) -> dict[str, Any] | None:
        if isinstance(event, Started):
            return {"cells": len(event.cells), "count": sum(len(cell.points) for cell in event.cells)}
        if isinstance(event, Failed):
            return {"error": event.error}
        if isinstance(event, Finished):
            return {}
        place = {"cell": event.cell.name, "group": event.group}
        if isinstance(event, Checkpoint):
            return place | {"epoch": event.epoch}
        if isinstance(event, Epoch):
            return self._epoch(event, place)
        if isinstance(event, GroupFinished) and event.before:
            return None
        if isinstance(event, GroupStarted):
            self._identities[event.cell.name, event.group] = _identities(event)
        else:
            self._identities.pop((event.cell.name, event.group), None)
        return place | {"count": event.networks}

    def _epoch(self, event: Epoch, place: dict[str, Any]) -> dict[str, Any] | None:
        report, group = event.report, (event.cell.name, event.group)
        if report.epoch <= self._last.get(group, 0):
            return None
        self._last[group] = report.epoch
        mean, values = _numbers(report.metrics)
        return place | {
            "epoch": report.epoch,
            "diverged": report.diverged,
            "mean": mean,
            "networks": self._identities[group] | values,
        }


def _identities(event: GroupStarted) -> dict[str, Any]:
    """The identity of the networks of a group: one value per network, or one that all share."""
    from widebasin.sweep.rows import identity_rows

    columns = identity_rows(event.cell, event.points).to_dict("list")
    return {str(name): values[0] if len(set(values)) == 1 else values for name, values in columns.items()}


def _numbers(metrics: "Mapping[str, np.ndarray]") -> tuple[dict[str, float | None], dict[str, list[float | None]]]:
    """Means over the networks with finite values, and the values; all metrics at once for speed."""
    import numpy as np

    block = np.stack(list(metrics.values()))
    finite = np.isfinite(block)
    with np.errstate(all="ignore"):
        means = np.where(finite, block, 0).sum(1, np.float64) / finite.sum(1)
    values = [_short(row) for row in block]
    return dict(zip(metrics, _short(means.astype(block.dtype)), strict=True)), dict(zip(metrics, values, strict=True))


def _short(values: "np.ndarray") -> list[float | None]:
    """The values with just enough digits to restore them exactly in their precision."""
    return [number if math.isfinite(number := float(str(value))) else None for value in values]


TRACKER = Tracker("log.jsonl", "one JSON object per line", _JsonLines, always=True)
