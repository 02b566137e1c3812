"""Records that carry their own digest, so that damage is noticed before they are used."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

SEAL = "sha256"


def sealed(record: Mapping[str, Any]) -> bytes:
    """A record as JSON, with a digest of its content."""
    plain = json.loads(json.dumps(record))  # as it is read: keys are strings, tuples are lists
    return json.dumps(plain | {SEAL: _digest(plain)}, indent=2).encode()


def unsealed(content: bytes) -> dict[str, Any]:
    """Reads a record written by ``sealed``.

    Raises:
        ValueError: if it is damaged, was changed by hand, or has no digest.
    """
    try:
        record = json.loads(content)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(record, dict) or SEAL not in record:
        raise ValueError("it has no digest")
    seal = record.pop(SEAL)
    if seal != _digest(record):
        raise ValueError("its content does not match its digest")
    return record


def digest_of(content: bytes) -> str:
    """SHA-256 of a file's content."""
    return hashlib.sha256(content).hexdigest()


def _digest(record: Mapping[str, Any]) -> str:
    return digest_of(json.dumps(record, sort_keys=True, separators=(",", ":")).encode())
