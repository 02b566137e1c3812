"""Several processes on one results folder: leases, kills, a group that fails everywhere."""

import errno
import os
import subprocess
import sys
import threading
from dataclasses import replace

import pandas as pd
import pytest
from rich.console import Console
from sweep.commands import widebasin
from sweep.test_interruption import KILLED, SWEEP, tables

from widebasin.studies import Options, running
from widebasin.studies.running import train_and_answer
from widebasin.sweep import SweepError, UsageError, leases, resolve
from widebasin.sweep.beginning import begin_or_continue, join
from widebasin.sweep.cells import cells
from widebasin.sweep.events import GroupFinished
from widebasin.sweep.execution import Execution
from widebasin.sweep.folder import ResultsFolder
from widebasin.sweep.groups import train_sharing
from widebasin.sweep.leases import LeaseLost, Leases
from widebasin.sweep.process_names import machine, process_name
from widebasin.sweep.run import run
from widebasin.sweep.spec import Spec
from widebasin.training import Program

PLACE = ("a-cell", 0)
FEW = resolve(Spec(widths=(2, 3), rhos=(0.1,), seeds=1, epochs=1, methods=("sgd", "sam")))


def path_of(folder):
    return folder.group(*PLACE, "lease")


def ended():
    """A process of this machine that has ended."""
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return process_name().replace(str(os.getpid()), str(done.pid))


# Leases ---------------------------------------------------------------------------------------------------------------


def test_one_process_has_a_group_and_gives_it_back(tmp_path):
    folder = ResultsFolder(tmp_path)
    mine, other = Leases(folder, 60), Leases(folder, 60)
    with mine.of(*PLACE) as check:
        check()
        with other.of(*PLACE) as theirs:
            assert theirs is None
        check()
        assert other.holders() == [process_name()]
    assert not list((tmp_path / "cells" / PLACE[0]).iterdir())
    assert other.holders() == []
    with other.of(*PLACE) as check:
        check()


@pytest.mark.parametrize("ends", ["vanished", "paused"])
def test_an_expired_lease_and_that_of_an_ended_process_are_taken_over(tmp_path, ends):
    folder = ResultsFolder(tmp_path)
    path = path_of(folder)
    path.parent.mkdir(parents=True)
    path.write_text(f"{ended()} {machine()}-1" if ends == "vanished" else "process 7 on elsewhere 1")
    if ends == "paused":
        os.utime(path, (0, 0))
    assert Leases(folder, 60).holders() == []
    with Leases(folder, 60).of(*PLACE) as check:
        check()
        assert path.read_text().startswith(process_name())
    assert not path.exists()


def test_a_lease_expires_after_the_time_of_the_process_that_has_it(tmp_path):
    folder = ResultsFolder(tmp_path)
    patient, hasty = Leases(folder, 600), Leases(folder, 1)
    now = patient._now(path_of(folder))
    with patient.of(*PLACE):
        os.utime(path_of(folder), (now - 100, now - 100))
        assert hasty.holders() == [process_name()]
        with hasty.of(*PLACE) as check:
            assert check is None
        os.utime(path_of(folder), (now - 1_000, now - 1_000))
        assert patient.holders() == []


def test_a_machine_of_the_same_name_is_another_one(tmp_path):
    """The number of its process may be that of none here, or of another one."""
    folder = ResultsFolder(tmp_path)
    path = path_of(folder)
    path.parent.mkdir(parents=True)
    path.write_text(f"{ended()} 0a1b2c3d-1")
    with Leases(folder, 60).of(*PLACE) as check:
        assert check is None
    assert len(Leases(folder, 60).holders()) == 1


class Twice(threading.Event):
    """Over at the third look."""

    looks = 0

    def wait(self, timeout=None):
        self.looks += 1
        return self.looks > 2


def test_a_file_system_that_does_not_answer_once_ends_no_lease(tmp_path, monkeypatch):
    folder = ResultsFolder(tmp_path)
    path, mine, genuine = path_of(folder), Leases(folder, 60), leases._owner_of
    answers = iter([OSError(errno.ESTALE, "stale")])

    def owner(path):
        for error in answers:
            raise error
        return genuine(path)

    with mine.of(*PLACE) as check:
        os.utime(path, (0, 0))
        monkeypatch.setattr(leases, "_owner_of", owner)
        lost = threading.Event()
        mine._renew(path, Twice(), lost)
        assert path.stat().st_mtime > 0
        assert not lost.is_set()
        answers = iter([OSError(errno.ESTALE, "stale")])
        check()
        check()


def test_a_live_lease_of_another_machine_is_respected_and_one_that_is_lost_is_noticed(tmp_path):
    folder = ResultsFolder(tmp_path)
    path = path_of(folder)
    path.parent.mkdir(parents=True)
    path.write_text("process 7 on elsewhere 1")
    with Leases(folder, 60).of(*PLACE) as check:
        assert check is None
    assert Leases(folder, 60).holders() == ["process 7 on elsewhere"]
    path.unlink()
    with Leases(folder, 60).of(*PLACE) as check:
        path.write_text("process 7 on elsewhere 2")
        with pytest.raises(LeaseLost, match=r"group-0\.lease was taken over by process 7 on elsewhere"):
            check()
    assert path.read_text() == "process 7 on elsewhere 2"
    Leases(folder, 60).tidy()
    assert not path.exists()


def test_of_many_that_want_an_expired_lease_one_gets_it(tmp_path):
    folder = ResultsFolder(tmp_path)
    path = path_of(folder)
    path.parent.mkdir(parents=True)
    winners = 0
    for _ in range(20):
        path.write_text("process 7 on elsewhere 1")
        os.utime(path, (0, 0))
        together, got, after = threading.Barrier(8), [], threading.Barrier(8)

        def want(together=together, got=got, after=after):
            together.wait()
            with Leases(folder, 60).of(*PLACE) as check:
                after.wait()
                if check is not None:
                    try:
                        check()
                        got.append(check)
                    except LeaseLost:
                        pass

        threads = [threading.Thread(target=want) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(got) <= 1
        winners += len(got)
    assert winners > 10
    assert not list(path.parent.iterdir())


# Sweeps ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["0/2", "3/2", "1", "a/b", "1/0", "-1/2", 1])
def test_a_shard_is_one_of_several(given):
    with pytest.raises(UsageError, match="must be I/N with I from 1 to N, such as 1/4"):
        Execution(shard=given).check()


def test_what_others_share_is_not_deleted_or_trained_alone(tmp_path):
    with pytest.raises(UsageError, match="must be left out with --shard"):
        run(FEW, tmp_path / "a", execution=Execution(shard="1/2"), overwrite=True)
    folder = ResultsFolder(tmp_path / "b")
    path_of(folder).parent.mkdir(parents=True)
    path_of(folder).write_text("process 7 on elsewhere 1")
    with pytest.raises(SweepError, match="is in use by process 7 on elsewhere; wait until they have ended"):
        run(FEW, folder.path)


@pytest.mark.slow
def test_networks_of_a_lost_machine_are_taken_over_in_cells_that_were_compiled_ahead_before(tmp_path):
    spec = resolve(Spec(widths=(2, 3, 4, 5, 6), methods=("sgd",), seeds=2, epochs=1))
    shared, alone = Execution(networks_at_once=2, shard="1/2", lease_seconds=2), Execution(networks_at_once=2)
    expected = run(spec, tmp_path / "alone", execution=alone)
    folder = ResultsFolder(tmp_path / "shared")
    folder.path.mkdir()
    begin_or_continue(folder, spec, shared, overwrite=False)
    for cell in cells(spec)[1:4]:
        path = folder.group(cell.name, 0, "lease")
        path.parent.mkdir(parents=True)
        path.write_text("process 7 on elsewhere 1")
    run(spec, folder.path, execution=shared)
    pd.testing.assert_frame_equal(
        folder.results().drop(columns="seconds"), expected.results().drop(columns="seconds"), check_exact=True
    )


@pytest.mark.slow
@pytest.mark.parametrize("lost", [False, True])
def test_what_a_vanished_process_had_is_not_compiled_ahead(lost, tmp_path):
    """The process may have vanished as it compiled."""
    ahead = []

    class Told(Program):
        def prepare(self, points):
            ahead.append(points)
            super().prepare(points)

    folder, shared = ResultsFolder(tmp_path / "r"), Execution(shard="1/1")
    folder.path.mkdir()
    plans = begin_or_continue(folder, FEW, shared, overwrite=False)
    for cell in cells(FEW) if lost else ():
        path = folder.group(cell.name, 0, "lease")
        path.parent.mkdir(parents=True)
        path.write_text(f"{ended()} {machine()}-1")
    train_sharing(cells(FEW), plans, folder, shared, lambda event: None, (1, 1), Told)
    assert bool(ahead) != lost


def test_nobody_joins_a_process_that_trains_alone_as_it_leases_nothing(tmp_path):
    shared, folder, alone = Execution(shard="1/2"), ResultsFolder(tmp_path), ResultsFolder(tmp_path)
    begin_or_continue(folder, FEW, shared, overwrite=False)
    assert join(folder, FEW, shared) is not None
    with alone.locked():
        assert join(folder, FEW, shared) is None
    assert join(folder, FEW, shared) is not None


@pytest.mark.slow
def test_parameters_that_shall_be_kept_later_are_kept_whoever_trains(tmp_path):
    once = Execution(networks_at_once=1)
    folder = run(FEW, tmp_path / "r", execution=once)
    before = folder.results()
    assert set(before["parameters"]) == {""}
    for keeping in (replace(once, shard="1/1"), replace(once, processes=2)):
        folder = run(FEW, tmp_path / "r", execution=replace(keeping, keep_parameters=True))
        places = folder.results()["parameters"].str.rpartition(":")[0]
        assert all((folder.path / place).is_dir() for place in places)
        folder.group(cells(FEW)[0].name, 0, "results.parquet").unlink()  # trained again, as after damage
    folder = run(FEW, tmp_path / "r", execution=replace(once, processes=2, keep_parameters=True))
    volatile = ["seconds", "parameters"]
    pd.testing.assert_frame_equal(
        folder.results().drop(columns=volatile), before.drop(columns=volatile), check_exact=True
    )


class Broken(Exception):
    pass


@pytest.mark.slow
def test_a_group_that_always_fails_is_reported_when_the_rest_is_trained(tmp_path, monkeypatch):
    genuine = Program.begin_epoch
    grid = cells(FEW)

    def epoch(self, *arguments, **named):
        if self.problem.structure.weights[0].shape[0] == 3 * 3:
            raise Broken("no such luck")
        return genuine(self, *arguments, **named)

    monkeypatch.setattr(Program, "begin_epoch", epoch)
    told = []
    with pytest.raises(Broken):
        run(FEW, tmp_path / "r", execution=Execution(shard="2/2"), listeners=[told.append])
    trained = {event.cell.width for event in told if isinstance(event, GroupFinished)}
    assert trained == {2}
    assert {cell.width for cell in grid} == {2, 3}
    assert not list((tmp_path / "r").rglob("*.lease"))
    monkeypatch.undo()
    shared = run(FEW, tmp_path / "r", execution=Execution(shard="1/2"))
    alone = run(FEW, tmp_path / "alone")
    pd.testing.assert_frame_equal(
        shared.results().drop(columns="seconds"), alone.results().drop(columns="seconds"), check_exact=True
    )


@pytest.mark.slow
def test_processes_that_are_killed_and_others_that_go_on_give_the_bits_of_one(tmp_path):
    folder = tmp_path / "shared"

    def started(shard, event="", count=0):
        command = ["-c", KILLED, event, str(count)] if event else ["-m", "widebasin"]
        arguments = [*SWEEP, "--shard", f"{shard}/3", "--networks-at-once", "2", "--out", str(folder)]
        return subprocess.Popen(
            [sys.executable, *command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    kills = (("epoch", 3), ("sealed", 2), ("written", 6), ("removing", 1), ("replacing", 9))
    for process in [started(1 + number % 3, *kill) for number, kill in enumerate(kills)]:
        process.communicate()
    processes = [started(number) for number in (1, 2)]
    for process in processes:
        _, errors = process.communicate()
        assert process.returncode == 0, errors
    expected = tmp_path / "expected"
    widebasin(*SWEEP, "--networks-at-once", "2", "--out", expected, check=0)
    for mine, theirs in zip(tables(folder), tables(expected), strict=True):
        pd.testing.assert_frame_equal(mine, theirs, check_exact=True)
    assert not list(folder.rglob("*lease*"))
    assert not list(folder.rglob("*.checkpoint"))


@pytest.mark.slow
def test_a_process_leaves_the_report_to_another_one_that_has_written_it_or_does_so_now(tmp_path, monkeypatch, capsys):
    genuine, written_by = running.run, []

    def together(spec, path, **named):
        folder = genuine(spec, path, **named)
        page = folder.path / "report.html"
        page.touch()
        if written_by:
            page.unlink()
            (folder.path / ".owner").write_text(written_by[0])
            monkeypatch.setattr(ResultsFolder, "holder", lambda folder: written_by[0])
        return folder

    monkeypatch.setattr(running, "run", together)

    def answered(number):
        console = Console(width=1_000)
        given = (FEW, Options(), Execution(shard=f"{number}/2"), tmp_path / "r")
        found = train_and_answer(*given, overwrite=False, console=console, quiet=True)
        return found, capsys.readouterr().out

    assert answered(1) == (None, f"All networks are trained. Page: {tmp_path / 'r' / 'report.html'}\n")
    found, _ = answered(2)  # nothing was left to do: the command asks for the answer
    assert found is not None
    ResultsFolder(tmp_path / "r").remove_tables()
    written_by.append("process 7 on elsewhere")
    assert answered(2) == (None, "All networks are trained; process 7 on elsewhere writes the report.\n")
