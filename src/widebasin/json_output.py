"""The flag ``--json`` of commands that print numbers."""

import json
import math
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
    """Writes a record, if a file is given; numbers that are not finite are null.

    Raises:
        SweepError: if the file cannot be written.
    """
    if path is not None:
        try:
            path.write_text(json.dumps(_finite(record), indent=2, allow_nan=False) + "\n", encoding="utf-8")
        except OSError as error:
            raise SweepError(
                f"cannot write {path} ({error.strerror}); free some space and run the command again"
            ) from error


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
