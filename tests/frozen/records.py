"""What is recorded of a case: every value of its tables of results, history and measurements, and what a study said."""

import hashlib
import json
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from frozen.cases import Case, answer_of, carry_out, measured

FOLDER = Path(__file__).parent

# Differ between runs.
UNRECORDED = ("seconds",)
# Of a longer table, evenly spaced rows are recorded.
LONGEST = 120


def machine() -> dict[str, str]:
    """What results depend on to the last bit: processor, versions, flags."""
    try:
        # The kernel's numbers of speed and cores are left out: what counts is which instructions there are.
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = sorted({line for line in lines if line.split("\t")[0] in ("model name", "cpu family", "flags")})
    except OSError:
        processor = [platform.processor(), platform.machine()]
    return {
        "processor": hashlib.sha256("\n".join(processor).encode()).hexdigest()[:16],
        "cores": str(os.cpu_count()),
        "flags": " ".join(sorted(os.environ["XLA_FLAGS"].split())),
        **{name: version(name) for name in ("jax", "jaxlib", "numpy")},
    }


def table_record(table: pd.DataFrame) -> dict[str, list[Any]]:
    """Column -> its type and its values, the shortest text that gives a float back; one value where all are alike."""
    record = {}
    for name in table.columns.difference(UNRECORDED, sort=False):
        column = table[name].to_numpy()
        values = [value if isinstance(value, str) else str(value) for value in column]
        record[name] = [str(column.dtype), values[:1] if len(set(values)) == 1 else values]
    return record


def record_of(case: Case, folder: Path) -> dict[str, Any]:
    """Carries a case out and returns its record."""
    trained = carry_out(case, folder)
    tables = {"results": trained.results(), "history": trained.history()}
    record: dict[str, Any] = {}
    if "study" in case.spec:
        record["answer"] = answer_of(case, trained)
        tables |= measured(case, trained)
    record["rows"] = {name: len(table) for name, table in tables.items()}
    record["tables"] = {name: table_record(table.iloc[:: -(-len(table) // LONGEST)]) for name, table in tables.items()}
    return record


def text_of(record: dict[str, Any]) -> str:
    """As JSON, a column or a sentence on a line, so that what changes is seen line by line."""
    blocks = [f'"machine": {json.dumps(machine())}']
    if "answer" in record:
        blocks.append(f'"answer": {json.dumps(record["answer"], ensure_ascii=False, indent=1)}')
    blocks.append(f'"rows": {json.dumps(record["rows"])}')
    tables = [
        f'"{name}": {{\n' + ",\n".join(f'"{column}": {json.dumps(values)}' for column, values in table.items()) + "\n}"
        for name, table in record["tables"].items()
    ]
    blocks.append('"tables": {\n' + ",\n".join(tables) + "\n}")
    return "{\n" + ",\n".join(blocks) + "\n}\n"


def read_record(name: str) -> dict[str, Any]:
    """The record of a case."""
    return json.loads((FOLDER / f"{name}.json").read_text())


def column_values(kind: str, values: list[str]) -> np.ndarray:
    """A column as it was in its table; one value if all were alike."""
    if kind == "bool":
        return np.array([value == "True" for value in values])
    return np.array(values, kind) if kind != "object" else np.array(values, object)
