"""Large sweeps in small: the rows of the benchmark, and file operations that do not grow."""

import pytest

from widebasin.benchmarks import sweeps
from widebasin.sweep import Spec


@pytest.mark.slow
def test_all_parts_are_measured():
    grid = ("--widths", "4", "--rhos", "0.1", "--seeds", "1", "--epochs", "1")
    large = Spec(widths=(4, 8), rhos=(0.1, 0.2), seeds=3, epochs=2)
    found = sweeps.measure(1, grid=grid, networks=2, cases=((1, 40), (2, 40)), large=large, at_once=2)
    what = [row.what for row in found.rows]
    assert what[:5] == [
        "1 process",
        "2 processes",
        "1 worker, 40 groups: a group",
        "2 workers, 40 groups: a group",
        "1,000 workers, shortest group that the folder keeps up with (model)",
    ]
    assert [name.removeprefix("18 networks: ") for name in what[5:]] == [
        "plan",
        "write the rows of all groups, and merge",
        "verify, and merge again",
        "merge",
        "status",
        "report",
    ]
    assert all(row.timing is not None and row.timing.median > 0 for row in found.rows)


@pytest.mark.slow
def test_file_operations_for_a_group_do_not_grow_with_groups_and_little_with_workers():
    def operations(workers, groups):
        return sweeps.shared(workers, groups).calls.total / groups

    few, many = operations(1, 40), operations(1, 80)
    assert many <= few
    assert operations(4, 80) <= 1.5 * many
