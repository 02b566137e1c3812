"""What the file system may do to a results folder: the reason is said at once, and nothing is lost."""

import errno
import logging
import os
import shutil
import socket
import subprocess

import pytest
from report.results_tables import growing, results_table
from studies.described import folder_of
from together import together

from widebasin.data.writing import locked, written_aside
from widebasin.studies import Options
from widebasin.studies.answering import write_answer
from widebasin.sweep import Execution, Spec, SweepError, UsageError
from widebasin.sweep.events import Epoch
from widebasin.sweep.folder import ResultsFolder
from widebasin.sweep.run import run

SMALL = Spec(workload="line-mlp", widths=(2, 3), methods=("sgd",), seeds=1, epochs=40)
GRID = {"widths": (10, 100), "rhos": (0.05, 0.2), "seeds": 3, "label_noise": (0.0,), "weight_decay": (1e-4,)}


@pytest.fixture
def finished(tmp_path):
    """Made up: of a finished sweep."""
    spec = Spec(study="overparam", epochs=2, **GRID)
    return folder_of(tmp_path / "finished", spec, results_table(growing))


def moved(path):
    path.rename(path.with_name("elsewhere"))


def taken_over(path):
    (path / ".owner").write_bytes(b"process 1 on another")


@together(
    ("fault", "reason"),
    [
        (shutil.rmtree, "was deleted, moved or used by another process while it was in use"),
        (moved, "was deleted, moved or used by another process while it was in use"),
        (taken_over, "was taken over by process 1 on another"),
    ],
)
def test_a_folder_that_goes_away_is_noticed_and_not_made_again(fault, reason, tmp_path):
    path = tmp_path / fault.__name__
    folder = ResultsFolder(path)
    with folder.locked():
        folder.check_held()
        fault(path)
        for use in (folder.check_held, lambda: folder.write("a", b""), lambda: folder.write("figures/a", b"")):
            with pytest.raises(SweepError, match=reason):
                use()
    assert path.exists() == (fault is taken_over)
    assert (path / ".owner").exists() == (fault is taken_over)
    shutil.rmtree(tmp_path / "elsewhere", ignore_errors=True)
    with folder.locked():
        folder.write("a", b"")


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.0, 1e6], ids=["checkpoints", "none"])
def test_a_sweep_whose_folder_is_deleted_ends_at_the_next_epoch(tmp_path, seconds):
    epochs = []

    def listener(event):
        if isinstance(event, Epoch):
            epochs.append(event.report.epoch)
            if event.report.epoch == 3:
                shutil.rmtree(tmp_path / "r")

    with pytest.raises(SweepError, match="was deleted, moved or used"):
        run(SMALL, tmp_path / "r", execution=Execution(checkpoint_seconds=seconds), listeners=[listener])
    assert epochs == [1, 2, 3]


def folder_as_lock(path):
    (path / ".lock").mkdir(parents=True)


def file(path):
    path.write_text("precious")


def dangling(path):
    path.symlink_to("nowhere")


def below_a_file(path):
    path.parent.joinpath("file").write_text("precious")
    path.symlink_to("file/results")


@together(
    ("fault", "reason"),
    [
        (folder_as_lock, r"\.lock: is a folder where a lock file should be: delete it"),
        (file, "is a file, not a folder"),
        (dangling, "is a link to nowhere, which does not exist"),
        (below_a_file, "is a link to file/results, which does not exist"),
    ],
)
def test_what_is_no_folder_is_named_with_the_argument_of_the_command(fault, reason, tmp_path):
    path = tmp_path / fault.__name__
    fault(path)
    for argument, remedy in (("out", "choose another --out"), ("folder", "give the folder of another sweep")):
        with pytest.raises(UsageError, match=rf"^{argument} = .*{reason}.*; {remedy}"):
            ResultsFolder(path, argument).locked().__enter__()
    assert path.is_symlink() or path.exists()


@pytest.fixture
def no_locks(monkeypatch):
    """A file system without locks: what it says, changed by the test."""
    said = [errno.ENOSYS]

    def refuse(file, operation):
        raise OSError(said[0], os.strerror(said[0]))

    monkeypatch.setattr("fcntl.flock", refuse)
    return said


@together("number", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK])
def test_without_file_locks_work_goes_on_and_it_is_said(number, no_locks, tmp_path, caplog):
    no_locks[:] = [number]
    # As a process with locks has left it.
    (tmp_path / ".lock").touch()
    folder = ResultsFolder(tmp_path)
    caplog.clear()
    with caplog.at_level(logging.WARNING), folder.locked():
        folder.write("a", b"content")
        assert folder.holder() == (tmp_path / ".owner").read_text()
    assert folder.holder() == ""
    assert "no file locks (flock)" in caplog.text
    with written_aside(tmp_path / "data", ".writing-") as aside:
        (aside / "a").touch()


def test_a_process_of_this_machine_that_has_ended_holds_nothing(no_locks, tmp_path):
    ended = subprocess.Popen(["true"])
    ended.wait()
    for host, holds in ((socket.gethostname(), False), ("another", True)):
        owner = f"process {ended.pid} on {host}"
        (tmp_path / ".owner").write_text(owner)
        assert ResultsFolder(tmp_path).holder() == (owner if holds else "")


def test_a_lock_is_held_by_one_at_a_time(tmp_path):
    with locked(tmp_path / "lock"), pytest.raises(TimeoutError), locked(tmp_path / "lock", wait=0.0):
        pass


@together("name", ["run.json", "spec.toml", "description.json"])
def test_what_cannot_be_read_is_not_called_damaged(name, finished):
    content = (finished.path / name).read_bytes()
    (finished.path / name).unlink()
    (finished.path / name).mkdir()
    with pytest.raises(SweepError, match=rf"{name} cannot be read \(Is a directory\)"):
        finished.description() if name == "description.json" else finished.spec()
    (finished.path / name).rmdir()
    (finished.path / name).write_bytes(content)


@pytest.mark.slow
def test_a_disk_that_is_full_when_the_report_is_written_loses_nothing(finished, monkeypatch):
    write_answer(finished, Options())
    before = {path: path.read_bytes() for path in finished.path.rglob("*") if path.is_file()}
    genuine, count = os.fsync, [0]

    def fsync(file):
        count[0] += 1
        if count[0] > 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        genuine(file)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        with pytest.raises(
            SweepError, match=r"cannot write .* \(No space left on device\); free some space and run the same"
        ):
            write_answer(finished, Options(at="best"))
    write_answer(finished, Options())
    assert {path: path.read_bytes() for path in finished.path.rglob("*") if path.is_file()} == before


@pytest.mark.slow
def test_a_folder_in_the_place_of_the_page_is_named(finished):
    (finished.path / "report.html").mkdir()
    with pytest.raises(SweepError, match=r"report\.html \(Is a directory\); delete what is in its place"):
        write_answer(finished, Options())
    assert not list(finished.path.rglob("*.partial"))


def test_a_sweep_that_is_not_finished_says_how_far_it_is_and_how_it_goes_on(finished):
    (finished.path / "results.parquet").unlink()
    folder = ResultsFolder(finished.path, "folder")
    with pytest.raises(SweepError) as error:
        write_answer(folder, Options())
    assert "is not finished: 0 of 18 networks are trained; continue it with: widebasin study overparam" in str(
        error.value
    )
    assert str(error.value).endswith(f" --out {finished.path}")
    table = results_table(growing).assign(epochs=2, parameters="")
    finished.write_group("digits-mlp-width-10-sgd", 0, table[:3], table[:3])
    with finished.locked(), pytest.raises(SweepError) as error, folder.locked():
        pass
    assert "(3 of 18 networks are trained)" in str(error.value)
    assert "--out" not in str(error.value)
