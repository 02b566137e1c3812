"""The flag ``--json`` of commands that print numbers."""

import json
from pathlib import Path
from typing import Annotated, Any

import tyro

from widebasin.sweep import SweepError, UsageError

JsonFile = Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="(default: none)")]


def probe_json(path: Path | None) -> None:
    """Raises ``UsageError`` if the file cannot be written, before any work is done."""
    if path is not None:
        try:
            path.open("a").close()
        except OSError as error:
            raise UsageError("json", str(path), f"cannot be written ({error.strerror})") from error


def write_json(path: Path | None, record: Any) -> None:
    """Writes a record, if a file is given.

    Raises:
        SweepError: if the file cannot be written.
    """
    if path is not None:
        try:
            path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise SweepError(
                f"cannot write {path} ({error.strerror}); free some space and run the command again"
            ) from error
