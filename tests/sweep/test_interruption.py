"""Killing the process, a second process on the same folder, disks that refuse."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from sweep.commands import start, widebasin

SWEEP = (
    *("sweep", "--widths", "3", "5", "--rhos", "0.05", "0.2", "--seeds", "2", "--epochs", "6", "--quiet"),
    *("--checkpoint-seconds", "0"),
)

# Runs the command and kills itself, as SIGKILL does, when the n-th of the named events happens.
KILLED = """
import os, signal, sys
from widebasin.sweep import folder
from widebasin.training import checkpoint, program
import orbax.checkpoint as ocp
from matplotlib.figure import Figure

event, count = sys.argv[1], int(sys.argv[2])
def dies(owner, name, before):
    genuine = getattr(owner, name)
    def call(*args, **kwargs):
        global count
        count -= 1
        if count == 0 and before:
            os.kill(os.getpid(), signal.SIGKILL)
        result = genuine(*args, **kwargs)
        if count == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    setattr(owner, name, call)

{
    "epoch": lambda: dies(program.Program, "begin_epoch", before=False),
    "saving": lambda: dies(ocp.CheckpointManager, "save", before=False),
    "sealed": lambda: dies(checkpoint.Checkpoints, "save", before=False),
    "writing": lambda: dies(folder.ResultsFolder, "write", before=True),
    "written": lambda: dies(folder.ResultsFolder, "write", before=False),
    "replacing": lambda: dies(os, "fsync", before=False),
    "removing": lambda: dies(checkpoint.Checkpoints, "remove", before=True),
    "drawing": lambda: dies(Figure, "savefig", before=False),
    "renaming": lambda: dies(os, "replace", before=True),
    "renamed": lambda: dies(os, "replace", before=False),
}[event]()
from widebasin.cli import main
main(sys.argv[3:])
"""


def killed(event, count, *arguments):
    done = subprocess.run(
        [sys.executable, "-c", KILLED, event, str(count), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stdout + done.stderr


def tables(folder):
    results = pd.read_parquet(folder / "results.parquet").drop(columns="seconds")
    return results, pd.read_parquet(folder / "history.parquet")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "results"
    widebasin(*SWEEP, "--out", folder, check=0)
    return tables(folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    "kills",
    [
        [("writing", 1), ("epoch", 4), ("sealed", 2)],
        [("saving", 1), ("removing", 1), ("written", 1), ("replacing", 3)],
    ],
    ids=lambda kills: "-".join(f"{event}{count}" for event, count in kills),
)
def test_a_sweep_killed_at_any_moment_and_started_again_gives_the_same_bits(uninterrupted, tmp_path, kills):
    folder = tmp_path / "results"
    for event, count in kills:
        killed(event, count, *SWEEP, "--out", folder)
    widebasin(*SWEEP, "--out", folder, check=0)
    for mine, theirs in zip(tables(folder), uninterrupted, strict=True):
        pd.testing.assert_frame_equal(mine, theirs, check_exact=True)
    assert not list(folder.rglob("*.partial"))
    assert not list(folder.rglob("*.checkpoint"))


AGENTS = (
    *("sweep", "--workload", "cartpole-ppo", "--methods", "sam", "--widths", "4", "--rhos", "0.05", "--seeds", "1"),
    *("--epochs", "3", "--quiet", "--checkpoint-seconds", "0"),
)


@pytest.mark.slow
def test_a_sweep_of_agents_that_was_killed_has_the_same_bits(tmp_path):
    """Environments and the accounts of their episodes go on where they were."""
    widebasin(*AGENTS, "--out", tmp_path / "whole", check=0)
    killed("epoch", 2, *AGENTS, "--out", tmp_path / "killed")
    widebasin(*AGENTS, "--out", tmp_path / "killed", check=0)
    for mine, theirs in zip(tables(tmp_path / "killed"), tables(tmp_path / "whole"), strict=True):
        pd.testing.assert_frame_equal(mine, theirs, check_exact=True)


def content(folder):
    """All that a reader sees of a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


@pytest.mark.slow
def test_a_report_killed_at_any_moment_and_made_again_has_the_same_bytes(tmp_path):
    folder = tmp_path / "r"
    widebasin("study", "overparam", *SWEEP[1:], "--out", folder, check=0)
    expected = content(folder)
    for written in (*folder.glob("figures/*"), *folder.glob("tables/*"), *folder.glob("*.html")):
        written.unlink()
    for event, count in (("drawing", 2), ("renaming", 5), ("renamed", 9)):
        killed(event, count, "report", folder, "--at", "best")
    widebasin("report", folder, check=0)
    assert content(folder) == expected


@pytest.mark.slow
def test_an_interrupted_cell_continues_from_its_checkpoint(tmp_path):
    folder = tmp_path / "results"
    killed("epoch", 5, *SWEEP, "--out", folder)
    saved = [p.name for p in (folder / "cells").glob("*/group-0.checkpoint/*.seal")]
    assert "4.seal" in saved
    assert not list(folder.rglob("*.results.parquet"))


@pytest.mark.slow
def test_a_damaged_checkpoint_is_named_and_its_networks_can_start_anew(uninterrupted, tmp_path):
    folder = tmp_path / "results"
    killed("epoch", 5, *SWEEP, "--out", folder)
    (checkpoint,) = (folder / "cells").glob("*/group-0.checkpoint")
    largest = max((p for p in checkpoint.rglob("4/**/*") if p.is_file()), key=lambda p: p.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-7])
    done = widebasin(*SWEEP, "--out", folder, check=1)
    assert str(checkpoint) in done.stderr
    assert "delete that folder" in done.stderr
    assert "Traceback" not in done.stderr
    shutil.rmtree(checkpoint)
    widebasin(*SWEEP, "--out", folder, check=0)
    for mine, theirs in zip(tables(folder), uninterrupted, strict=True):
        pd.testing.assert_frame_equal(mine, theirs, check_exact=True)


@pytest.mark.slow
def test_a_second_process_on_the_same_folder_is_told_so_and_stops(tmp_path):
    folder = tmp_path / "results"
    first = start(*SWEEP[:-3], "--epochs", "3000", "--out", folder)
    try:
        assert first.stdout is not None
        while not (folder / "spec.toml").exists():
            assert first.poll() is None
        second = widebasin(*SWEEP, "--out", folder, check=1)
        assert f"process {first.pid}" in second.stderr
        assert "--out" in second.stderr
    finally:
        first.kill()
        first.communicate()


@pytest.mark.slow
def test_a_folder_that_cannot_be_made_is_an_error_before_training(tmp_path):
    (tmp_path / "file").write_text("")
    done = widebasin(*SWEEP, "--out", tmp_path / "file" / "results", check=2)
    assert "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_without_permission_is_an_error_before_training(tmp_path):
    tmp_path.chmod(0o500)
    done = widebasin(*SWEEP, "--out", tmp_path / "results", check=2)
    assert "cannot be written" in done.stderr


@pytest.fixture
def small_disk(tmp_path):
    """A real file system of a few MiB; only root may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    mounted = (
        mount
        and subprocess.run(
            [mount, "-t", "tmpfs", "-o", "size=8m", "tmpfs", disk], capture_output=True, check=False
        ).returncode
        == 0
    )
    if not mounted:
        pytest.skip("mounting a small file system needs root")
    yield disk
    subprocess.run(["umount", disk], check=True)


@pytest.mark.slow
def test_a_full_disk_is_an_error_before_training(small_disk):
    done = widebasin(*SWEEP, "--out", small_disk / "results", check=2)
    assert "8 MiB free" in done.stderr
    assert not list(Path(small_disk).rglob("spec.toml"))


# Runs the command; from the moment that the named function is called for width 5 on, no file may grow beyond 2 KiB.
FILLED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from widebasin.sweep import groups
from widebasin.training import train

def fills(module, name, when):
    genuine = getattr(module, name)
    def call(*args, **kwargs):
        if when(*args):
            resource.setrlimit(resource.RLIMIT_FSIZE, (2048, resource.RLIM_INFINITY))
        return genuine(*args, **kwargs)
    setattr(module, name, call)

if sys.argv[1] == "table":
    fills(groups, "results_rows", lambda cell, *rest: cell.width == 5)
else:
    fills(groups.Checkpoints, "save", lambda self, *rest: "width-5" in str(self.folder))
from widebasin.cli import main
main(sys.argv[2:])
"""


@pytest.mark.slow
@pytest.mark.parametrize("what", ["table", "checkpoint"])
def test_a_disk_that_fills_up_meanwhile_loses_nothing(tmp_path, what):
    grid = ("--widths", "3", "5", "--rhos", "0.05", "--seeds", "1", "--epochs", "2")
    sweep = ("sweep", *grid, "--quiet", *(SWEEP[-2:] if what == "checkpoint" else ()))
    arguments = [str(argument) for argument in (*sweep, "--out", tmp_path / "results")]
    command = [sys.executable, "-c", FILLED, what, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "cannot write" in done.stderr
    assert "Traceback" not in done.stderr
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "results" / "cells").rglob("*.results.parquet")}
    assert {path.parent.name for path in kept} == {"digits-mlp-width-3-sgd-and-sam"}
    widebasin(*arguments, check=0)
    assert all(path.stat().st_mtime_ns == before for path, before in kept.items())
