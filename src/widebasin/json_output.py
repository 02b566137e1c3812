"""The flag ``--json`` of commands that print numbers."""

import json
from pathlib import Path
from typing import Annotated, Any

import tyro

from widebasin.sweep import SweepError, UsageError

JsonFile = Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="(default: none)")]


def probe_json(path: Path | None) -> None:
    """Raises ``UsageError`` before any work if the file cannot be written."""
    if path is not None:
        try:
            path.open("a").close()
        except OSError as error:
            raise UsageError("json", str(path), f"cannot be written ({error.strerror})") from error


def write_json(path: Path | None, record: Any) -> None:
    """Writes a record, if there is a file to write to.

    Raises:
        SweepError: if the disk does not take it.
    """
    if path is not None:
        try:
            path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise SweepError(
                f"{path} cannot be written ({error.strerror}); make room and run the command again"
            ) from error
