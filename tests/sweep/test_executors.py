"""Executors: the same numbers wherever a sweep is trained, what workers tell, and what happens when they end."""

import dataclasses
import os
import signal
import stat
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from sweep.commands import widebasin
from sweep.test_interruption import tables
from together import together

from widebasin.studies import Options, running
from widebasin.studies.running import train_and_answer
from widebasin.sweep import SweepError, UsageError, resolve, workers
from widebasin.sweep.beginning import begin_or_continue
from widebasin.sweep.cells import cells
from widebasin.sweep.events import Epoch, Failed, Finished, GroupFinished, GroupStarted, Started
from widebasin.sweep.execution import Execution
from widebasin.sweep.executors import EXECUTORS, Executor, Job, executor_of, processes
from widebasin.sweep.executors.processes import Processes
from widebasin.sweep.executors.ray import Ray
from widebasin.sweep.folder import ResultsFolder
from widebasin.sweep.leases import Leases
from widebasin.sweep.process_names import process_name
from widebasin.sweep.run import run
from widebasin.sweep.spec import Spec
from widebasin.sweep.spec_file import spec_toml
from widebasin.training import EpochReport
from widebasin.training.hosts import sendable

FEW = resolve(Spec(widths=(2, 3), rhos=(0.1,), seeds=1, epochs=1))
# The main job, small: groups of four networks on one device.
GRID = ("study", "overparam", "--widths", "4", "8", "--rhos", "0.05", "0.1", "--seeds", "4", "--epochs", "3")
SAME = ("--networks-at-once", "4", "--devices", "1", "--quiet")
SHARED = {
    "processes": ("--processes", "2"),
    "slurm": ("--executor", "slurm", "--processes", "2", "--executor-options", "cluster=local"),
    "ray": ("--executor", "ray", "--processes", "2"),
}
# Ray's processes leave the cores to all others, unless it is told not to: beside other tests they would wait for them.
AS_NICE_AS_OTHERS = ("RAY_worker_niceness", "0")


def equal(one, other):
    for mine, theirs in zip(tables(one), tables(other), strict=True):
        pd.testing.assert_frame_equal(mine, theirs, check_exact=True)


# Choosing one ---------------------------------------------------------------------------------------------------------


def test_every_executor_is_one_and_says_what_its_options_are():
    assert set(EXECUTORS) == {"local", *SHARED}
    for name, executor in EXECUTORS.items():
        assert isinstance(executor(), Executor)
        assert executor.name == name
        assert all(option.metadata["summary"] for option in dataclasses.fields(executor))


def test_a_process_that_does_not_hear_is_killed(monkeypatch):
    monkeypatch.setattr(processes, "TO_END", 0.1)
    worker = object.__new__(processes._Process)
    worker.process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    worker.process.send_signal(signal.SIGSTOP)
    os.waitpid(worker.process.pid, os.WUNTRACED)
    worker.stop()
    assert worker.process.returncode == -signal.SIGKILL
    worker.process.communicate()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"processes": 0}, "processes = 0: must be a whole number of at least 1"),
        ({"processes": 2, "shard": "1/2"}, "processes = 2: must be left out with --shard"),
        ({"executor": "local", "shard": "1/2"}, "executor = 'local': must be left out with --shard"),
        ({"processes": 2, "executor": "local"}, "must be 1 with --executor local; several are of processes, slurm or"),
        ({"executor": "slurmy"}, "executor = 'slurmy': unknown; did you mean 'slurm'"),
        ({"executor": "slurm", "executor_options": ("gpus",)}, r"'gpus': must be NAME=VALUE, as in partition=1"),
        ({"executor": "slurm", "executor_options": ("gpus=x",)}, "'gpus=x': gpus must be a whole number"),
        (
            {"processes": 2, "executor_options": ("retries=-1",)},
            "'retries=-1': retries must be finite and not negative",
        ),
        ({"executor": "slurm", "executor_options": "memory=nan"}, "'memory=nan': memory must be finite"),
        ({"executor": "slurm", "executor_options": ("gpu=1",)}, "'gpu=1': slurm knows partition, account"),
        ({"executor_options": ("gpus=1",)}, "'gpus=1': local has no options"),
    ],
)
def test_what_is_asked_for_is_checked(given, message):
    with pytest.raises(UsageError, match=message):
        Execution(**given).check()


def test_options_have_the_types_of_their_defaults():
    slurm = executor_of(Execution(executor="slurm", executor_options=("gpus=2", "memory=1.5", "partition=a=b")))
    assert (slurm.gpus, slurm.memory, slurm.partition, slurm.minutes) == (2, 1.5, "a=b", 240)


def test_a_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(UsageError, match=r"executor = 'slurm': needs the package submitit, which is not installed"):
        Execution(executor="slurm").check()


def test_slurm_needs_a_number_of_processes(tmp_path):
    with pytest.raises(UsageError, match="processes = None: must be given with --executor slurm"):
        run(FEW, tmp_path / "r", execution=Execution(executor="slurm"))


def test_what_a_job_is_survives_pickling_and_a_share_is_told_apart(tmp_path):
    job = Job.of(FEW, tmp_path, Execution(processes=2, keep_parameters=True), overwrite=True)
    share = job.share(2, 3)
    assert share.resolved() == FEW
    assert share.execution == Execution(shard="2/3", keep_parameters=True)
    assert not share.overwrite


# What workers tell ----------------------------------------------------------------------------------------------------


def told(tmp_path, number=1):
    share = workers.Share(Job.of(FEW, tmp_path, Execution()).share(number, 100), tmp_path)
    return workers._Told(share)


def begun(tmp_path):
    """A folder in which the sweep has begun."""
    folder = ResultsFolder(tmp_path / "results")
    folder.path.mkdir()
    begin_or_continue(folder, FEW, Execution(), overwrite=False)
    return folder


def test_events_of_several_workers_are_heard_as_of_one(tmp_path):
    heard = []
    listening = workers._Heard(tmp_path, begun(tmp_path), heard.append)
    one, other = told(tmp_path), told(tmp_path, 2)
    grid = tuple(cells(FEW))
    points = tuple(grid[0].points)
    for tell in (one, other):
        tell(Started(grid))
    one(GroupStarted(grid[0], 0, points))
    one(GroupFinished(grid[0], 0, points))
    other(GroupFinished(grid[0], 0, points, before=True))
    other(GroupFinished(grid[1], 0, points, before=True))
    one(GroupFinished(grid[1], 0, points, before=True))
    one(Finished())
    other(ValueError("no such luck"))
    assert listening.listen()
    assert heard == [
        Started(grid),
        GroupStarted(grid[0], 0, points),
        GroupFinished(grid[0], 0, points),
        GroupFinished(grid[1], 0, points, before=True),
    ]
    assert [str(error) for error in listening.errors] == ["no such luck"]
    assert not listening.listen()


def test_workers_whose_command_was_killed_are_heard_until_the_sweep_is_replaced(tmp_path):
    folder, heard = begun(tmp_path), []
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    here = process_name()
    grid = tuple(cells(FEW))
    points = tuple(grid[0].points)
    for name, owner in {"left": here.replace(str(os.getpid()), str(gone.pid)), "used": here, "now": here}.items():
        events = folder.path / "workers" / name
        events.mkdir(parents=True)
        (events / "command").write_text(owner)
        tell = told(events)
        tell(Started(grid))
        tell(GroupStarted(grid[0], 0, points))
        tell(Epoch(grid[0], 0, points, EpochReport(1, False, {"train_loss": np.ones(len(points))}, 0)))
        tell(ValueError(name))
    listening = workers._Heard(folder.path / "workers" / "now", folder, heard.append)
    assert listening.listen()
    assert [type(event) for event in heard].count(GroupStarted) == 2
    assert [event.report.resumed for event in heard if isinstance(event, Epoch)] == [True, False]
    assert [str(error) for error in listening.errors] == ["now"]
    folder.clear()
    listening = workers._Heard(folder.path / "workers" / "later", folder, heard.append)
    assert not listening.listen()


def test_a_message_that_is_not_whole_yet_is_heard_when_it_is(tmp_path):
    heard = []
    listening, tell = workers._Heard(tmp_path, begun(tmp_path), heard.append), told(tmp_path)
    tell(Started(tuple(cells(FEW))))
    content = tell.path.read_bytes()
    for length in (0, 4, 8, len(content) - 1):
        tell.path.write_bytes(content[:length])
        assert not listening.listen()
    tell.path.write_bytes(content)
    assert listening.listen()
    assert heard == [Started(tuple(cells(FEW)))]


def test_an_event_is_as_small_whatever_the_number_of_networks_of_its_cell(tmp_path):
    def size(seeds):
        cell = cells(resolve(Spec(widths=(3,), rhos=(0.1,), seeds=seeds, methods=("sam",))))[0]
        tell = told(tmp_path, seeds)
        tell(GroupFinished(cell, 0, cell.points[:1]))
        return tell.path.stat().st_size

    assert size(100) == size(1)


def test_telling_when_nobody_listens_any_more_changes_nothing(tmp_path):
    tell = told(tmp_path / "gone")
    tell(Started(tuple(cells(FEW))))
    assert not (tmp_path / "gone").exists()


def test_errors_that_cannot_be_sent_keep_their_words():
    class Own(Exception):
        pass

    assert str(sendable(ValueError("a", 1))) == "('a', 1)"
    assert str(sendable(Own("no such luck"))) == "Own: no such luck"
    usage = sendable(UsageError("devices", 64, "must be at most 2"))
    assert (type(usage), str(usage)) == (UsageError, "devices = 64: must be at most 2")


# Training -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("executors") / "local"
    widebasin(*GRID, *SAME, "--out", folder, check=0)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("executor", SHARED)
def test_every_executor_gives_the_bits_of_one_process(alone, tmp_path, executor, monkeypatch):
    if executor == "ray":
        pytest.importorskip("ray")
        monkeypatch.setenv(*AS_NICE_AS_OTHERS)
    done = widebasin(*GRID, *SAME, *SHARED[executor], "--out", tmp_path / executor, check=0)
    assert done.stderr == ""
    equal(tmp_path / executor, alone)
    assert not list((tmp_path / executor).rglob("*lease*"))
    assert not (tmp_path / executor / "workers").exists()


@pytest.mark.slow
def test_a_script_without_a_guard_may_ask_for_processes(tmp_path):
    script = tmp_path / "mine.py"
    script.write_text(
        "import widebasin\n"
        "print('once', flush=True)\n"
        "found = widebasin.sweep(widths=(4,), rhos=(0.1,), seeds=1, epochs=1, networks_at_once=1, processes=2)\n"
        "print(len(found.results))\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if line in ("once", "2")] == ["once", "2"]


@pytest.mark.slow
def test_a_worker_that_is_killed_is_started_again(tmp_path):
    spec = resolve(Spec(widths=(3,), rhos=(0.05, 0.2), seeds=2, epochs=40))
    once = Execution(networks_at_once=2, devices=1, checkpoint_seconds=0.0)
    expected = run(spec, tmp_path / "alone", execution=once)
    heard, killed = [], []

    def kill(event):
        heard.append(event)
        training = Leases(ResultsFolder(tmp_path / "shared"), 60).holders()
        if isinstance(event, Epoch) and training and not killed:
            killed.append(int(training[0].split()[1]))
            os.kill(killed[0], signal.SIGKILL)

    shared = run(spec, tmp_path / "shared", execution=dataclasses.replace(once, processes=2), listeners=[kill])
    assert killed
    equal(shared.path, expected.path)
    finished = [(event.cell.name, event.group) for event in heard if isinstance(event, GroupFinished)]
    assert len(finished) == len(set(finished)) == 3
    assert isinstance(heard[-1], Finished)
    assert not list(shared.path.rglob("*lease*"))


# A workload whose networks of width 5 end their process, as for lack of memory, while a file exists.
DEADLY = """
import os, pathlib
import jax, jax.numpy as jnp, numpy as np
from widebasin.data import Dataset, SplitSizes
from widebasin.models import Applied
from widebasin.training import CLASSIFICATION, Recipe
from widebasin.workloads import SupervisedWorkload

def load():
    inputs = np.random.default_rng(0).standard_normal((60, 2)).astype(np.float32)
    return Dataset("sides", inputs, (inputs[:, 0] > 0).astype(np.int32), num_classes=2)

def killed(inputs):
    if pathlib.Path("deadly").exists():
        os._exit(9)
    return inputs

def apply(params, inputs):
    if params.shape[1] == 5:
        inputs = jax.pure_callback(killed, inputs, inputs, vmap_method="sequential")
    return jnp.tanh(inputs @ params) @ jnp.ones((params.shape[1], 2)) * jnp.asarray([1.0, -1.0])

WORKLOAD = SupervisedWorkload(
    name="deadly", model="m", description="d", load=load,
    build=lambda width, key: Applied(jax.random.normal(key, (2, width)), apply),
    sizes=SplitSizes(train=40, valid=10, test=10), objective=CLASSIFICATION,
    recipe=Recipe(epochs=2, batch_size=10, learning_rate=0.1), widths=(3, 5, 7), rhos=(0.1,),
)
"""


@pytest.mark.slow
def test_networks_that_end_their_process_leave_all_others_trained(tmp_path):
    (tmp_path / "deadly.py").write_text(DEADLY)
    (tmp_path / "deadly").touch()
    sweep = ("sweep", "--workload", "deadly.py", "--methods", "sgd", "--seeds", "1", "--quiet")
    two = ("--processes", "2", "--out", "r")
    done = widebasin(*sweep, *two, "--executor-options", "retries=1", check=1, cwd=tmp_path)
    assert "all 2 processes have ended (exit code 9) before the sweep was finished" in done.stderr
    assert "run the same command to continue" in done.stderr
    trained = sorted(path.parent.name for path in (tmp_path / "r").rglob("*.results.parquet"))
    assert [name.split("-")[2] for name in trained] == ["3", "7"]
    (tmp_path / "deadly").unlink()
    widebasin(*sweep, *two, check=0, cwd=tmp_path)
    results, _ = tables(tmp_path / "r")
    assert results["width"].tolist() == [3, 5, 7]


@pytest.mark.slow
def test_what_fails_in_every_worker_is_the_error_of_the_command(tmp_path):
    run(FEW, tmp_path / "r", execution=Execution(networks_at_once=1))
    (table,) = (tmp_path / "r" / "cells").glob("*width-3*/group-0.results.parquet")
    table.write_bytes(b"")
    (tmp_path / "r" / "results.parquet").unlink()
    heard = []
    with pytest.raises(SweepError, match=r"group-0\.results\.parquet.*only its networks are trained again"):
        run(FEW, tmp_path / "r", execution=Execution(networks_at_once=1, processes=2), listeners=[heard.append])
    assert isinstance(heard[-1], Failed)


def test_giving_the_command_again_leaves_what_waits_in_a_queue_as_it_is(tmp_path, monkeypatch):
    waiting = tmp_path / "r" / "workers" / "before" / "77_submitted.pkl"
    waiting.parent.mkdir(parents=True)
    waiting.touch()

    def cannot_wait(*arguments):
        raise SweepError("no such luck")

    monkeypatch.setattr(workers, "_waited", cannot_wait)
    with pytest.raises(SweepError, match="no such luck"):
        run(FEW, tmp_path / "r", executor=Processes())
    assert waiting.exists()
    ResultsFolder(tmp_path / "r").clear()
    assert waiting.exists()


def test_other_results_are_refused_before_a_worker_starts(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "_waited", None)
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "thesis.tex").touch()
    with pytest.raises(UsageError, match=r"contains other files \(thesis\.tex\)"):
        run(FEW, tmp_path / "foreign", executor=Processes())
    folder = ResultsFolder(tmp_path / "used")
    path = folder.group("a-cell", 0, "lease")
    path.parent.mkdir(parents=True)
    path.write_text("process 7 on elsewhere 1")
    with pytest.raises(SweepError, match="is in use by process 7 on elsewhere; wait until they have ended"):
        run(FEW, folder.path, executor=Processes(), overwrite=True)
    assert path.exists()


@pytest.mark.slow
def test_a_finished_sweep_needs_no_worker_and_overwriting_deletes_another_one(tmp_path, monkeypatch):
    once = Execution(networks_at_once=1, processes=2)
    run(FEW, tmp_path / "r", execution=once)
    before = tables(tmp_path / "r")
    other = dataclasses.replace(FEW, widths=(2, 4))
    with pytest.raises(UsageError, match="contains results of a different spec"):
        run(other, tmp_path / "r", execution=once)
    with monkeypatch.context() as patched:
        patched.setattr(workers, "_waited", None)
        run(FEW, tmp_path / "r", execution=once)
    for mine, theirs in zip(tables(tmp_path / "r"), before, strict=True):
        pd.testing.assert_frame_equal(mine, theirs, check_exact=True)
    folder = run(other, tmp_path / "r", execution=once, overwrite=True)
    assert set(folder.results()["width"]) == {2, 4}


class Stopped(Exception):
    pass


@together(
    ("execution", "cpu_only"),
    [
        (Execution(), False),
        (Execution(shard="1/2"), False),
        (Execution(executor="local"), False),
        (Execution(processes=2), False),  # refused on accelerators, which it has to see for that
        (Execution(executor="slurm", processes=2), True),
    ],
)
def test_accelerators_are_left_to_the_processes_before_jax_is_used(execution, cpu_only, monkeypatch, tmp_path):
    done = []

    def resolved(spec):
        raise Stopped

    monkeypatch.setattr(running, "use_cpu_only", lambda: done.append("cpu only"))
    monkeypatch.setattr(running, "resolve", resolved)
    with pytest.raises(Stopped):
        train_and_answer(Spec(), Options(), execution, tmp_path / "r", overwrite=False, console=Console(), quiet=True)
    assert done == ["cpu only"] * cpu_only


# Slurm ----------------------------------------------------------------------------------------------------------------

# A cluster on this machine: sbatch keeps the script and runs its tasks, sacct knows which have ended.
SBATCH = """#!{python}
import os, pathlib, re, subprocess, sys
script = pathlib.Path(sys.argv[-1])
text = script.read_text()
here = pathlib.Path(os.environ["CLUSTER"])
(here / "script").write_text(text)
tasks = range(int(re.search(r"--array=0-(\\d+)", text)[1]) + 1)
for task in tasks:
    environment = os.environ | dict(
        SLURM_JOB_ID="77", SLURM_ARRAY_JOB_ID="77", SLURM_ARRAY_TASK_ID=str(task), SLURM_JOB_NODELIST="here",
        SLURM_NTASKS="1", SLURM_PROCID="0", SLURM_LOCALID="0", SLURM_JOB_NUM_NODES="1", SLURM_NODEID="0",
    )
    with (here / "output").open("ab") as output:
        subprocess.Popen(["bash", str(script)], env=environment, stdout=output, stderr=output, start_new_session=True)
print("Submitted batch job 77")
"""
SRUN = """#!/bin/bash
while [ "${1#-}" != "$1" ]; do case "$1" in --output|--error) shift 2;; *) shift;; esac; done
exec "$@"
"""
SACCT = """#!/bin/bash
echo "JobID|State|NodeList"
echo "77_0|RUNNING|here"
echo "77_1|RUNNING|here"
"""


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    here = tmp_path / "cluster"
    here.mkdir()
    for name, text in {"sbatch": SBATCH.replace("{python}", sys.executable), "srun": SRUN, "sacct": SACCT}.items():
        (here / name).write_text(text)
        (here / name).chmod(stat.S_IRWXU)
    (here / "scancel").symlink_to("/bin/true")
    monkeypatch.setenv("PATH", f"{here}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("CLUSTER", str(here))
    return here


@pytest.mark.slow
def test_the_script_for_slurm_asks_for_what_was_asked_and_trains(cluster, tmp_path):
    options = ("partition=gpu", "account=me", "gpus=2", "cpus=3", "memory=1.5", "minutes=90", "at_once=5")
    execution = Execution(networks_at_once=1, executor="slurm", processes=2, executor_options=options)
    folder = run(FEW, tmp_path / "r", execution=execution)
    script = (cluster / "script").read_text()
    asked = {line.removeprefix("#SBATCH --") for line in script.splitlines() if line.startswith("#SBATCH")}
    assert {
        "partition=gpu",
        "account=me",
        "gpus-per-node=2",
        "cpus-per-task=3",
        "mem=1536MB",
        "time=90",
        "array=0-1%2",
        "requeue",
        "job-name=widebasin",
    } <= asked
    assert any(one.startswith("signal=USR2@") for one in asked)
    assert any(one.startswith("output=") and "/r/workers/" in one for one in asked)
    expected = run(FEW, tmp_path / "alone", execution=Execution(networks_at_once=1))
    equal(folder.path, expected.path)


def test_without_slurm_it_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="srun was not found: run this where jobs are submitted"):
        run(FEW, tmp_path / "r", execution=Execution(executor="slurm", processes=2))


# Ray ------------------------------------------------------------------------------------------------------------------


# Trains on two nodes, and takes one away when both have a lease.
TWO_NODES = """
import pathlib, sys
from ray.cluster_utils import Cluster
from widebasin.sweep.events import Epoch
from widebasin.sweep.execution import Execution
from widebasin.sweep.folder import ResultsFolder
from widebasin.sweep.leases import Leases
from widebasin.sweep.run import run
from widebasin.sweep.spec_file import read_spec

spec, path = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
nodes = [cluster.add_node(num_cpus=1)]

def lose(event):
    if isinstance(event, Epoch) and nodes and len(Leases(ResultsFolder(path), 5).holders()) == 2:
        print("lost", flush=True)
        cluster.remove_node(nodes.pop(), allow_graceful=False)

execution = Execution(
    networks_at_once=2, devices=1, checkpoint_seconds=0.2, lease_seconds=5, executor="ray", processes=2,
    executor_options=(f"address={cluster.address}",),
)
try:
    run(read_spec(spec), path, execution=execution, listeners=[lose])
finally:
    cluster.shutdown()
"""


@pytest.mark.slow
def test_ray_goes_on_when_a_node_is_lost(tmp_path, monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.setenv(*AS_NICE_AS_OTHERS)
    spec = resolve(Spec(widths=(3, 5, 6), rhos=(0.05, 0.2), seeds=2, epochs=100))
    expected = run(spec, tmp_path / "alone", execution=Execution(networks_at_once=2, devices=1))
    (tmp_path / "spec.toml").write_text(spec_toml(spec))
    command = [sys.executable, "-c", TWO_NODES, tmp_path / "spec.toml", tmp_path / "shared"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("lost")
    equal(tmp_path / "shared", expected.path)
    assert not list((tmp_path / "shared").rglob("*lease*"))


def test_a_task_takes_its_share_of_cores_and_gpus_alone():
    assert Ray(cpus=2.5)._variables() == {"JAX_NUM_CPU_DEVICES": "2", "JAX_PLATFORMS": "cpu"}
    assert Ray(gpus=2.0)._variables() == {"JAX_NUM_CPU_DEVICES": "1"}
    assert Ray(gpus=0.25)._variables()["XLA_PYTHON_CLIENT_MEM_FRACTION"] == "0.225"


def test_a_cluster_that_is_not_there_is_said(tmp_path):
    pytest.importorskip("ray")
    execution = Execution(executor="ray", executor_options=("address=127.0.0.1:1",))
    with pytest.raises(UsageError, match=r"address=127\.0\.0\.1:1.*no cluster was found there"):
        run(FEW, tmp_path / "r", execution=execution)
