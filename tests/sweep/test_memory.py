"""The programs of a finished cell are freed: a process can train any number of cells."""

import jax
import pytest

from widebasin.sweep import Execution, Spec
from widebasin.sweep.events import GroupFinished
from widebasin.sweep.run import run


@pytest.mark.slow
def test_programs_do_not_pile_up_over_cells(tmp_path):
    """Each cell has a width of its own, so no program is used twice."""
    counts = []

    def listener(event):
        if isinstance(event, GroupFinished):
            counts.append(len(jax.devices()[0].client.live_executables()))

    spec = Spec(workload="line-mlp", widths=tuple(range(2, 12)), methods=("sgd",), seeds=2, epochs=1)
    run(spec, tmp_path / "r", execution=Execution(devices=2), listeners=[listener])
    assert len(counts) == 10
    # Of the first cells some stay: small programs that all share, and the last tasks of the workload.
    assert max(counts[6:]) <= counts[5] + 1
