"""Packages that only some options need."""

import importlib
import re

from widebasin.sweep.errors import UsageError


def check_package(argument: str, value: str, requirement: str) -> None:
    """Raises ``UsageError`` if the package that an argument's value needs is not installed.

    Args:
        argument: name of the argument.
        value: its value.
        requirement: the package, in pip's syntax; empty if none is needed. The module must have the same name.
    """
    if not requirement:
        return
    package = re.split("[<>=!~]", requirement)[0]
    why = ""
    try:
        # A folder of this name in the working directory is a package without a file.
        found = importlib.import_module(package).__file__ is not None
    except ImportError as error:
        found, why = False, "" if error.name == package else f" ({error})"
    if not found:
        remedy = f'needs the package {package}, which is not installed{why}: pip install "{requirement}"'
        raise UsageError(argument, value, remedy)
