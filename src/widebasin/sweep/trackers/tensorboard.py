"""TensorBoard: one run per network, with its metrics by epoch."""

import struct
import time
from pathlib import Path
from typing import Any

from widebasin.sweep.errors import cannot_write
from widebasin.sweep.events import Checkpoint, Epoch, Event, Failed, Finished, GroupFinished, GroupStarted, Started
from widebasin.sweep.trackers.run_names import RunNames, scalars
from widebasin.sweep.trackers.tracker import Tracker

# The only file of a run; TensorBoard looks for the word in the middle.
FILE = "events.out.tfevents.0.widebasin"
# Least time between two writes while a group trains. Files are not kept open: there may be thousands of networks.
SECONDS = 10.0
_HEADER = struct.Struct("<QI")
_CHECKSUM = struct.Struct("<I")


class _TensorBoard:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names: RunNames | None = None
        self._last: dict[Path, int] = {}
        self._waiting: dict[Path, bytearray] = {}

    def __call__(self, event: Event) -> None:
        """Writes the epochs that are not in the files yet."""
        if isinstance(event, Started):
            self._names = RunNames(event.cells)
            self._last, self._waiting, self._written = {}, {}, time.monotonic()
            self._try(self._folder, lambda: self._folder.mkdir(parents=True, exist_ok=True))
        elif isinstance(event, GroupStarted):
            for file in self._files(event):
                self._last[file] = self._try(file, lambda file=file: _mended(file))
        elif isinstance(event, Epoch):
            self._take(event)
            # The last epoch too: once the rows of a group are on the disk, its epochs are not told again.
            if time.monotonic() - self._written > SECONDS or event.report.epoch == event.cell.recipe.epochs:
                self._write()
        elif isinstance(event, Checkpoint | GroupFinished | Finished | Failed):
            self._write()

    def _files(self, event: GroupStarted | Epoch) -> list[Path]:
        assert self._names is not None
        return [self._folder / self._names(event.cell, point) / FILE for point in event.points]

    def _take(self, event: Epoch) -> None:
        from tensorboardX.proto.event_pb2 import Event as Record  # pyright: ignore[reportAttributeAccessIssue]
        from tensorboardX.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]

        for network, file in enumerate(self._files(event)):
            if event.report.epoch <= self._last[file]:
                continue
            values = [
                Summary.Value(tag=name, simple_value=value) for name, value in scalars(event.report, network).items()
            ]
            if values:
                record = Record(wall_time=time.time(), step=event.report.epoch, summary=Summary(value=values))
                self._waiting.setdefault(file, bytearray()).extend(_framed(record))
                self._last[file] = event.report.epoch

    def _write(self) -> None:
        waiting, self._waiting, self._written = self._waiting, {}, time.monotonic()
        for file, records in waiting.items():
            self._try(file, lambda file=file, records=records: _append(file, records))

    def _try(self, path: Path, work: Any) -> Any:
        try:
            return work()
        except OSError as error:
            self._waiting = {}
            raise cannot_write(path, error) from error


def _append(file: Path, records: bytearray) -> None:
    from tensorboardX.proto.event_pb2 import Event as Record  # pyright: ignore[reportAttributeAccessIssue]

    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("ab") as opened:
        if opened.tell() == 0:
            opened.write(_framed(Record(wall_time=time.time(), file_version="brain.Event:2")))
        opened.write(records)


def _framed(record: Any) -> bytes:
    """A record as stored in a file: its length, the checksum of the length, the record, its checksum."""
    from tensorboardX.record_writer import masked_crc32c

    content = record.SerializeToString()
    length = struct.pack("<Q", len(content))
    header = _HEADER.pack(len(content), masked_crc32c(length))
    return header + content + _CHECKSUM.pack(masked_crc32c(content))


def _mended(file: Path) -> int:
    """Cuts off a record left incomplete by a killed process; returns the last epoch in the file, 0 if none."""
    from tensorboardX.proto.event_pb2 import Event as Record  # pyright: ignore[reportAttributeAccessIssue]
    from tensorboardX.record_writer import masked_crc32c

    if not file.exists():
        return 0
    content, start, last = file.read_bytes(), 0, 0
    while start + _HEADER.size <= len(content):
        length, checksum = _HEADER.unpack_from(content, start)
        record = content[start + _HEADER.size : start + _HEADER.size + length]
        end = start + _HEADER.size + length + _CHECKSUM.size
        if checksum != masked_crc32c(content[start : start + 8]) or end > len(content):
            break
        if _CHECKSUM.unpack_from(content, end - _CHECKSUM.size)[0] != masked_crc32c(record):
            break
        last, start = max(last, Record.FromString(record).step), end
    if start < len(content):
        with file.open("rb+") as opened:
            opened.truncate(start)
    return last


TRACKER = Tracker("tensorboard", "one run per network, for TensorBoard", _TensorBoard, "tensorboardX>=2.6")
