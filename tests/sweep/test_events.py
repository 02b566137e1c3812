"""What happens in a sweep is told to every listener."""

from collections import Counter

import pytest

from widebasin.sweep import Execution, Spec
from widebasin.sweep.events import Checkpoint, Epoch, Failed, Finished, GroupFinished, GroupStarted, Started
from widebasin.sweep.run import run

SPEC = Spec(workload="line-mlp", widths=(2,), methods=("sgd", "asam"), rhos=(0.1,), seeds=2, epochs=3)
EVERY_EPOCH = Execution(checkpoint_seconds=0.0, networks_at_once=1)


@pytest.mark.slow
def test_listeners_are_told_everything_in_order(tmp_path):
    heard, lines = [], []

    def log(event):
        lines.append(type(event).__name__)

    run(SPEC, tmp_path / "r", execution=EVERY_EPOCH, listeners=[heard.append, log])
    assert lines == [type(event).__name__ for event in heard]
    group = [GroupStarted, Epoch, Checkpoint, Epoch, Checkpoint, Epoch, GroupFinished]
    assert [type(event) for event in heard] == [Started, *group * 4, Finished]
    assert [event.report.epoch for event in heard if isinstance(event, Epoch)] == [1, 2, 3] * 4
    assert [event.epoch for event in heard if isinstance(event, Checkpoint)] == [1, 2] * 4
    finished = [event for event in heard if isinstance(event, GroupFinished)]
    assert [(event.cell.method, event.group, event.networks) for event in finished] == [
        ("sgd", 0, 1),
        ("sgd", 1, 1),
        ("asam", 0, 1),
        ("asam", 1, 1),
    ]
    assert heard[0].cells == tuple(dict.fromkeys(event.cell for event in finished))


@pytest.mark.slow
def test_a_sweep_that_fails_says_why_and_goes_on_where_it_was(tmp_path):
    heard = []

    def refuses(event):
        if isinstance(event, GroupStarted) and event.cell.method == "asam":
            raise RuntimeError("the plug was pulled\nat the wall")

    with pytest.raises(RuntimeError, match="plug"):
        run(SPEC, tmp_path / "r", listeners=[heard.append, refuses])
    assert heard[-1] == Failed("the plug was pulled")
    again = []
    run(SPEC, tmp_path / "r", listeners=[again.append])
    assert Counter(event.before for event in again if isinstance(event, GroupFinished)) == {True: 1, False: 1}
    assert isinstance(again[-1], Finished)
    nothing = []
    run(SPEC, tmp_path / "r", listeners=[nothing.append])
    assert nothing == []
