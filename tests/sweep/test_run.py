import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from widebasin.sweep import Execution, Spec, SweepError, UsageError
from widebasin.sweep.run import run

SPEC = Spec(widths=(3, 5), rhos=(0.05, 0.2), seeds=2, epochs=3, label_noise=(0.2,))
COLUMNS = {
    *("workload", "model", "width", "num_params", "method", "rho", "sparsity", "pruner", "label_noise", "weight_decay"),
    *("seed", "epochs", "train_loss", "train_accuracy", "valid_loss", "valid_accuracy", "test_loss", "test_accuracy"),
    *("best_valid_epoch", "diverged", "seconds"),
}


def values(folder):
    return folder.results().drop(columns="seconds"), folder.history()


def assert_same(one, other):
    for mine, theirs in zip(values(one), values(other), strict=True):
        pd.testing.assert_frame_equal(mine, theirs, check_exact=True)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return run(SPEC, tmp_path_factory.mktemp("sweep") / "results")


def test_results_have_one_row_per_network_with_the_named_columns(finished):
    results = finished.results()
    assert len(results) == 2 * (1 + 2) * 2
    assert set(results.columns) >= COLUMNS
    assert not results.duplicated(["width", "method", "rho", "seed"]).any()
    assert results.loc[results["method"] == "sgd", "rho"].eq(0).all()
    assert results["num_params"].unique().tolist() == [
        64 * 9 + 9 + 9 * 3 + 3 + 3 * 10 + 10,
        64 * 15 + 15 + 15 * 5 + 5 + 5 * 10 + 10,
    ]
    assert results["diverged"].dtype == bool


def test_history_has_one_row_per_network_and_epoch_and_ends_where_results_do(finished):
    results, history = finished.results(), finished.history()
    assert len(history) == 3 * len(results)
    keys = ["width", "method", "rho", "seed"]
    last = history[history["epoch"] == 3].merge(results, on=keys, suffixes=("", "_final"))
    assert len(last) == len(results)
    for name in ("valid_loss", "valid_accuracy", "test_loss", "test_accuracy"):
        np.testing.assert_array_equal(last[name], last[f"{name}_final"])


def test_best_epoch_is_the_first_with_the_best_validation_accuracy(finished):
    results, history = finished.results(), finished.history()
    for row in results.itertuples():
        mine = history.query("width == @row.width and method == @row.method and rho == @row.rho and seed == @row.seed")
        best = mine.loc[mine["valid_accuracy"].idxmax()]
        assert (row.best_valid_epoch, row.best_test_accuracy) == (best["epoch"], best["test_accuracy"])


def test_running_again_trains_nothing_and_changes_nothing(finished):
    before = {path: path.stat().st_mtime_ns for path in (finished.path / "cells").rglob("*.parquet")}
    assert_same(run(SPEC, finished.path), finished)
    assert before == {path: path.stat().st_mtime_ns for path in (finished.path / "cells").rglob("*.parquet")}


def test_the_same_spec_gives_the_same_bits_in_another_folder(finished, tmp_path):
    assert_same(run(SPEC, tmp_path / "again"), finished)


def test_a_deleted_group_is_trained_again_alone(finished, tmp_path):
    again = run(SPEC, tmp_path / "r")
    (again.path / "cells" / "digits-mlp-width-3-sam" / "group-0.results.parquet").unlink()
    (again.path / "results.parquet").unlink()
    assert_same(run(SPEC, again.path), finished)


def test_smaller_groups_give_the_same_numbers_to_float_tolerance(finished, tmp_path):
    other = run(SPEC, tmp_path / "r", execution=Execution(replicates_at_once=2))
    assert len(list((other.path / "cells").rglob("*.results.parquet"))) == 2 * (1 + 2)
    mine, theirs = finished.results(), other.results()
    assert (mine["seed"] == theirs["seed"]).all()
    np.testing.assert_allclose(mine["test_loss"], theirs["test_loss"], rtol=1e-4)


def test_the_record_says_how_it_was_run(finished):
    record = json.loads((finished.path / "run.json").read_text())
    assert record["plans"]["digits-mlp-width-3-sam"] == {"replicates_at_once": 4, "loop": "scan", "platform": "cpu"}
    assert {"jax", "optax", "widebasin", "python"} <= set(record["versions"])


def test_another_spec_in_the_folder_is_refused_and_nothing_is_lost(finished):
    with pytest.raises(UsageError, match="seeds: 2 there, 3 here"):
        run(dataclasses.replace(SPEC, seeds=3), finished.path)
    assert len(finished.results()) == 12


def test_overwrite_replaces_the_results_of_another_spec(tmp_path):
    small = Spec(widths=(3,), methods=("sgd",), seeds=1, epochs=1)
    run(small, tmp_path / "r")
    folder = run(dataclasses.replace(small, seeds=2), tmp_path / "r", overwrite=True)
    assert len(folder.results()) == 2


def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(UsageError, match=r"thesis\.tex"):
        run(SPEC, tmp_path)
    with pytest.raises(UsageError, match=r"thesis\.tex"):
        run(SPEC, tmp_path, overwrite=True)
    assert (tmp_path / "thesis.tex").read_text() == "precious"


def test_another_plan_for_a_sweep_already_begun_is_refused(finished):
    with pytest.raises(UsageError, match="begun with 2"):
        run(SPEC, finished.path, execution=Execution(replicates_at_once=1))
    with pytest.raises(UsageError, match="begun with scan"):
        run(SPEC, finished.path, execution=Execution(loop="step"))


@pytest.mark.parametrize("damage", ["truncated", "empty", "no parquet"])
def test_a_damaged_table_is_an_error_naming_file_and_remedy(tmp_path, damage):
    spec = Spec(widths=(3,), methods=("sgd",), seeds=1, epochs=2)
    folder = run(spec, tmp_path / "r")
    path = next((folder.path / "cells").rglob("*.history.parquet"))
    content = bytearray(path.read_bytes())
    if damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "empty":
        path.write_bytes(b"")
    else:
        path.write_text("not a table")
    with pytest.raises(SweepError, match="delete it and run") as error:
        run(spec, folder.path)
    assert str(path) in str(error.value)


def test_no_flipped_byte_changes_a_value_unnoticed(tmp_path):
    folder = run(Spec(widths=(3,), methods=("sgd",), seeds=1, epochs=2), tmp_path / "r")
    path = folder.path / "results.parquet"
    content, genuine = path.read_bytes(), folder.results()
    noticed = 0
    for position in range(0, len(content), 61):
        path.write_bytes(content[:position] + bytes([content[position] ^ 0x55]) + content[position + 1 :])
        try:
            pd.testing.assert_frame_equal(folder.results(), genuine, check_exact=True)
        except SweepError:
            noticed += 1
    assert noticed > len(content) / 61 / 4


def test_a_table_of_another_format_is_refused(tmp_path, monkeypatch):
    import widebasin.sweep.folder as module

    folder = run(Spec(widths=(3,), methods=("sgd",), seeds=1, epochs=1), tmp_path / "r")
    monkeypatch.setattr(module, "TABLE_FORMAT", b"2")
    with pytest.raises(SweepError, match="format"):
        folder.results()


def test_a_damaged_record_is_an_error(tmp_path):
    spec = Spec(widths=(3,), methods=("sgd",), seeds=1, epochs=1)
    folder = run(spec, tmp_path / "r")
    (folder.path / "run.json").write_text("{")
    with pytest.raises(SweepError, match=r"run\.json"):
        run(spec, folder.path)


def test_too_little_space_is_an_error_before_training(tmp_path, monkeypatch):
    import widebasin.sweep.folder as module

    usage = module.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: usage._replace(free=10 * 2**20))
    with pytest.raises(UsageError, match="10 MiB free"):
        run(SPEC, tmp_path / "r")
    assert not (tmp_path / "r" / "spec.toml").exists()


def test_diverged_networks_are_rows_like_any_other(tmp_path):
    folder = run(Spec(widths=(3,), methods=("sgd",), seeds=2, epochs=2, learning_rate=(0.1, 1e20)), tmp_path / "r")
    results = folder.results()
    assert len(results) == 4
    assert results.set_index("learning_rate")["diverged"].to_dict() == {0.1: False, 1e20: True}
    assert (results.loc[results["diverged"], "diverged_epoch"] >= 1).all()


def test_a_regression_workload_has_no_accuracy(tmp_path):
    folder = run(Spec(workload="synthetic-mlp", widths=(5,), rhos=(0.05,), seeds=2, epochs=2), tmp_path / "r")
    results = folder.results()
    assert not any("accuracy" in column for column in results.columns)
    assert np.isfinite(results["test_loss"]).all()


def test_kept_parameters_are_those_of_the_trained_networks(tmp_path):
    import equinox as eqx
    import jax

    from widebasin.sam import METHODS
    from widebasin.sweep import resolve
    from widebasin.sweep.cells import cells
    from widebasin.training import Checkpoints, Plan, Program

    spec = Spec(widths=(3,), methods=("sam",), rhos=(0.1,), seeds=2, epochs=2)
    folder = run(spec, tmp_path / "r", execution=Execution(keep_parameters=True))
    (cell,) = cells(resolve(spec))
    program = Program(cell.task(), METHODS["sam"], Plan(2, "scan", "cpu"))
    state, examples, _ = program.start(cell.replicates)
    params = Checkpoints(folder.group(cell.name, 0, "parameters")).restore(state.params)
    dataset = cell.task().dataset
    for position, row in enumerate(folder.results().itertuples()):
        model = eqx.combine(jax.tree.map(lambda leaf, p=position: leaf[p], params), program.static)
        test = np.asarray(examples.test[position])
        right = np.asarray(jax.vmap(model)(dataset.inputs[test])).argmax(1) == dataset.targets[test]
        assert right.mean() == pytest.approx(row.test_accuracy, abs=1e-6)
