"""What trackers keep of a sweep: every epoch of every network once, with the values of the tables."""

import itertools
import json
import pkgutil
import struct
import tomllib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from widebasin.sweep import Execution, Spec, SweepError, UsageError, resolve
from widebasin.sweep.cells import cells, cells_of
from widebasin.sweep.events import Epoch, Failed, Finished, GroupFinished, GroupStarted, Started
from widebasin.sweep.folder import ResultsFolder
from widebasin.sweep.run import run
from widebasin.sweep.trackers import ALWAYS, TRACKERS, Tracker, listeners_of, registry
from widebasin.sweep.trackers.json_lines import read_log
from widebasin.sweep.trackers.run_names import RunNames
from widebasin.training import EpochReport, Plan

ROOT = Path(__file__).parents[2]
SPEC = Spec(workload="line-mlp", widths=(2,), methods=("sgd", "asam"), rhos=(0.1,), seeds=2, epochs=4)
GRID = cells(resolve(SPEC))
LOG = ALWAYS["log.jsonl"]
METRICS = ("gradient_norm", "train_loss", "valid_loss")


def value(metric, network, epoch):
    return np.float32(METRICS.index(metric) + network / 10 + epoch / 7)


def events(first=1, last=4, resumed=0, diverged_from=99):
    """Of a sweep that trains these epochs of every group."""
    yield Started(tuple(GRID))
    for cell in GRID:
        for number, points in enumerate(Plan(2, "scan", "cpu").groups(cell.points)):
            yield GroupStarted(cell, number, points)
            for epoch in range(first, last + 1):
                metrics = {name: np.array([value(name, n, epoch) for n in range(len(points))]) for name in METRICS}
                if epoch >= diverged_from:
                    metrics = {name: values * np.float32([np.nan, 1]) for name, values in metrics.items()}
                report = EpochReport(epoch, epoch <= resumed, metrics, int(epoch >= diverged_from))
                yield Epoch(cell, number, points, report)
            if last == 4:
                yield GroupFinished(cell, number, points)
    yield Finished() if last == 4 else Failed("killed")


def tell(listener, told):
    for event in told:
        listener(event)


def epochs_of(path):
    """The lines of epochs as one table with the columns of history.parquet, and ``cell`` and ``group``."""
    lines = [line for line in read_log(path) if line["event"] == "epoch"]
    tables = [
        pd.DataFrame(line["networks"]).assign(epoch=line["epoch"], cell=line["cell"], group=line["group"])
        for line in lines
    ]
    return pd.concat(tables, ignore_index=True)


def tensorboard_scalars(folder):
    """Run, tag and step -> value, of all files in a folder; an error if one is there twice or a file is damaged."""
    from tensorboardX.proto.event_pb2 import Event as Record
    from tensorboardX.record_writer import masked_crc32c

    found = {}
    for file in sorted(folder.rglob("*tfevents*")):
        content, start = file.read_bytes(), 0
        while start < len(content):
            (length,) = struct.unpack_from("<Q", content, start)
            record = content[start + 12 : start + 12 + length]
            assert struct.unpack_from("<I", content, start + 8)[0] == masked_crc32c(content[start : start + 8])
            assert struct.unpack_from("<I", content, start + 12 + length)[0] == masked_crc32c(record)
            event = Record.FromString(record)
            assert (start == 0) == (event.file_version == "brain.Event:2")
            for one in event.summary.value:
                key = file.parent.relative_to(folder).as_posix(), one.tag, event.step
                assert key not in found
                found[key] = one.simple_value
            start += 16 + length
    return found


def expected_scalars():
    return {
        (f"width-2/{method}/seed-{seed}", tag, epoch): float(value(name, seed, epoch))
        for method, seed, epoch in itertools.product(("sgd", "asam/rho-0.1"), range(2), range(1, 5))
        for name, tag in zip(METRICS, ("gradient_norm", "train/loss", "valid/loss"), strict=True)
    }


def test_every_tracker_is_known_by_its_module_its_extra_and_the_docs():
    modules = {module.name for module in pkgutil.iter_modules([str(Path(registry.__file__).parent)])}
    assert registry.declared().keys() == modules - {"registry", "tracker", "run_names"}
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    docs = (ROOT / "docs" / "sweeps.md").read_text(encoding="utf-8")
    for module, tracker in registry.declared().items():
        assert f"| `{tracker.name if tracker.always else f'--track {module}'}` |" in docs
        assert tracker.always or tracker.name == module
        if tracker.requirement:
            assert extras[module] == [tracker.requirement]


# The log


@pytest.mark.slow
def test_the_log_has_the_values_of_the_history(tmp_path):
    folder = run(SPEC, tmp_path / "r")
    history = folder.history()
    logged = epochs_of(folder.path / "log.jsonl").drop(columns=["cell", "group"])
    keys = ["method", "rho", "seed", "epoch"]
    alike = logged[list(history)].astype(history.dtypes.to_dict()).sort_values(keys, ignore_index=True)
    pd.testing.assert_frame_equal(alike, history.sort_values(keys, ignore_index=True), check_exact=True)
    lines = read_log(folder.path / "log.jsonl")
    assert [line["event"] for line in lines if line["event"] != "epoch"] == [
        *("started", *("group-started", "group-finished") * (len(lines) // 6), "finished")
    ]
    for line in lines:
        assert line["time"].endswith("+00:00")
        if line["event"] == "epoch":
            assert line["mean"]["train_loss"] == pytest.approx(np.mean(line["networks"]["train_loss"]))


def test_what_is_not_finite_is_null_and_left_out_of_the_mean(tmp_path):
    tell(LOG.listener(tmp_path / "log.jsonl"), events(diverged_from=3))
    line = read_log(tmp_path / "log.jsonl")[4]
    assert (line["event"], line["epoch"], line["diverged"]) == ("epoch", 3, 1)
    shown = float(str(value("train_loss", 1, 3)))
    assert line["networks"]["train_loss"] == [None, shown]
    assert line["mean"]["train_loss"] == pytest.approx(shown)


def test_a_torn_line_breaks_neither_reading_nor_the_next_run(tmp_path):
    path = tmp_path / "log.jsonl"
    tell(LOG.listener(path), events(last=2))
    with path.open("ab") as file:
        file.write(path.read_bytes().splitlines()[2][:50])
    before = read_log(path)
    assert [line["epoch"] for line in before if line["event"] == "epoch"] == [1, 2, 1, 2]
    # From the last checkpoint, then an epoch that was trained before, and new ones.
    tell(LOG.listener(path), events(resumed=1))
    lines = path.read_text().splitlines()
    torn = lines.pop(len(before))  # another process may write just now, so nothing is cut off
    assert torn == lines[2][:50]
    assert [json.loads(line) for line in lines] == read_log(path)
    assert read_log(path)[: len(before)] == before
    assert not epochs_of(path).duplicated(["cell", "group", "seed", "epoch"]).any()
    assert len(epochs_of(path)) == 4 * 4


def test_a_log_that_someone_has_edited_is_read_as_far_as_it_is_one(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"event":"epoch"}\nnot json\n[1]\n\xff\xfe\n{"event":"epoch","cell":3,"group":0,"epoch":1}\n')
    tell(LOG.listener(path), events())
    assert len([line for line in read_log(path) if line["event"] == "epoch"]) == 2 + 2 * 4


def test_a_log_that_cannot_be_written_ends_the_sweep_before_training_and_says_what_to_do(tmp_path):
    (tmp_path / "log.jsonl").mkdir()
    listener = LOG.listener(tmp_path / "log.jsonl")
    with pytest.raises(SweepError, match=r"cannot write .*log\.jsonl .*delete what is in its place"):
        listener(Started(tuple(GRID)))
    listener(Failed("it could not be written"))


# Runs of networks


def test_names_tell_networks_apart_and_stay_when_a_sweep_grows():
    small = resolve(Spec(widths=(4,), rhos=(0.1,), seeds=1))
    large = resolve(Spec(widths=(4, 8), rhos=(0.1, 0.2), seeds=2, label_noise=(0.3, 0.5), sparsity=(0.0, 0.5)))
    before, after = cells_of([small]), cells_of([small, large])
    names = [RunNames(after)(cell, point) for cell in after for point in cell.points]
    assert len(set(names)) == len(names) == 2 * 2 * 2 * 2 * 3
    first = [RunNames(before)(cell, point) for cell in before for point in cell.points]
    assert first == ["width-4/sgd/seed-0", "width-4/sam/rho-0.1/seed-0"] == names[:2]
    assert "width-8/sparsity-0.5/pruner-random/label_noise-0.3/sam/rho-0.2/seed-1" in names


def test_tensorboard_has_every_epoch_of_every_network_once(tmp_path):
    pytest.importorskip("tensorboardX")
    (whole,) = listeners_of(["tensorboard"], tmp_path / "whole")
    tell(whole, events())
    assert tensorboard_scalars(tmp_path / "whole" / "tensorboard") == expected_scalars()
    tell(listeners_of(["tensorboard"], tmp_path / "r")[0], events(last=3))
    for file in (tmp_path / "r").rglob("*tfevents*"):
        file.write_bytes(file.read_bytes()[:-5])  # epoch 3 is torn
    tell(listeners_of(["tensorboard", "tensorboard"], tmp_path / "r")[0], events(resumed=2))
    assert tensorboard_scalars(tmp_path / "r" / "tensorboard") == expected_scalars()


def test_tensorboard_named_late_has_the_epochs_that_are_restored(tmp_path):
    pytest.importorskip("tensorboardX")
    tell(listeners_of(["tensorboard"], tmp_path)[0], events(resumed=3))
    assert tensorboard_scalars(tmp_path / "tensorboard") == expected_scalars()


def test_tensorboard_has_no_values_that_are_not_finite(tmp_path):
    pytest.importorskip("tensorboardX")
    tell(listeners_of(["tensorboard"], tmp_path)[0], events(diverged_from=3))
    steps = {(run, step) for run, _, step in tensorboard_scalars(tmp_path / "tensorboard")}
    assert {step for run, step in steps if run.endswith("sgd/seed-0")} == {1, 2}
    assert {step for run, step in steps if run.endswith("sgd/seed-1")} == {1, 2, 3, 4}


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.0, 1e6])
def test_a_sweep_that_is_continued_has_no_epoch_twice(tmp_path, seconds):
    """From a checkpoint of the epoch before, or from the beginning."""
    pytest.importorskip("tensorboardX")
    execution = Execution(checkpoint_seconds=seconds)

    def ends(event):
        if isinstance(event, Epoch) and event.cell.method == "asam" and event.report.epoch == 3:
            raise RuntimeError("the plug was pulled")

    path = tmp_path / "r"
    with pytest.raises(RuntimeError, match="plug"):
        run(SPEC, path, execution=execution, listeners=[*listeners_of(["tensorboard"], path), ends])
    folder = run(SPEC, path, execution=execution, listeners=listeners_of(["tensorboard"], path))
    logged = epochs_of(path / "log.jsonl")
    assert not logged.duplicated(["method", "seed", "epoch"]).any()
    assert len(logged) == len(folder.history()) == 4 * 4
    assert [line.get("error") for line in read_log(path / "log.jsonl") if line["event"] == "failed"] == [
        "the plug was pulled"
    ]
    found = tensorboard_scalars(path / "tensorboard")
    for row in folder.history().to_dict("records"):
        radius = "" if row["method"] == "sgd" else f"/rho-{row['rho']}"
        name = f"width-2/{row['method']}{radius}/seed-{row['seed']}"
        assert found.pop((name, "test/loss", row["epoch"])) == row["test_loss"]
    assert not any(tag == "test/loss" for _, tag, _ in found)
    log = (path / "log.jsonl").read_bytes()
    run(SPEC, path)
    assert (path / "log.jsonl").read_bytes() == log


@pytest.mark.slow
def test_wandb_keeps_runs_offline_and_sends_no_epoch_twice(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    tell(listeners_of(["wandb"], tmp_path)[0], events(last=2))
    tell(listeners_of(["wandb"], tmp_path)[0], events(resumed=1))
    assert len(list((tmp_path / "wandb").glob("offline-run-*"))) == 2 * 4
    sent = [(line["cell"], line["epoch"]) for line in read_log(tmp_path / "wandb" / "sent.jsonl")]
    assert len(set(sent)) == len(sent) == 2 * 4
    tell(listeners_of(["wandb"], tmp_path)[0], events(resumed=4))
    assert len(list((tmp_path / "wandb").glob("offline-run-*"))) == 2 * 4


@pytest.mark.slow  # what these tests need is installed for slow ones only
def test_wandb_without_a_login_asks_nothing_and_says_what_to_do(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setattr(wandb, "login", lambda prompt, verify: prompt)
    monkeypatch.setattr(wandb, "setup", lambda: SimpleNamespace(settings=SimpleNamespace(mode="online")))
    with pytest.raises(UsageError, match=r"not logged in; .*wandb login.*WANDB_MODE=offline") as error:
        listeners_of(["wandb"], tmp_path / "r")
    assert error.value.argument == "track"


# What cannot be


@pytest.mark.parametrize(
    ("requirement", "remedy"),
    [
        ("no_such_package_at_all>=1.2", r'not installed: pip install "no_such_package_at_all>=1\.2"'),
        ("broken_package", r"not installed \(No module named 'no_such_part'\): pip install"),
        ("only_a_folder", r'not installed: pip install "only_a_folder"'),
    ],
)
def test_a_missing_package_is_an_error_that_says_how_to_install_it(requirement, remedy, tmp_path, monkeypatch):
    (tmp_path / "broken_package.py").write_text("import no_such_part\n")
    (tmp_path / "only_a_folder").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(TRACKERS, "fancy", Tracker("fancy", "", lambda path: lambda event: None, requirement))
    with pytest.raises(UsageError, match=remedy) as error:
        listeners_of(["fancy"], tmp_path / "r")
    assert error.value.argument == "track"
    assert not (tmp_path / "r").exists()


def test_an_unknown_tracker_is_told_the_nearest(tmp_path):
    with pytest.raises(UsageError, match="track = 'tensorbord': unknown; did you mean 'tensorboard'"):
        listeners_of(["tensorbord"], tmp_path)


def test_a_sweep_is_deleted_with_what_trackers_keep(tmp_path):
    folder = ResultsFolder(tmp_path)
    (tmp_path / "tensorboard" / "width-4").mkdir(parents=True)
    (tmp_path / "log.jsonl").write_text("{}\n")
    folder.check_foreign(("log.jsonl", *TRACKERS))
    folder.clear()
    assert list(tmp_path.iterdir()) == []
