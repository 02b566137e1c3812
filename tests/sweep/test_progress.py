import io
import re

import numpy as np
import pytest
from rich.console import Console
from sweep.made_up import NAME, deep_line

from widebasin.sweep import Spec, resolve
from widebasin.sweep.cells import cells
from widebasin.sweep.events import Epoch, Failed, Finished, GroupFinished, GroupStarted, Started
from widebasin.sweep.progress import PlainProgress, TerminalProgress, progress_for, tracker
from widebasin.sweep.spec import spec_type
from widebasin.training import EpochReport, Plan
from widebasin.workloads import WORKLOADS

GRID = cells(resolve(Spec(widths=(4, 8), methods=("sgd", "asam"), rhos=(0.1, 0.2), seeds=3, epochs=2)))


def report(epoch, networks, resumed=False):
    metrics = {"train_loss": np.full(networks, 0.5), "valid_accuracy": np.full(networks, 0.75)}
    return EpochReport(epoch, resumed, metrics, diverged=0)


def carry_out(progress, skipped=()):
    progress(Started(tuple(GRID)))
    for cell in GRID:
        for number, group in enumerate(Plan(2, "scan", "cpu").groups(cell.points)):
            if (cell.width, cell.method) in skipped:
                progress(GroupFinished(cell, number, group, before=True))
                continue
            progress(GroupStarted(cell, number, group))
            for epoch in (1, 2):
                progress(Epoch(cell, number, group, report(epoch, len(group))))
            progress(GroupFinished(cell, number, group))
    progress(Finished())


@pytest.mark.parametrize("skipped", [(), ((4, "sgd"), (8, "asam"))])
def test_work_done_adds_up_to_the_whole_however_it_is_grouped(skipped):
    progress = PlainProgress(Console(file=io.StringIO()))
    carry_out(progress, skipped)
    assert progress.counter.done == pytest.approx(progress.counter.total)
    assert progress.counter.finished == progress.counter.networks == 18
    assert progress.counter.seconds_left() == pytest.approx(0, abs=1e-6)


def test_plain_lines_say_share_cell_networks_and_metrics():
    console = Console(file=io.StringIO(), width=40)
    carry_out(PlainProgress(console), skipped=((4, "sgd"),))
    lines = console.file.getvalue().splitlines()
    assert "digits-mlp width 4 sgd: 2 networks finished before" in lines[0]
    assert sum(line.startswith("[") and "compiling, then the first epoch" in line for line in lines) == 1
    assert lines[-1].startswith(
        "[100%] digits-mlp width 8 asam: 6 networks trained, train loss 0.500, valid accuracy 0.750"
    )
    assert sum("width 8 asam" in line for line in lines) == 1  # of three groups
    shares = [int(line[1:4]) for line in lines]
    assert shares == sorted(shares)


def test_own_axes_are_named_where_they_vary(monkeypatch):
    monkeypatch.setitem(WORKLOADS, NAME, deep_line())

    def lines(*depths):
        console = Console(file=io.StringIO())
        progress, spec = PlainProgress(console), spec_type(WORKLOADS[NAME].axes)
        grid = cells(resolve(spec(workload=NAME, methods=("sgd",), seeds=3, depths=depths)))
        progress(Started(tuple(grid)))
        for cell in grid:
            progress(GroupFinished(cell, 0, cell.points, before=True))
        return console.file.getvalue()

    assert "width 2 sgd: 3" in lines(2)
    assert "width 2 depth 2 sgd: 3" in lines(1, 2)


def test_a_terminal_shows_time_left_and_metrics():
    console = Console(file=io.StringIO(), width=100, force_terminal=True)
    progress = TerminalProgress(console)
    progress(Started(tuple(GRID)))
    progress(GroupStarted(GRID[1], 0, GRID[1].points))
    progress(Epoch(GRID[1], 0, GRID[1].points, report(1, 6)))
    assert progress.counter.seconds_left() is None  # most of the time so far went into compiling
    progress(Epoch(GRID[1], 0, GRID[1].points, report(2, 6)))
    progress.bar.refresh()
    progress(Failed("no more time"))
    text = console.file.getvalue()
    for part in ("width 4 asam x 6", "left", "valid accuracy 0.750"):
        assert part in text


@pytest.mark.parametrize("width", [60, 40])
def test_time_moves_and_a_bar_stays_while_a_program_compiles_in_a_narrow_terminal(width):
    console = Console(file=io.StringIO(), width=width, force_terminal=True)
    progress = TerminalProgress(console)
    progress(Started(tuple(GRID)))
    progress(GroupStarted(GRID[1], 0, GRID[1].points))
    for passed in (65, 60):
        progress.bar.tasks[0].start_time -= passed  # pyright: ignore[reportOperatorIssue]
        progress.bar.refresh()
    progress(Failed("no more time"))
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", console.file.getvalue())
    lines = [line for line in re.split(r"[\r\n]", text) if "asam" in line or "width" in line]
    assert all(line.count("━") == 12 and len(line) <= width for line in lines)
    for seconds in ("1m05s", "2m05s"):
        assert any(seconds in line for line in lines)
    assert any("compiling" in line for line in lines) == (width == 60)


def test_measuring_shows_which_network_and_the_time():
    console = Console(file=io.StringIO(), width=60, force_terminal=True)
    seen = list(tracker(console, quiet=False)(["a", "b"], "measuring curvature"))
    assert seen == ["a", "b"]
    assert "0s measuring curvature network 2 of 2" in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", console.file.getvalue())


@pytest.mark.parametrize(("seconds", "rate"), [(100.0, "60 examples/s"), (0.1, "60k examples/s")])
def test_the_rate_has_digits_for_slow_networks_too(seconds, rate, monkeypatch):
    """Six networks, an epoch of 1,000 examples."""
    console = Console(file=io.StringIO(), width=140, force_terminal=True)
    progress = TerminalProgress(console)
    monkeypatch.setattr(progress.counter, "seconds", lambda: seconds)
    progress(Started(tuple(GRID)))
    progress(GroupStarted(GRID[1], 0, GRID[1].points))
    progress(Epoch(GRID[1], 0, GRID[1].points, report(1, 6)))
    progress.bar.refresh()
    progress(Failed("no more time"))
    assert rate in console.file.getvalue()


def test_where_output_goes_decides_what_is_shown():
    terminal = Console(file=io.StringIO(), force_terminal=True)
    assert [type(one) for one in progress_for(terminal, quiet=False)] == [TerminalProgress]
    assert [type(one) for one in progress_for(Console(file=io.StringIO()), quiet=False)] == [PlainProgress]
    assert progress_for(terminal, quiet=True) == []
