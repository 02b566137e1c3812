"""Sweeps: a spec of a grid, its cells, their execution and the table of results.

This package itself imports only what the command line needs for its help; the code that trains is in ``sweep.run``,
``sweep.executor`` and ``sweep.folder``.
"""

from widebasin.sweep.errors import SweepError, UsageError, nearest_name
from widebasin.sweep.execution import Execution
from widebasin.sweep.spec import Resolved, Spec, resolve, workload_named
from widebasin.sweep.spec_file import read_spec, spec_toml

__all__ = [
    "Execution",
    "Resolved",
    "Spec",
    "SweepError",
    "UsageError",
    "nearest_name",
    "read_spec",
    "resolve",
    "spec_toml",
    "workload_named",
]
