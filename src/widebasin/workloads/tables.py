"""A user's own table as a workload, ``--workload FILE.csv``, ``FILE.parquet`` or ``FILE.csv:COLUMN``.

The column is the target, by default the one named target, label or y. If the target does not determine the task, add
``classification`` or ``regression``, with or without a column: ``FILE.csv:COLUMN:regression``. The model is an MLP;
split, recipe and radii are as in ``widebasin.workloads.arrays``.
"""

import functools
import re

from widebasin.data import table
from widebasin.data.arrays import TASKS
from widebasin.workloads.arrays import first_try, refuse_absent, refuse_other_encodings
from widebasin.workloads.workload import SupervisedWorkload

# The file, a column of it or nothing, a task or nothing.
NAME = re.compile(rf"(.*[^/:]\.(?i:csv|parquet))(?::(.*?))??(?::({'|'.join(TASKS)}))?", re.DOTALL)


def names_table(name: str) -> bool:
    """Whether a workload's name is a file with a table."""
    return NAME.fullmatch(name) is not None


@functools.lru_cache(maxsize=8)
def table_workload(name: str) -> SupervisedWorkload:
    """The workload for a table.

    Raises:
        DataError: if the file cannot be read, or its content cannot be learned.
        ValueError: if there is no such file or column, or the target cannot be determined.
    """
    refuse_other_encodings(name)
    match = NAME.fullmatch(name)
    assert match is not None
    path, target, task = match.groups()
    refuse_absent(path)
    read = table(path, target or None, task)
    taken = f"{len(read.classes)} classes of {read.target}" if read.classes else f"regression on {read.target}"
    scale = "" if read.classes else f" in units of its standard deviation, {read.deviation:.4g}"
    return first_try(name, read.dataset, "mlp", f"{read.dataset.name}, mlp, {taken}{scale}")
