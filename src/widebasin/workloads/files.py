"""A workload in a user's own file, ``--workload mine.py``, or ``mine.py:NAME`` if the file has several.

The file defines a ``Workload``, such as a ``SupervisedWorkload``; ``widebasin new mine`` writes a template. The file
runs as its own module, with its folder in the search path, so that it can import files next to it.
"""

import ast
import functools
import hashlib
import linecache
import re
import sys
import traceback
from dataclasses import replace
from pathlib import Path
from types import ModuleType

from widebasin.workloads.workload import SupervisedWorkload, Workload

# The file, and a name in it.
NAME = re.compile(r"(.*[^/:]\.py)(?::(.*))?", re.DOTALL)


def names_file(name: str) -> bool:
    """Whether a workload's name is a Python file, with or without a name in it."""
    return NAME.fullmatch(name) is not None


def file_workload(name: str) -> Workload:
    """The workload in a file, read on first use and kept until ``forget_files``.

    Raises:
        ValueError: if the file cannot be run (with the line), defines no workload, or defines several and none is
            named.
    """
    return _workload(name, *_read(name))


def forget_files() -> None:
    """Reads files again from now on, for a process that trains again after a file was edited."""
    from widebasin.workloads.arrays import arrays_workload
    from widebasin.workloads.registry import FAMILIES
    from widebasin.workloads.tables import table_workload

    for read in (_read, _workload, arrays_workload, table_workload, *(family.of for family in FAMILIES.values())):
        if hasattr(read, "cache_clear"):
            read.cache_clear()


@functools.cache
def _read(name: str) -> tuple[Path, bytes]:
    path, _ = _parts(name)
    if not path.is_file():
        raise ValueError("there is no such file; widebasin new writes a template")
    return path.resolve(), path.read_bytes()


@functools.lru_cache(maxsize=8)
def _workload(name: str, path: Path, content: bytes) -> Workload:
    _, chosen = _parts(name)
    module = _module(path, content)
    if chosen:
        found = getattr(module, chosen, None)
        if not isinstance(found, Workload):
            raise ValueError(f"{path.name} defines no workload {chosen!r}; it has {_listed(module)}")
    else:
        several = _workloads(module)
        if len(several) != 1:
            wanted = f"name one of several, such as {name}:{next(iter(several))}" if several else "define one"
            raise ValueError(f"{path.name} defines {_listed(module)}; {wanted}")
        (found,) = several.values()
    if isinstance(found, SupervisedWorkload):
        return replace(found, name=name, load=functools.cache(found.load))
    return replace(found, name=name)


def code_digest(name: str) -> str:
    """Part of the SHA-256 of the code in a workload's file, without comments and formatting."""
    tree = ast.parse(_read(name)[1])
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:16]


def line_of(error: BaseException) -> str:
    """The line of a workload's file where an error occurred: ``mine.py, line 12: x = y``; empty if elsewhere."""
    if isinstance(error, SyntaxError) and error.filename in _LOADED and error.lineno:
        return _line(error.filename, error.lineno)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in _LOADED]
    return _line(frames[-1].filename, frames[-1].lineno or 0) if frames else ""


# Files whose workloads were loaded.
_LOADED: set[str] = set()


def _parts(name: str) -> tuple[Path, str]:
    match = NAME.fullmatch(name)
    assert match is not None
    return Path(match[1]), match[2] or ""


def _module(path: Path, content: bytes) -> ModuleType:
    where = str(path)
    _LOADED.add(where)
    linecache.checkcache(where)
    key = f"widebasin_workload_{hashlib.sha256(where.encode()).hexdigest()[:12]}"
    module = ModuleType(key)
    module.__file__ = where
    sys.modules[key] = module  # dataclasses and pickles look it up
    sys.path.insert(0, str(path.parent))
    try:
        exec(compile(content, where, "exec"), module.__dict__)
    except (Exception, SystemExit) as error:
        del sys.modules[key]
        text = error.msg if isinstance(error, SyntaxError) else str(error)
        raise ValueError(f"cannot be run: {type(error).__name__}: {text} ({line_of(error)})") from error
    finally:
        sys.path.remove(str(path.parent))
    return module


def _workloads(module: ModuleType) -> dict[str, Workload]:
    return {name: value for name, value in vars(module).items() if isinstance(value, Workload)}


def _listed(module: ModuleType) -> str:
    return ", ".join(_workloads(module)) or "no workload"


def _line(path: str, number: int) -> str:
    text = linecache.getline(path, number).strip()
    return f"{Path(path).name}, line {number}: {text}"
