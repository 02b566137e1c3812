"""Several tables read together are what they are one by one."""

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from widebasin.sweep.tables import FEW_ROWS, packed, stacked, unpacked


def tables(*rows):
    """Texts, truths, whole numbers and numbers that may be missing."""
    return [
        pd.DataFrame(
            {
                "name": [f"{count}-{row % 7}" for row in range(count)],
                "whole": range(count),
                "value": [float("nan") if row % 3 == 1 else row / 3 for row in range(count)],
                "true": [row % 2 == 0 for row in range(count)],
            }
        )
        for count in rows
    ]


def test_tables_read_together_are_those_of_concat_with_their_lengths():
    contents = [packed(one) for one in tables(1, 4, FEW_ROWS + 1)]
    table, lengths = stacked(contents)
    pd.testing.assert_frame_equal(table, pd.concat(map(unpacked, contents), ignore_index=True), check_exact=True)
    assert lengths == [1, 4, FEW_ROWS + 1]


@pytest.mark.parametrize("damage", [b"", b"PAR1", None])
def test_a_damaged_table_or_other_columns_are_left_to_be_told_one_by_one(damage):
    first, other = tables(3, 3)
    whole = packed(other)
    changed = packed(other.rename(columns={"whole": "part"})) if damage is None else damage
    assert stacked([packed(first), whole]) is not None
    assert stacked([packed(first), changed]) is None


def test_a_changed_value_is_noticed():
    one, other = tables(5, 5)
    seal = packed(one)
    other.loc[2, "whole"] = 7
    content = packed(other)
    genuine = pq.read_table(pa.BufferReader(seal)).schema.metadata
    forged = pq.read_table(pa.BufferReader(content)).replace_schema_metadata(genuine)
    sink = pa.BufferOutputStream()
    pq.write_table(forged, sink)
    assert stacked([seal, sink.getvalue().to_pybytes()]) is None
