"""Results stay what they were: bit for bit on the machine of the record, to a tolerance on others."""

import numpy as np
import pandas as pd
import pytest
from frozen.cases import CASES
from frozen.records import UNRECORDED, column_values, machine, read_record, record_of, table_record

# Column of a record -> its name now.
RENAMED: dict[str, str] = {}
# Columns that came later: where the parameters of a network lie, and the standard parametrization of all of these.
LATER = {"parameters", "parametrization"}

# On other machines, after the few steps of these sweeps: rounding grows from step to step, and a label may flip.
RTOL, ATOL = 0.05, 0.02
# What a network is, is exact everywhere; which epoch was the best is not.
UNSURE = ("best_valid_epoch", "best_valid", "best_test")


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_results_are_those_of_the_record(name, tmp_path):
    recorded, now = read_record(name), record_of(CASES[name], tmp_path)
    here = recorded["machine"] == machine()
    assert now["rows"] == recorded["rows"]
    wrong = []
    for table, columns in recorded["tables"].items():
        ours = now["tables"][table]
        assert set(ours) - LATER == {RENAMED.get(column, column) for column in columns} - LATER
        for column, (kind, values) in columns.items():
            expected = column_values(kind, values)
            found = column_values(*ours[RENAMED.get(column, column)])
            if not (same(found, expected) if here else close(column, found, expected)):
                wrong.append(f"{table}.{column}: {difference(found, expected)}")
    assert not wrong, "\n".join(wrong)
    if "answer" in recorded:
        if here:
            assert now["answer"] == recorded["answer"]
        else:
            assert outline(now["answer"]) == outline(recorded["answer"])


def same(found, expected):
    """To the last bit; what is not a number equals itself."""
    if found.dtype.kind == "f":
        return found.dtype == expected.dtype and found.tobytes() == expected.tobytes()
    return found.dtype == expected.dtype and np.array_equal(found, expected)


def close(column, found, expected):
    if column.startswith(UNSURE):
        return True
    if found.dtype.kind != "f":
        return np.array_equal(found, expected)
    # Values that were all alike may not be any more, or the other way round.
    return np.allclose(found, expected, rtol=RTOL, atol=ATOL, equal_nan=True)


def difference(found, expected):
    if (found.dtype, found.shape) != (expected.dtype, expected.shape) or found.dtype.kind != "f":
        return f"{found} in the place of {expected}"
    far = np.nan_to_num(np.abs(found - expected), nan=np.inf)
    return f"{(found != expected).sum()} of {found.size} values, by up to {far.max():.3g}"


def outline(answer):
    """What does not hang on the last digit of a number."""
    tables = [(table["title"], table["columns"], len(table["rows"])) for table in answer["tables"]]
    return answer["title"], answer["question"], tables, answer["pictures"]


def test_a_record_gives_every_value_back():
    table = pd.DataFrame(
        {
            "name": ["a", "b"],
            "single": np.float32([0.1, np.nan]),
            "double": [1 / 3, -0.0],
            "whole": [1, 2],
            "right": [True, False],
            "alike": np.float32([1e-30, 1e-30]),
            "seconds": [1.0, 2.0],
        }
    )
    record = table_record(table)
    assert set(record) == set(table) - set(UNRECORDED)
    for name, (kind, values) in record.items():
        column = table[name].to_numpy()
        assert same(column_values(kind, values), column[:1] if name == "alike" else column)
    other = table["double"].to_numpy().copy()
    other[0] = np.nextafter(other[0], 1)
    assert not same(column_values(*record["double"]), other)
