import dataclasses
import json
import os
import shutil

import jax
import numpy as np
import pandas as pd
import pytest
from together import together

from widebasin.data import DataError, Dataset, ImageFiles, Normalization, SplitSizes, digits
from widebasin.sweep import Execution, Spec, SweepError, UsageError, here, resolve
from widebasin.sweep.cells import cells
from widebasin.sweep.networks import load_network
from widebasin.sweep.plans import plan_for
from widebasin.sweep.run import run
from widebasin.workloads import WORKLOADS
from widebasin.workloads.arrays import arrays_workload

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


@pytest.mark.slow
def test_the_same_spec_gives_the_same_bits_in_another_folder(finished, tmp_path):
    assert_same(run(SPEC, tmp_path / "again"), finished)


@pytest.mark.slow
def test_a_deleted_group_is_trained_again_alone_whatever_jax_is_set_to(finished, tmp_path):
    again = run(SPEC, tmp_path / "r")
    (again.path / "cells" / "digits-mlp-width-3-sgd-and-sam" / "group-0.results.parquet").unlink()
    (again.path / "results.parquet").unlink()
    with jax.enable_x64(True), jax.default_prng_impl("rbg"), jax.threefry_partitionable(False):
        assert_same(run(SPEC, again.path), finished)


@pytest.mark.slow
def test_smaller_groups_give_the_same_numbers_to_float_tolerance(finished, tmp_path):
    other = run(SPEC, tmp_path / "r", execution=Execution(networks_at_once=2))
    assert len(list((other.path / "cells").rglob("*.results.parquet"))) == 2 * (1 + 2)
    mine, theirs = finished.results(), other.results()
    assert (mine["seed"] == theirs["seed"]).all()
    np.testing.assert_allclose(mine["test_loss"], theirs["test_loss"], rtol=1e-4)


def test_the_record_says_how_it_was_run(finished):
    record = json.loads((finished.path / "run.json").read_text())
    # Six networks: half of them on each of the two devices that tests have.
    plan = {"networks_at_once": 6, "loop": "scan", "platform": "cpu", "devices": 2, "workers": 0, "microbatch": None}
    plan |= {"hosts": 1, "sharded": False}
    assert record["plans"]["digits-mlp-width-3-sgd-and-sam"] == plan
    (environment,) = record["environments"]
    assert {"jax", "optax", "widebasin", "python"} <= set(environment["versions"])
    assert environment["data"] == {"name": "digits", "sha256": digits().digest()}


@together("name", ["JAX_DEFAULT_MATMUL_PRECISION", "XLA_FLAGS"])
def test_what_decides_results_is_recorded_and_must_be_as_it_was(name, finished, monkeypatch):
    (environment,) = finished.run_record()["environments"]
    assert environment["settings"]["XLA_FLAGS"] == " ".join(
        sorted(flag for flag in os.environ["XLA_FLAGS"].split() if "device_count" not in flag)
    )
    with monkeypatch.context() as patch, jax.default_matmul_precision(None if name == "XLA_FLAGS" else "bfloat16"):
        if name == "XLA_FLAGS":
            patch.setenv(name, f"{os.environ[name]} --xla_dump_to=/nowhere --xla_cpu_enable_fast_math=true")
        with pytest.raises(UsageError, match=rf"{name} = .* here it is .*(fast_math|bfloat16).*--out"):
            run(SPEC, finished.path)
    with monkeypatch.context() as patch:
        patch.setenv("XLA_FLAGS", f"{environment['settings']['XLA_FLAGS']} --xla_dump_to=/nowhere")
        run(SPEC, finished.path)
    assert finished.run_record()["environments"] == [environment]


def test_another_spec_in_the_folder_is_refused_and_nothing_is_lost(finished):
    for other, words in (
        ({"seeds": 1}, "seeds: 2 there, 1 here"),
        ({"seeds": 3, "epochs": 4}, "seeds: 2 there, 3 here; epochs: 3 there, 4 here"),
        ({"rhos": (0.05, 0.1)}, r"rhos: 0\.05 0\.2 there, 0\.05 0\.1 here.*repeat its values and add to them"),
    ):
        with pytest.raises(UsageError, match=words):
            run(dataclasses.replace(SPEC, **other), finished.path)
    assert len(finished.results()) == 12


@pytest.mark.slow
def test_overwrite_replaces_the_results_of_another_spec(tmp_path):
    small = Spec(widths=(3,), methods=("sgd",), seeds=1, epochs=1)
    run(small, tmp_path / "r")
    folder = run(dataclasses.replace(small, first_seed=1), tmp_path / "r", overwrite=True)
    assert folder.results()["seed"].tolist() == [1]


def test_overwrite_continues_results_of_the_same_spec(finished):
    before = {path: path.stat().st_mtime_ns for path in (finished.path / "cells").rglob("*.parquet")}
    run(SPEC, finished.path, overwrite=True)
    assert before == {path: path.stat().st_mtime_ns for path in (finished.path / "cells").rglob("*.parquet")}


def test_overwrite_deletes_nothing_where_a_sweep_cannot_grow_for_another_reason(finished, monkeypatch):
    import widebasin.sweep.folder as module

    before = finished.results()
    usage = module.shutil.disk_usage(finished.path)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: usage._replace(free=10 * 2**20))
    with pytest.raises(UsageError, match="10 MiB free"):
        run(dataclasses.replace(SPEC, seeds=3), finished.path, overwrite=True)
    pd.testing.assert_frame_equal(finished.results(), before, check_exact=True)


@pytest.mark.slow
def test_overwrite_deletes_nothing_where_there_are_other_files(tmp_path):
    small = Spec(widths=(3,), methods=("sgd",), seeds=1, epochs=1)
    folder = run(small, tmp_path / "r")
    (folder.path / "notes.md").write_text("precious")
    with pytest.raises(UsageError, match=r"notes\.md"):
        run(dataclasses.replace(small, first_seed=1), folder.path, overwrite=True)
    assert len(folder.results()) == 1
    assert folder.spec().first_seed == 0


@pytest.mark.slow
def test_rows_without_their_spec_are_not_taken_for_this_one(tmp_path):
    small = Spec(widths=(3,), methods=("sgd",), seeds=1, epochs=1)
    folder = run(small, tmp_path / "r")
    (folder.path / "spec.toml").unlink()
    with pytest.raises(UsageError, match="cells"):
        run(dataclasses.replace(small, label_noise=(0.6,)), folder.path)


@pytest.mark.slow
def test_results_of_another_version_of_widebasin_are_not_mixed_with_ours(tmp_path):
    small = Spec(widths=(3,), methods=("sgd",), seeds=1, epochs=1)
    folder = run(small, tmp_path / "r")
    record = folder.run_record()
    record["environments"][0]["versions"]["jax"] = "0.4.0"
    folder.write_run_record(record)
    run(small, folder.path)
    there, here = (e["versions"]["jax"] for e in folder.run_record()["environments"])
    assert (there, here) == ("0.4.0", jax.__version__)
    record["environments"][0]["versions"]["widebasin"] = "0.0.1"
    folder.write_run_record(record)
    with pytest.raises(UsageError, match=r"0\.0\.1"):
        run(small, folder.path)


@pytest.mark.slow
def test_a_sweep_is_not_continued_with_other_data(tmp_path):
    """The file of arrays has the same name and shape, another content: 1 of 120 labels."""
    random = np.random.default_rng(0)
    inputs, targets = random.normal(size=(120, 3)).astype(np.float32), random.permutation(np.arange(120) % 3)
    file = tmp_path / "mine.npz"
    np.savez(file, inputs=inputs, targets=targets)
    spec = Spec(workload=str(file), widths=(2,), methods=("sgd",), seeds=1, epochs=1, batch_size=20)
    folder = run(spec, tmp_path / "r")
    before = folder.results()
    np.savez(file, inputs=inputs, targets=np.where(np.arange(120) == 7, (targets + 1) % 3, targets))
    arrays_workload.cache_clear()
    with pytest.raises(UsageError, match=r"data \(mine, SHA-256 \w{16}\) that differ from the data here .*--overwrite"):
        run(spec, folder.path)
    pd.testing.assert_frame_equal(folder.results(), before)
    np.savez(file, inputs=inputs, targets=targets)
    arrays_workload.cache_clear()
    assert_same(run(spec, folder.path), folder)


@pytest.mark.parametrize(("fixed_test", "words"), [(0, "1,797 here: complete"), (97, "here, 97 of them to test on: ")])
def test_fewer_examples_than_the_workload_has_are_an_error_before_there_is_a_folder(
    fixed_test, words, monkeypatch, tmp_path
):
    fewer = dataclasses.replace(digits(), fixed_test=fixed_test)
    workload = dataclasses.replace(
        WORKLOADS["digits-mlp"], load=lambda: fewer, sizes=SplitSizes(train=1_401, valid=300, test=97)
    )
    monkeypatch.setitem(WORKLOADS, "digits-mlp", workload)
    with pytest.raises(DataError, match=rf"trains on 1,401, validates on 300 and tests on 97 examples; of .*{words}"):
        run(SPEC, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(UsageError, match=r"thesis\.tex"):
        run(SPEC, tmp_path)
    with pytest.raises(UsageError, match=r"thesis\.tex"):
        run(SPEC, tmp_path, overwrite=True)
    assert (tmp_path / "thesis.tex").read_text() == "precious"


def test_another_plan_for_a_sweep_already_begun_is_refused(finished):
    with pytest.raises(UsageError, match="started with 6"):
        run(SPEC, finished.path, execution=Execution(networks_at_once=1))
    with pytest.raises(UsageError, match="started with scan"):
        run(SPEC, finished.path, execution=Execution(loop="step"))
    with pytest.raises(UsageError, match=r"devices = 1: .* started with 2"):
        run(SPEC, finished.path, execution=Execution(devices=1))


@pytest.mark.parametrize("execution", [Execution(networks_at_once=2), Execution(loop="scan")])
def test_streamed_images_have_one_way_to_be_trained_on(execution, monkeypatch, tmp_path):
    workload, numbers = WORKLOADS["cifar10-resnet18"], np.arange(60_000, dtype=np.int32)
    files = ImageFiles(tmp_path, ("a.png",), np.zeros(1, np.int32), ("a",), 0)
    streamed = Dataset("made up", numbers, numbers % 10, 10, normalization=Normalization(), files=files, image_size=32)
    monkeypatch.setitem(WORKLOADS, workload.name, dataclasses.replace(workload, load=lambda: streamed))
    (cell,) = cells(resolve(Spec(workload=workload.name, widths=(2,), methods=("sgd",))))
    assert plan_for(cell, Execution(networks_at_once=1, loop="step")).loop == "step"
    with pytest.raises(UsageError, match="cifar10-resnet18 streams its images"):
        plan_for(cell, execution)


@pytest.mark.slow
def test_a_sweep_begun_on_more_devices_and_workers_goes_on_with_those_that_are_here(tmp_path, monkeypatch):
    """Begun as if on eight devices; tests have two, of which a batch of 100 can have each a half."""
    spec = Spec(widths=(3,), methods=("sgd",), seeds=1, epochs=1)
    folder = run(spec, tmp_path / "r")
    before = folder.results()
    record = folder.run_record()
    (plan,) = record["plans"].values()
    plan |= {"devices": 8, "workers": 64}
    folder.write_run_record(record)
    shutil.rmtree(folder.path / "cells")
    used = []
    genuine = here.train_alone

    def watched(cells, plans, *rest):
        used.extend(plans.values())
        genuine(cells, plans, *rest)

    monkeypatch.setattr(here, "train_alone", watched)
    run(spec, folder.path, execution=Execution(workers=0))
    assert [(plan.devices, plan.workers) for plan in used] == [(2, 0)]
    pd.testing.assert_frame_equal(folder.results().drop(columns="seconds"), before.drop(columns="seconds"))


@pytest.mark.slow
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
    whole = folder.results()
    with pytest.raises(SweepError, match="delete it and run") as error:
        run(spec, folder.path)
    assert str(path) in str(error.value)
    path.unlink()
    assert_same(run(spec, folder.path), folder)
    pd.testing.assert_frame_equal(folder.results().drop(columns="seconds"), whole.drop(columns="seconds"))


@pytest.mark.slow
def test_a_damaged_table_is_found_before_anything_is_trained(tmp_path):
    folder = run(SPEC, tmp_path / "r")
    folder.group("digits-mlp-width-3-sgd-and-sam", 0, "results.parquet").write_bytes(b"PAR1 broken")
    missing = folder.group("digits-mlp-width-5-sgd-and-sam", 0, "results.parquet")
    missing.unlink()
    with pytest.raises(SweepError, match="corrupt"):
        run(SPEC, folder.path)
    assert not missing.exists()


@pytest.mark.slow
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
    import widebasin.sweep.tables as module

    folder = run(Spec(widths=(3,), methods=("sgd",), seeds=1, epochs=1), tmp_path / "r")
    monkeypatch.setattr(module, "FORMAT", b"another")
    with pytest.raises(SweepError, match="format"):
        folder.results()


def test_a_damaged_record_is_an_error(tmp_path):
    spec = Spec(widths=(3,), methods=("sgd",), seeds=1, epochs=1)
    folder = run(spec, tmp_path / "r")
    for damage in ("{", "{}", "[]", '{"format": 9, "plans": {"a": 1}, "environments": [1]}'):
        (folder.path / "run.json").write_text(damage)
        with pytest.raises(SweepError, match=r"run\.json"):
            run(spec, folder.path)


def test_too_little_space_is_an_error_before_training(tmp_path, monkeypatch):
    import widebasin.sweep.folder as module

    usage = module.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: usage._replace(free=10 * 2**20))
    with pytest.raises(UsageError, match="10 MiB free"):
        run(SPEC, tmp_path / "r")
    assert not (tmp_path / "r" / "spec.toml").exists()


@pytest.mark.slow
def test_diverged_networks_are_rows_like_any_other(tmp_path):
    folder = run(Spec(widths=(3,), methods=("sgd",), seeds=2, epochs=2, learning_rate=(0.1, 1e20)), tmp_path / "r")
    results = folder.results()
    assert len(results) == 4
    assert results.set_index("learning_rate")["diverged"].to_dict() == {0.1: False, 1e20: True}
    diverged = results[results["diverged"]]
    assert (diverged["diverged_epoch"] >= 1).all()
    assert diverged[["train_loss", "train_accuracy", "test_loss", "test_accuracy"]].isna().all(axis=None)


@pytest.mark.slow
def test_what_a_diverged_network_leaves_does_not_depend_on_its_company(tmp_path):
    spec = Spec(widths=(3,), methods=("sgd",), seeds=2, epochs=3, learning_rate=(0.1, 1e6))
    together = run(spec, tmp_path / "together").results()
    alone = run(spec, tmp_path / "alone", execution=Execution(networks_at_once=1)).results()
    for column in ("diverged", "diverged_epoch", "test_accuracy", "best_test_accuracy"):
        np.testing.assert_allclose(together[column].astype(float), alone[column].astype(float), atol=0.01)
    assert together["diverged"].tolist() == [False, False, True, True]


def test_a_regression_workload_has_no_accuracy(tmp_path):
    folder = run(Spec(workload="synthetic-mlp", widths=(5,), rhos=(0.05,), seeds=2, epochs=2), tmp_path / "r")
    results = folder.results()
    assert not any("accuracy" in column for column in results.columns)
    assert np.isfinite(results["test_loss"]).all()


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    spec = Spec(widths=(3,), rhos=(0.1, 0.2), seeds=2, epochs=2)
    return run(spec, tmp_path_factory.mktemp("kept"), execution=Execution(keep_parameters=True, networks_at_once=3))


@pytest.mark.slow
def test_kept_networks_are_those_that_were_tested_whatever_jax_is_set_to(kept):
    for row in kept.results().itertuples():
        with jax.enable_x64(True), jax.default_prng_impl("rbg"), jax.threefry_partitionable(False):
            network = load_network(kept.path, method=row.method, rho=row.rho, seed=row.seed)
        dataset = network.problem.dataset
        outputs = jax.vmap(network.model)(dataset.inputs[np.asarray(network.examples.test)])
        right = np.asarray(outputs).argmax(1) == dataset.targets[np.asarray(network.examples.test)]
        assert right.mean() == pytest.approx(row.test_accuracy, abs=1e-6)
        assert (network.point["rho"], network.point.seed) == (row.rho, row.seed)


@pytest.mark.slow
def test_a_network_must_be_named_well_enough(kept, finished):
    with pytest.raises(UsageError, match="but 2 match"):
        load_network(kept.path, method="sgd")
    with pytest.raises(UsageError, match="matches no network"):
        load_network(kept.path, method="sgd", seed=7)
    with pytest.raises(UsageError, match="is not a property of networks"):
        load_network(kept.path, radius=0.1)
    with pytest.raises(SweepError, match="--keep-parameters"):
        load_network(finished.path, width=3, method="sgd", seed=0)


@pytest.mark.slow
def test_parameters_asked_for_later_are_trained_again(kept, tmp_path):
    spec = Spec(widths=(3,), methods=("sgd",), seeds=1, epochs=2)
    folder = run(spec, tmp_path / "r")
    before = folder.results().drop(columns=["seconds", "parameters"])
    run(spec, folder.path, execution=Execution(keep_parameters=True))
    assert load_network(folder.path).point.seed == 0
    # As a process leaves them that ends while it writes: without their seal they are not kept.
    next(folder.group("digits-mlp-width-3-sgd", 0, "parameters").glob("*.seal")).unlink()
    run(spec, folder.path, execution=Execution(keep_parameters=True))
    assert load_network(folder.path).point.seed == 0
    after = folder.results()
    assert after["parameters"].tolist() == ["cells/digits-mlp-width-3-sgd/group-0.parameters:0"]
    pd.testing.assert_frame_equal(after.drop(columns=["seconds", "parameters"]), before, check_exact=True)


@pytest.mark.slow
def test_random_numbers_of_another_offset_are_not_mixed_with_those_of_old_folders(tmp_path):
    small = Spec(widths=(3,), methods=("sgd",), seeds=1, epochs=1)
    folder = run(small, tmp_path / "r")
    record = folder.run_record()
    assert record["environments"][0]["settings"].pop("JAX_RANDOM_SEED_OFFSET") == "0"
    folder.write_run_record(record)
    jax.config.update("jax_random_seed_offset", 5)
    try:
        with pytest.raises(UsageError, match="JAX_RANDOM_SEED_OFFSET = '0', but here it is '5'"):
            run(small, folder.path)
    finally:
        jax.config.update("jax_random_seed_offset", 0)
    run(small, folder.path)
