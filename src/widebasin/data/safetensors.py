"""The safetensors format: the length of a header, the header in JSON, the numbers."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from widebasin.data.archives import explained
from widebasin.data.errors import DataError

# Bytes of the length that the file begins with.
LENGTH = 8
# Bytes of a header, as the format limits them.
LARGEST_HEADER = 100_000_000
# A bfloat16 is the upper half of a float32.
BFLOAT16 = "BF16"
TYPES = {
    "BOOL": "?",
    "U8": "<u1",
    "I8": "<i1",
    "U16": "<u2",
    "I16": "<i2",
    "U32": "<u4",
    "I32": "<i4",
    "U64": "<u8",
    "I64": "<i8",
    "F16": "<f2",
    BFLOAT16: "<u2",
    "F32": "<f4",
    "F64": "<f8",
}
_METADATA = "__metadata__"


@dataclass(frozen=True)
class Tensor:
    """Where an array is in a file.

    Attributes:
        name: of the array.
        kind: of its numbers, such as "F16" or "BF16".
        shape: of the array.
        start: place of its first byte in the file.
        size: in bytes.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    start: int
    size: int


def list_tensors(path: Path | str) -> tuple[Tensor, ...]:
    """The arrays of a safetensors file, in the order of their numbers, which are not read.

    Raises:
        DataError: if the file cannot be read or is none; or its header is too long, is no JSON, or gives an array of
            unknown type, or of another size than its bytes; or the arrays overlap, leave gaps or end elsewhere than the
            file.

    Source: https://github.com/huggingface/safetensors#format
    """
    path = Path(path)
    with explained(path):
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise DataError(f"{path}: no file but a folder or a device")
        total = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(LENGTH), "little")
            if total < LENGTH or not 2 <= length <= min(LARGEST_HEADER, total - LENGTH):
                raise DataError(
                    f"{path}: no safetensors file, or a truncated one: it has {total:,} bytes and would begin with a "
                    f"header of {length:,}, of at most {LARGEST_HEADER:,}"
                )
            content = file.read(length)
    with explained(path, "no safetensors file: its header is no JSON"):
        header = json.loads(content.decode(), object_pairs_hook=_once)
    if not isinstance(header, dict):
        raise DataError(f"{path}: no safetensors file: its header names no arrays")
    entries = [(name, entry) for name, entry in header.items() if name != _METADATA]
    found = sorted((_tensor(path, name, entry, LENGTH + length) for name, entry in entries), key=lambda one: one.start)
    end = LENGTH + length
    for one in found:
        if one.start != end:
            fault = "overlaps the one before it" if one.start < end else "leaves a gap before it"
            raise DataError(f"{path}: the array {one.name!r} {fault}; get the file again")
        end += one.size
    if end != total:
        raise DataError(f"{path}: truncated or damaged: {total:,} bytes, where its arrays end at {end:,}")
    return tuple(found)


def read_tensor(path: Path | str, tensor: Tensor) -> np.ndarray:
    """An array of a safetensors file, in the machine's byte order; bfloat16 as float32.

    Args:
        path: the file.
        tensor: as ``list_tensors`` gives it.

    Raises:
        DataError: if the file cannot be read or has become shorter.
    """
    path = Path(path)
    with explained(path), path.open("rb") as file:
        file.seek(tensor.start)
        content = file.read(tensor.size)
        if len(content) != tensor.size:
            raise DataError(
                f"{path}: truncated: {len(content):,} bytes of {tensor.name!r}, which takes {tensor.size:,}"
            )
    values = np.frombuffer(content, TYPES[tensor.kind]).reshape(tensor.shape)
    if tensor.kind == BFLOAT16:
        values = (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name occurs twice")
    return found


def _tensor(path: Path, name: str, entry: Any, first: int) -> Tensor:
    """An array as the header gives it; its numbers are counted from ``first``."""
    given: dict[str, Any] = entry if isinstance(entry, dict) else {}
    kind, shape, offsets = given.get("dtype"), given.get("shape"), given.get("data_offsets")
    if not isinstance(kind, str) or kind not in TYPES:
        raise DataError(f"{path}: the array {name!r} is of type {kind!r}; known are {', '.join(TYPES)}")
    if not _are_sizes(shape) or not _are_sizes(offsets) or len(offsets) != 2:
        raise DataError(f"{path}: the array {name!r} has no shape or no place that could be; get the file again")
    start, end = offsets
    needed = math.prod(shape) * np.dtype(TYPES[kind]).itemsize
    if end - start != needed:
        raise DataError(
            f"{path}: the array {name!r}, {kind} of shape {tuple(shape)}, takes {needed:,} bytes, and its place has "
            f"{end - start:,}; get the file again"
        )
    return Tensor(name, kind, tuple(shape), first + start, needed)


def _are_sizes(values: Any) -> TypeGuard[list[int]]:
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)
