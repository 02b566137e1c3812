"""Pickles from the internet, read without running anything that they ask for."""

import io
import math
import pickle
from typing import Any

import numpy as np

from widebasin.data.errors import DataError

# What pickles of arrays of bytes and of byte strings name, in all versions of Python and NumPy.
ARRAY, FROM_BUFFER, ENCODE = "_reconstruct", "_frombuffer", "encode"
NAMES = {
    *((f"numpy.{core}.multiarray", ARRAY) for core in ("core", "_core")),
    *((f"numpy.{core}.numeric", FROM_BUFFER) for core in ("core", "_core")),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", ENCODE),
}


def unpickle_batch(content: bytes, source: str) -> dict[str, Any]:
    """The dictionary in a pickle of any protocol, made of numbers, text, bytes, lists and arrays of bytes.

    No function that a pickle names is called, and no class instantiated: calls are only written down, and of those,
    the ones that stand for an array of bytes or a byte string are then carried out here.

    Args:
        content: the pickle.
        source: what to call it in errors.

    Returns:
        Names (bytes are decoded) and their values; values that stand for anything else are ``None``.

    Raises:
        DataError: if it names anything but what arrays are made of, or is no pickle of a dictionary.
    """
    try:
        loaded = _Unpickler(io.BytesIO(content), encoding="bytes").load()
    except Exception as error:  # A damaged pickle may raise anything.
        raise DataError(f"{source}: no pickle of plain arrays: {error or type(error).__name__}") from error
    if not isinstance(loaded, dict):
        raise DataError(f"{source}: holds a {type(loaded).__name__}, not a dictionary")
    return {_text(key): _value(value, source) for key, value in loaded.items()}


class _Call:
    """A call that a pickle asks for, written down."""

    __slots__ = ("arguments", "name", "state")

    def __init__(self, name: str, arguments: tuple = ()) -> None:
        self.name, self.arguments, self.state = name, arguments, None

    def __call__(self, *arguments: Any) -> "_Call":
        return _Call(self.name, arguments)

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in NAMES:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no array needs")
        return _Call(name)


def _value(value: Any, source: str) -> Any:
    if not isinstance(value, _Call):
        return value
    if value.name == ENCODE:
        return _bytes(value)
    try:
        return _array(value)
    except (TypeError, ValueError) as error:
        raise DataError(f"{source}: no array of bytes: {error}") from error


def _array(call: _Call) -> np.ndarray | None:
    """The array that a call, or the state given to its result, describes."""
    if call.name == ARRAY:
        _, shape, dtype, column_major, content = call.state  # type: ignore[misc]
    elif call.name == FROM_BUFFER:
        content, dtype, shape, order = call.arguments
        column_major = order == "F"
    else:
        return None
    kind = dtype.arguments[0] if isinstance(dtype, _Call) and dtype.name == "dtype" and dtype.arguments else None
    if kind not in ("u1", b"u1"):
        raise ValueError(f"its type is {kind!r}, not 'u1'")
    content = _bytes(content)
    if not (isinstance(shape, tuple) and all(isinstance(size, int) and size >= 0 for size in shape)):
        raise ValueError(f"its shape is {shape!r}")
    if content is None or len(content) != math.prod(shape):
        raise ValueError(f"{'no' if content is None else len(content)} bytes for shape {shape}")
    return np.frombuffer(content, np.uint8).reshape(shape, order="F" if column_major else "C")


def _bytes(value: Any) -> bytes | None:
    """Bytes, also as Python 3 writes them for Python 2: a call of ``_codecs.encode(text, "latin1")``."""
    if isinstance(value, _Call) and value.name == ENCODE and len(value.arguments) == 2:
        text, encoding = value.arguments
        if isinstance(text, str) and encoding in ("latin1", b"latin1"):
            return text.encode("latin1", errors="replace")
    return bytes(value) if isinstance(value, (bytes, bytearray)) else None


def _text(key: Any) -> str:
    raw = _bytes(key)
    return str(key) if raw is None else raw.decode("latin1")
