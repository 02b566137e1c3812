"""The spec of a sweep as TOML: files that users write, and the file in a results folder."""

import dataclasses
import re
import tomllib
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import tomli_w

from widebasin.axis import Axis
from widebasin.sweep.errors import UsageError, nearest_name
from widebasin.sweep.spec import Resolved, Spec, resolved_type, spec_type, workload_named

FORMAT = 2
# Bytes of a spec; reading takes about a hundred times as many.
LARGEST = 1 << 20
# The types of values in words.
ONE = {int: "a whole number", float: "a number", str: "a text"}
MANY = {int: "whole numbers", float: "numbers", str: "texts"}
# A key of many parts: reading it takes time and memory that grow with the square of their number.
LONG_KEY = re.compile(r"(?:\.[^.,=\[\]\n]*){32}")


def read_spec(path: Path, workload: str | None = None) -> Spec:
    """Reads a spec from a TOML file whose keys are the fields of ``Spec``, and the axes of its workload.

    Args:
        path: the file.
        workload: name of the workload, if it differs from the one in the file.

    Raises:
        UsageError: if the file cannot be read, is not TOML in UTF-8, is larger than 1 MiB, or has an unknown key or a
            value of the wrong type.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise UsageError("spec file", str(path), f"cannot be read: {why}") from error
    if len(content) > LARGEST:
        raise UsageError("spec file", str(path), f"must have at most {LARGEST:,} bytes")
    try:
        table = _parsed(content.decode("utf-8-sig"))  # editors of Windows begin with a byte-order mark
    except ValueError as error:
        raise UsageError("spec file", str(path), f"is not valid TOML: {error}") from error
    quoted = repr(str(path))  # a name may hold control characters, and bytes that are no UTF-8
    version = table.pop("format", FORMAT)
    if version not in range(1, FORMAT + 1):
        raise UsageError("format", version, f"this version of widebasin reads formats up to {FORMAT} ({quoted})")
    for name in table:
        if (other := name.replace("-", "_")) != name and other in table:
            raise UsageError(f"key in {quoted}", name, f"is also given as {other}; leave one of them out")
    table = {key.replace("-", "_"): value for key, value in table.items()}
    own: tuple[Axis, ...] = ()
    if table.keys() - _kinds(Spec).keys():
        named = workload or table.get("workload")
        try:
            own = workload_named(named).axes if isinstance(named, str) else ()
        except UsageError as error:
            if workload is not None:
                raise
            raise UsageError(f"workload in {quoted}", named, error.remedy) from error
    kind = spec_type(own)
    kinds = _kinds(kind)
    values = {}
    for name, value in table.items():
        if name not in kinds:
            raise nearest_name(f"key in {quoted}", name, kinds)
        try:
            values[name] = _typed(name, value, *kinds[name])
        except UsageError as error:
            raise UsageError(f"{name} in {quoted}", value, error.remedy) from error
    return kind(**values)


def typed_fields(kind: type[Spec], values: Mapping[str, Any]) -> dict[str, Any]:
    """Converts values to fields of a spec: a single value may stand for a list of one, an integer for a float.

    Args:
        kind: type of the spec.
        values: field -> value; lists, tuples, ranges or NumPy arrays for several values; ``None`` is left out.

    Raises:
        UsageError: if a value has the wrong type.
    """
    kinds = _kinds(kind)
    return {name: _typed(name, _plain(value), *kinds[name]) for name, value in values.items() if value is not None}


def typed_value(name: str, value: Any, kind: type) -> Any:
    """Converts one value to a type, see ``typed_fields``."""
    return _typed(name, _plain(value), kind, False)


def _plain(value: Any) -> Any:
    """Converts NumPy values, tuples and ranges to numbers and lists, as TOML would give them."""
    value = value.tolist() if hasattr(value, "tolist") else value
    return list(value) if isinstance(value, (tuple, range)) else value


def parse_resolved(text: str, own: tuple[Axis, ...]) -> Resolved:
    """A resolved spec from its TOML text; neither the workload nor its data are needed.

    Args:
        text: the result of ``spec_toml``.
        own: the workload's own axes.

    Raises:
        ValueError: if it is not TOML, has another format, or is incomplete.
    """
    table = _parsed(text)
    version = table.pop("format", None)
    if version != FORMAT:
        raise ValueError(f"format {version}, but this version of widebasin reads {FORMAT}")
    kinds = _kinds(spec_type(own))
    unknown = sorted(table.keys() - kinds.keys())
    if unknown:
        raise ValueError(f"unknown key {unknown[0]}")
    values = {
        "m": None,
        "base_width": None,
        "study": "",
        "radii": (),
        "tune": (),
        "output_scale": (1.0,),
        "centered": "output_scale" in table,
    }
    values |= {name: _typed(name, value, *kinds[name]) for name, value in table.items()}
    kind = resolved_type(own)
    missing = [field.name for field in dataclasses.fields(kind) if field.name not in values]
    if missing:
        raise ValueError(f"no {missing[0]}")
    return kind(**{field.name: values[field.name] for field in dataclasses.fields(kind)})


def _parsed(text: str) -> dict[str, Any]:
    """Parses a TOML text.

    Raises:
        ValueError: if it is not TOML, is very long, or has an integer beyond TOML's 64 bits.
    """
    if len(text) > LARGEST:
        raise ValueError(f"more than {LARGEST:,} characters")
    if LONG_KEY.search(text):
        raise ValueError("a key of more than 32 parts")
    try:
        table = tomllib.loads(text)
        if not _all_fit(table):
            raise ValueError("an integer of more than 64 bits")
    except RecursionError as error:
        raise ValueError("lists or tables are nested too deeply") from error
    return table


def _all_fit(value: Any) -> bool:
    if isinstance(value, int):
        return -(1 << 63) <= value < 1 << 63
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return all(map(_all_fit, items))


def _kinds(spec: type[Spec]) -> dict[str, tuple[type, bool]]:
    """Field -> the type of its values, and whether it takes several."""
    kinds = {}
    for name, annotation in typing.get_type_hints(spec).items():
        if typing.get_origin(annotation) is ClassVar:
            continue
        several = next((t for t in typing.get_args(annotation) if typing.get_origin(t) is tuple), None)
        inner = (several or annotation, *typing.get_args(several or annotation))
        kinds[name] = next(t for t in (int, float, str) if t in inner), several is not None
    return {field.name: kinds[field.name] for field in dataclasses.fields(spec)}


def _typed(key: str, value: Any, kind: type, several: bool) -> Any:
    """Converts a TOML value to the type of a field: a single value may be a list of one, an integer a float."""
    items = value if isinstance(value, list) else [value]
    for item in items:
        if isinstance(item, bool) or not isinstance(item, (int, float) if kind is float else kind):
            raise UsageError(key, value, f"must be {f'a list of {MANY[kind]}' if several else ONE[kind]}")
    if not several and isinstance(value, list):
        raise UsageError(key, value, f"must be {ONE[kind]}, not a list")
    typed = tuple(kind(item) for item in items)
    return typed if several else typed[0]


def spec_toml(spec: Resolved) -> str:
    """A resolved spec as TOML; ``read_spec`` reads it back."""
    table = {name: list(value) if isinstance(value, tuple) else value for name, value in spec.given().items()}
    text = tomli_w.dumps({"format": FORMAT} | table)

    def in_one_line(array: re.Match[str]) -> str:
        lines = array[1].split("\n")  # ``splitlines`` would also split texts, at other characters
        return f"[{' '.join(line.strip() for line in lines).rstrip(',')}]"

    return re.sub(r"\[\n(.*?)\n\]", in_one_line, text, flags=re.DOTALL)


def differences(one: Resolved, other: Resolved) -> list[str]:
    """The differences between two specs, in words."""

    def words(value: Any) -> str:
        return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)

    there, here = one.given(), other.given()
    return [
        f"{name}: {words(there.get(name))} there, {words(here.get(name))} here"
        for name in dict.fromkeys((*there, *here))
        if there.get(name) != here.get(name)
    ]
