"""The executors by name, from the files in this folder."""

import dataclasses
import importlib
import math
import pkgutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from widebasin.sweep.errors import UsageError, nearest_name
from widebasin.sweep.executors.executor import Executor
from widebasin.sweep.packages import check_package

if TYPE_CHECKING:
    from widebasin.sweep.execution import Execution

WORDS = {int: "a whole number", float: "a number", str: "a text"}


def declared() -> dict[str, type[Any]]:
    """Module in this folder -> the executor that it declares."""
    names = [module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)]) if module.name != "registry"]
    modules = {name: importlib.import_module(f"{__package__}.{name}") for name in names}
    return {name: module.EXECUTOR for name, module in modules.items() if hasattr(module, "EXECUTOR")}


EXECUTORS: dict[str, type[Any]] = {executor.name: executor for executor in declared().values()}
"""Executors that can be named on the command line."""


def named(execution: "Execution") -> type[Any]:
    """The executor that an execution names: by default local, or processes if there are several.

    Raises:
        UsageError: for an unknown name.
    """
    name = execution.executor or ("local" if execution.processes in (None, 1) else "processes")
    if name not in EXECUTORS:
        raise nearest_name("executor", name, EXECUTORS)
    return EXECUTORS[name]


def executor_of(execution: "Execution") -> Executor:
    """The executor that an execution names, with its options.

    Raises:
        UsageError: for an unknown name or option, a value of the wrong type, or a package that is not installed.
    """
    executor = named(execution)
    types, values = {field.name: type(field.default) for field in dataclasses.fields(executor)}, {}
    for option in execution.executor_options:
        key, equals, text = str(option).partition("=")
        if not equals:
            raise UsageError("executor_options", option, f"must be NAME=VALUE, as in {next(iter(types), 'gpus')}=1")
        if key not in types:
            known = f"{executor.name} knows {', '.join(types)}" if types else f"{executor.name} has no options"
            raise UsageError("executor_options", option, known)
        try:
            values[key] = types[key](text)
        except ValueError as error:
            raise UsageError("executor_options", option, f"{key} must be {WORDS[types[key]]}") from error
        if types[key] is not str and not 0 <= values[key] < math.inf:
            raise UsageError("executor_options", option, f"{key} must be finite and not negative")
    check_package("executor", executor.name, executor.requirement)
    return executor(**values)
