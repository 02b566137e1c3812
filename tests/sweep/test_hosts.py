"""One sweep on several hosts together, by the command: numbers, kills, errors of one host that the others hear of."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from dataclasses import replace

import jax
import numpy as np
import pandas as pd
import pytest
from sweep.commands import widebasin
from sweep.test_interruption import KILLED, tables

import widebasin as laboratory
from widebasin.studies.running import cost, meet
from widebasin.sweep import UsageError, hosts, resolve
from widebasin.sweep.cells import cells
from widebasin.sweep.execution import Execution, Hosts
from widebasin.sweep.plans import plan_for, plan_here
from widebasin.sweep.spec import Spec
from widebasin.training import Plan

SWEEP = ("sweep", "--widths", "3", "--methods", "sam", "--rhos", "0.1", "--seeds", "2", "--epochs", "3", "--m", "25")
SWEEP = (*SWEEP, "--train-examples", "300", "--batch-size", "50", "--checkpoint-seconds", "0", "--keep-parameters")
ANYWHERE = "2/4@10.0.0.1:4321"


def address():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{found.getsockname()[1]}"


def together(*arguments, count=2, killed=None, by="SIGKILL", environments=None, own=()):
    """Runs the command on so many hosts to its end; the one ``killed`` kills itself when it has its second checkpoint.

    Each has arguments of its ``own``, if they are given.

    Returns:
        Exit code, standard output and standard error of every host.
    """
    where, running = address(), []
    for number in range(1, count + 1):
        hosts = () if environments else ("--hosts", f"{number}/{count}@{where}")
        given = [*map(str, (*arguments, *(own[number - 1] if own else ()))), *hosts]
        ending = KILLED.replace("SIGKILL", by)
        command = ["-c", ending, "sealed", "2", *given] if number == killed else ["-m", "widebasin.cli", *given]
        environment = os.environ | (environments[number - 1] if environments else {})
        running.append(
            subprocess.Popen(
                [sys.executable, *command],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=environment,
            )
        )
    said = [one.communicate() for one in running]
    return [(one.returncode, *texts) for one, texts in zip(running, said, strict=True)]


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """The folder of an uninterrupted sweep on two hosts."""
    folder = tmp_path_factory.mktemp("two") / "results"
    (code, answer, _), (other, silence, said) = together(*SWEEP, "--out", folder)
    assert (code, other) == (0, 0), said
    assert "Page, figures and tables" in answer
    assert silence == ""
    return folder


def closest(one, other):
    """The largest difference between the numbers of two tables."""
    pd.testing.assert_frame_equal(one.select_dtypes(exclude="float"), other.select_dtypes(exclude="float"))
    pairs = zip(one.select_dtypes("float").items(), other.select_dtypes("float").items(), strict=True)
    return max(np.abs(x - y).max() for (_, x), (_, y) in pairs if not x.isna().all())


@pytest.mark.slow
def test_a_sweep_on_two_hosts_is_that_of_one_process(two, tmp_path):
    widebasin(*SWEEP, "--networks-at-once", "1", "--out", tmp_path / "one", check=0)
    for one, other in zip(tables(tmp_path / "one"), tables(two), strict=True):
        assert closest(one, other) < 1e-6
    for seed in (0, 1):
        kept = [laboratory.load_network(folder, seed=seed).model for folder in (tmp_path / "one", two)]
        for ours, theirs in zip(*map(jax.tree.leaves, kept), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)


def killed(folder, host, by):
    """A sweep on two hosts of which one is killed by a signal, which ends the other one with the remedy."""
    found = together(*SWEEP, "--out", folder, killed=host, by=by)
    code, _, said = found[2 - host]
    assert found[host - 1][0] == -getattr(signal, by)
    assert code != 0
    assert "run the same command on every host to continue from the last checkpoint" in said
    assert list(folder.glob("cells/*/group-0.checkpoint/*.seal"))


@pytest.mark.slow
def test_killing_a_host_ends_the_other_and_the_same_command_continues(two, tmp_path):
    folder = tmp_path / "results"
    killed(folder, host=1, by="SIGKILL")
    (code, _, said), (other, *_) = together(*SWEEP, "--out", folder)
    assert (code, other) == (0, 0), said
    for ours, uninterrupted in zip(tables(folder), tables(two), strict=True):
        pd.testing.assert_frame_equal(ours, uninterrupted, check_exact=True)
    log = pd.read_json(folder / "log.jsonl", lines=True)
    assert (log["event"] == "epoch").sum() == 6
    # From the first epoch on, the checkpoint of the first epoch would have been written again.
    assert not log[log["event"] == "checkpoint"].duplicated(["group", "epoch"]).any()


@pytest.mark.slow
def test_a_sweep_begun_on_two_hosts_is_continued_by_one_process_unless_its_checkpoint_is_damaged(two, tmp_path):
    folder = tmp_path / "results"
    killed(folder, host=2, by="SIGTERM")
    damaged = tmp_path / "damaged"
    shutil.copytree(folder, damaged)
    widebasin(*SWEEP, "--out", folder, check=0)
    for ours, uninterrupted in zip(tables(folder), tables(two), strict=True):
        assert closest(ours, uninterrupted) < 1e-6
    # A damaged checkpoint ends all hosts with the same reason.
    latest = max(damaged.glob("cells/*/group-0.checkpoint/*.seal"))
    latest.write_text(latest.read_text().replace("sha256", "sha"))
    found = together(*SWEEP, "--out", damaged)
    assert [code for code, *_ in found] == [1, 1]
    assert all("has a damaged seal" in said for *_, said in found)


@pytest.mark.slow
def test_an_error_of_the_first_host_ends_the_others_with_its_reason(tmp_path):
    (tmp_path / "mine.txt").write_text("a file of the user's")
    (first, _, why), (second, _, heard) = together(*SWEEP, "--out", tmp_path)
    assert (first, second) == (2, 1)
    assert "contains other files (mine.txt)" in why
    assert "host 1 has ended: out = " in heard
    assert "contains other files (mine.txt)" in heard


@pytest.mark.slow
def test_under_slurm_the_hosts_find_each_other(tmp_path):
    """The variables that Slurm gives the tasks of a step."""
    job = {"SLURM_JOB_ID": str(os.getpid()), "SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": "2"}
    tasks = [job | {"SLURM_PROCID": str(task), "SLURM_LOCALID": str(task)} for task in range(2)]
    found = together(*SWEEP, "--hosts", "auto", "--out", tmp_path / "results", environments=tasks)
    assert [code for code, *_ in found] == [0, 0], found
    assert [bool(answer) for _, answer, _ in found] == [True, False]
    assert (tmp_path / "results" / "results.parquet").exists()


def test_hosts_that_cannot_be_are_refused_with_the_reason():
    assert Execution(hosts=ANYWHERE).together == Hosts(1, 4, "10.0.0.1:4321")
    assert Execution(hosts="1/2@node-7.cluster:80").together == Hosts(0, 2, "node-7.cluster:80")
    assert Execution(hosts="auto").together == Hosts()
    assert Execution().together is None
    for wrong in ("", "2", "0/2@here:1", "3/2@here:1", "1/2@here", "1/2@here:0", "1/2@here:65536", "1/2@:80"):
        with pytest.raises(UsageError, match=r"must be I/N@ADDRESS:PORT with I from 1 to N"):
            Execution(hosts=wrong).check()
    for others, reason in (
        ({"shard": "1/2"}, "must be left out with --executor, --processes and --shard"),
        ({"processes": 2}, "must be left out with --executor, --processes and --shard"),
        ({"networks_at_once": 2}, "networks_at_once = 2: must be 1"),
        ({"shard_parameters": "yes"}, "must be True or False"),
    ):
        with pytest.raises(UsageError, match=reason):
            Execution(hosts=ANYWHERE, **others).check()
    with pytest.raises(UsageError, match="is for commands"):
        laboratory.sweep(hosts=ANYWHERE)
    with pytest.raises(UsageError, match="must be left out where nothing is trained"):
        cost(Spec(), Execution(hosts=ANYWHERE))


def test_a_port_that_is_taken_is_said_before_any_work():
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"hosts = .*: port {port} of this host is taken .*; give another one"):
            meet(Execution(hosts=f"1/2@127.0.0.1:{port}"))


def test_the_plan_of_several_hosts_is_one_network_whose_batches_all_share(monkeypatch):
    (cell,) = cells(resolve(Spec(widths=(4,), methods=("sgd",), batch_size=60)))
    execution = Execution(hosts=ANYWHERE)
    monkeypatch.setattr(jax, "process_count", lambda: 4)
    plan = plan_for(cell, execution)
    assert (plan.networks_at_once, plan.hosts, plan.devices, plan.sharded) == (1, 4, 1, False)
    assert plan_for(cell, replace(execution, shard_parameters=True)).sharded
    with pytest.raises(UsageError, match="devices = 2: must, times 4 hosts, divide the 60 examples of a batch"):
        plan_for(cell, replace(execution, devices=2))
    monkeypatch.setattr(jax, "process_count", lambda: 7)
    with pytest.raises(UsageError, match=r"hosts = .*: 7 must divide the 60 examples of a batch"):
        plan_for(cell, execution)
    # Begun on four hosts, continued on three, or by one process with its devices.
    monkeypatch.setattr(jax, "process_count", lambda: 3)
    assert plan_here(cell, plan, execution).devices_of_all == 3
    monkeypatch.setattr(jax, "process_count", lambda: 1)
    assert plan_here(cell, plan, Execution()).devices_of_all == 1


def test_a_state_is_sharded_over_the_devices_of_one_process():
    (cell,) = cells(resolve(Spec(widths=(4,), methods=("sgd",), batch_size=50)))
    plan = plan_for(cell, Execution(shard_parameters=True))
    assert (plan.networks_at_once, plan.devices, plan.sharded) == (1, jax.local_device_count(), True)
    (odd,) = cells(resolve(Spec(widths=(4,), methods=("sgd",), batch_size=25)))
    with pytest.raises(UsageError, match="shard_parameters = True: needs several devices"):
        plan_for(odd, Execution(shard_parameters=True))
    with pytest.raises(ValueError, match="networks_at_once must be 1"):
        Plan(2, "scan", "cpu", devices=2, sharded=True)


def test_what_hosts_must_have_in_common(tmp_path, monkeypatch):
    told, parts = [], ("versions", "settings", "data")
    monkeypatch.setattr(hosts, "alike", lambda value: told.append(value) or True)
    monkeypatch.setattr(hosts, "agreed", lambda decide: decide() or "seen")
    for data, keep in (("one", False), ("one", False), ("two", False), ("one", True)):
        monkeypatch.setattr(hosts, "environment", lambda spec, data=data: dict.fromkeys(parts, data))
        hosts.check_alike(resolve(Spec()), tmp_path, Execution(keep_parameters=keep))
    asked, have = told[::5], [told[at + 1 : at + 4] for at in range(0, len(told), 5)]
    assert asked[0] == asked[1] == asked[2] != asked[3]
    assert have[0] == have[1] == have[3]
    assert all(mine != theirs for mine, theirs in zip(have[0], have[2], strict=True))
    monkeypatch.setattr(hosts, "alike", lambda value: b"one" not in value)
    with pytest.raises(UsageError, match="the hosts differ in their versions of Python"):
        hosts.check_alike(resolve(Spec()), tmp_path, Execution())

    def fails(spec):
        raise KeyError("data")

    monkeypatch.setattr(hosts, "environment", fails)
    for same in (True, False):  # on all hosts, or on this one alone
        monkeypatch.setattr(hosts, "alike", lambda value, same=same: same or not value.startswith(b"host 1: "))
        with pytest.raises(KeyError, match="data"):
            hosts.check_alike(resolve(Spec()), tmp_path, Execution())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("own", "message"),
    [
        ((("--seed", "1"), ("--seed", "2")), "the hosts were given different commands; give all the same"),
        ((("--out", "a"), ("--out", "b")), "is not the same folder on all hosts; give one that all see"),
        ((("--hosts", "1/2@WHERE"), ("--hosts", "2/3@WHERE")), "2 hosts have met, but this one was told of 3"),
    ],
)
def test_hosts_that_were_told_different_things_say_so(tmp_path, monkeypatch, own, message):
    monkeypatch.chdir(tmp_path)
    where = address()
    own = [tuple(text.replace("WHERE", where) for text in one) for one in own]
    shared = () if "--out" in own[0] else ("--out", "r")
    environments = None if "--hosts" not in own[0] else [{}, {}]
    arguments = ("train", "--width", "3", "--epochs", "2", "--batch-size", "50", *shared)
    ends = together(*arguments, own=own, environments=environments)
    assert all(code != 0 for code, _, _ in ends)
    assert any(message in " ".join(said.split()) for _, _, said in ends), ends
    assert not list(tmp_path.rglob("*.parquet"))
    assert not list(tmp_path.rglob(".seen-*"))
