"""A folder is read as it was written, or not at all; and without its workload and data."""

import json
import os
import random
import shutil

import jax
import numpy as np
import pandas as pd
import pytest

from widebasin.sweep import Execution, Spec, SweepError, UsageError, resolve, spec_toml
from widebasin.sweep.folder import ResultsFolder
from widebasin.sweep.networks import load_network
from widebasin.sweep.rows import Groups
from widebasin.sweep.run import run
from widebasin.sweep.sealed import digest_of, sealed, unsealed
from widebasin.sweep.tables import packed, unpacked
from widebasin.training import CheckpointError
from widebasin.workloads.arrays import arrays_workload

SPEC = Spec(workload="line-mlp", widths=(2, 3), rhos=(0.1,), seeds=2, epochs=2)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return run(SPEC, tmp_path_factory.mktemp("sealed") / "r", execution=Execution(keep_parameters=True))


@pytest.fixture
def copy(finished, tmp_path):
    """Of the finished folder, to be damaged."""
    shutil.copytree(finished.path, tmp_path / "copy")
    return ResultsFolder(tmp_path / "copy")


def content(folder):
    """All that a reader sees of a folder."""
    tables = (folder.results(), folder.history())
    return folder.spec(), folder.description(), folder.run_record(), [table.to_dict("list") for table in tables]


def flipped(path, bits, seed):
    """Flips one bit of a file after the other, chosen by the seed; the file is whole again afterwards."""
    genuine = path.read_bytes()
    chosen = random.Random(seed)
    for _ in range(bits):
        position, bit = chosen.randrange(len(genuine)), chosen.randrange(8)
        path.write_bytes(genuine[:position] + bytes([genuine[position] ^ 1 << bit]) + genuine[position + 1 :])
        yield
    path.write_bytes(genuine)


# More of them: WIDEBASIN_DAMAGES=500.
DAMAGES = int(os.environ.get("WIDEBASIN_DAMAGES", "80"))


@pytest.mark.slow
def test_any_file_that_is_damaged_gives_the_same_or_a_clear_error(finished, tmp_path):
    """One flipped bit, or what is left when the rest is lost: of the tables, the records, the parameters of a group."""

    def parameters(folder):
        network = load_network(folder.path, width=3, method="sam", seed=1)
        return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(network.model) if hasattr(leaf, "dtype")]

    readers = {"content": content, "parameters": parameters}
    genuine = {name: repr(read(finished)) for name, read in readers.items()}
    files = sorted(path.relative_to(finished.path) for path in finished.path.rglob("*") if path.is_file())
    chosen, errors = random.Random(0), []
    for number in range(DAMAGES):
        folder = ResultsFolder(tmp_path / str(number))
        shutil.copytree(finished.path, folder.path)
        path = folder.path / chosen.choice(files)
        whole = path.read_bytes()
        at = chosen.randrange(len(whole)) if whole else 0
        flipped = whole[:at] + bytes([whole[at] ^ 1 << chosen.randrange(8)]) + whole[at + 1 :] if whole else b"?"
        path.write_bytes(chosen.choice([flipped, whole[:at]]))
        for name, read in readers.items():
            try:
                assert repr(read(folder)) == genuine[name], path
            except (SweepError, CheckpointError) as error:
                errors.append(str(error))
        shutil.rmtree(folder.path)
    assert len(errors) > DAMAGES / 5
    assert all(str(tmp_path) in message and "\n" not in message for message in errors)


@pytest.mark.slow
@pytest.mark.parametrize("part", ["results", "history"])
def test_a_flipped_bit_in_the_rows_of_a_cell_is_noticed_before_they_are_merged(copy, part):
    expected = pd.DataFrame(
        {
            "workload": "line-mlp",
            "width": 2,
            "method": ["sgd", "sgd", "sam", "sam"],
            "rho": [0.0, 0.0, 0.1, 0.1],
            "seed": [0, 1, 0, 1],
            "epochs": 2,
        }
    )
    cell = "line-mlp-width-2-sgd-and-sam"
    path = copy.group(cell, 0, f"{part}.parquet")
    genuine, messages = copy.read_table(path).to_dict("list"), []
    for _ in flipped(path, 60, part):
        try:
            copy.verify(Groups(cell, expected, (0, len(expected))), [0])
            assert copy.read_table(path).to_dict("list") == genuine
        except SweepError as error:
            messages.append(str(error))
    assert len(messages) > 60 / 4
    assert all(str(path) in message for message in messages)


@pytest.mark.parametrize("name", ["spec.toml", "run.json", "description.json"])
@pytest.mark.parametrize("damage", [b"", b"{}", b"[1]", b"\xff\xfe"], ids=repr)
def test_an_empty_or_foreign_file_is_an_error(copy, name, damage):
    (copy.path / name).write_bytes(damage)
    with pytest.raises(SweepError, match=name.replace(".", r"\.")):
        content(copy)
    with pytest.raises(SweepError, match="--overwrite"):
        run(SPEC, copy.path)


def test_a_spec_changed_by_hand_is_refused_where_it_is_and_read_elsewhere(copy):
    text = (copy.path / "spec.toml").read_text().replace("seeds = 2", "seeds = 3")
    (copy.path / "spec.toml").write_text(text)
    with pytest.raises(SweepError, match="was changed since the sweep began"):
        copy.spec()


def test_a_plan_changed_by_hand_is_refused(copy):
    path = copy.path / "run.json"
    text = path.read_text()
    number = copy.run_record()["plans"]["line-mlp-width-2-sgd-and-sam"]["networks_at_once"]
    changed = text.replace(f'"networks_at_once": {number}', f'"networks_at_once": {number + 1}')
    assert changed != text
    path.write_text(changed)
    for read in (copy.results, lambda: run(SPEC, copy.path)):
        with pytest.raises(SweepError, match=r"run\.json .*does not match its digest"):
            read()
    path.unlink()
    with pytest.raises(SweepError, match=r"run\.json is empty or missing; choose another --out"):
        copy.results()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda table: table.iloc[:-1], "do not match the networks"),
        (lambda table: pd.concat([table, table.iloc[-1:]]), "do not match the networks"),
        (lambda table: table.iloc[::-1], "do not match the networks"),
        (lambda table: table.assign(rho=0.2), "do not match the networks"),
        (lambda table: table.drop(columns="seed"), "do not match the networks"),
        (lambda table: table.drop(columns="parameters"), "where the parameters are"),
    ],
    ids=["fewer", "more", "reordered", "another radius", "no seed", "no parameters"],
)
def test_rows_of_other_networks_are_refused_although_their_own_digest_is_right(copy, change, words):
    changed = change(copy.results())
    copy.write_table(copy.path / "results.parquet", changed)
    with pytest.raises(SweepError, match=words):
        copy.results()
    path = copy.group("line-mlp-width-2-sgd-and-sam", 0, "results.parquet")
    copy.write_table(path, change(copy.read_table(path)))
    with pytest.raises(SweepError, match=words) as error:
        run(SPEC, copy.path)
    assert str(path) in str(error.value)


def test_rows_of_another_cell_are_not_taken_for_those_of_this_one(copy):
    other = copy.group("line-mlp-width-3-sgd-and-sam", 0, "results.parquet").read_bytes()
    copy.group("line-mlp-width-2-sgd-and-sam", 0, "results.parquet").write_bytes(other)
    with pytest.raises(SweepError, match="do not match the networks"):
        run(SPEC, copy.path)


def test_results_of_an_older_format_are_refused_and_say_so(copy):
    record = {"format": 2, "plans": {"a": {}}, "environments": [{}]}
    (copy.path / "run.json").write_text(json.dumps(record))
    with pytest.raises(SweepError, match=r"run\.json has format 2, but this version of widebasin reads 5"):
        copy.spec()
    with pytest.raises(SweepError, match="has format 2"):
        run(SPEC, copy.path)


def test_a_seal_fits_its_record_alone():
    record = {"numbers": {1: 0.1, 10: 0.2, 2: 0.3}, "words": ("a", "b")}
    assert unsealed(sealed(record)) == {"numbers": {"1": 0.1, "10": 0.2, "2": 0.3}, "words": ["a", "b"]}
    with pytest.raises(ValueError, match="digest"):
        unsealed(sealed(record).replace(b"0.2", b"0.3"))
    with pytest.raises(ValueError, match="no digest"):
        unsealed(b"{}")


def test_a_table_comes_back_as_it_was():
    table = pd.DataFrame({"a": [1, 2], "b": [0.1, np.nan], "c": ["x", ""], "d": [True, False]})
    pd.testing.assert_frame_equal(unpacked(packed(table)), table)


@pytest.mark.slow
def test_a_finished_folder_is_read_without_its_data_from_anywhere(tmp_path, monkeypatch):
    chosen = np.random.default_rng(0)
    np.savez(tmp_path / "mine.npz", inputs=chosen.normal(size=(90, 3)).astype("f4"), targets=np.arange(90) % 3)
    monkeypatch.chdir(tmp_path)
    spec = Spec(workload="mine.npz", widths=(2,), rhos=(0.1,), seeds=1, epochs=1, batch_size=20)
    folder = run(spec, tmp_path / "r")
    written = content(folder)
    (tmp_path / "mine.npz").unlink()
    arrays_workload.cache_clear()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert content(ResultsFolder(tmp_path / "r")) == written
    description = folder.description()
    assert (description.title, description.metric.name, description.data) == (
        "mine, mlp, 3 classes",
        "accuracy",
        "mine",
    )
    with pytest.raises(UsageError, match=os.fspath(tmp_path / "nowhere")):
        ResultsFolder(tmp_path / "nowhere").spec()


def test_what_a_folder_says_is_what_was_trained(finished):
    assert finished.spec() == resolve(SPEC)
    record = finished.run_record()
    assert record["stages"] == [
        {"spec": spec_toml(resolve(SPEC)), "description": digest_of((finished.path / "description.json").read_bytes())}
    ]
    places = finished.results()["parameters"]
    assert places.tolist()[:2] == ["cells/line-mlp-width-2-sgd-and-sam/group-0.parameters:0", places[0][:-1] + "1"]
