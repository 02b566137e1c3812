"""The answer of a sweep that is not finished is that of a smaller one, and says so."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report.explored import embedded
from report.results_tables import growing, history_table, results_table
from studies.described import folder_of

from widebasin.studies.answering import continuing, write_answer
from widebasin.studies.questions.networks import STUDY as NETWORKS
from widebasin.studies.registry import STUDIES
from widebasin.studies.study import Measures, Options
from widebasin.studies.unfinished import finished_part
from widebasin.sweep import Spec, SweepError, resolve
from widebasin.sweep.folder import ResultsFolder
from widebasin.sweep.rows import rows_of_spec
from widebasin.sweep.run import run
from widebasin.sweep.status import Begun, status_of

SPEC = Spec(
    study="overparam",
    epochs=2,
    widths=(10, 100),
    rhos=(0.05, 0.2),
    seeds=3,
    label_noise=(0.0,),
    weight_decay=(1e-4,),
)
RESULTS = results_table(growing)


@pytest.fixture
def unfinished(tmp_path):
    """Rows of the made-up results -> the folder of a sweep of which these are trained, in groups of a method."""

    def made(rows):
        folder = folder_of(tmp_path / "r", SPEC, RESULTS)
        for name in ("results.parquet", "history.parquet"):
            (folder.path / name).unlink()
        for (width, method), group in rows.assign(epochs=2, parameters="").groupby(["width", "method"]):
            folder.write_group(f"digits-mlp-width-{width}-{method}", 0, group, history_table(group, 2))
        return ResultsFolder(folder.path, "folder")

    return made


@pytest.mark.slow
def test_it_is_the_answer_of_the_smaller_grid_and_marked(unfinished, tmp_path):
    folder = unfinished(RESULTS.query("width == 10 or method == 'sgd'"))
    found = write_answer(folder, Options()).answer
    smaller = dataclasses.replace(SPEC, widths=(10,))
    whole = write_answer(folder_of(tmp_path / "small", smaller, RESULTS.query("width == 10")), Options()).answer
    assert found.title == f"Not finished: {whole.title}"
    note, *findings = found.findings
    assert tuple(findings) == whole.findings
    assert note.startswith(
        "The sweep is not finished: 12 of 18 networks are trained, and this is the answer of 9 of them, "
        "those of widths 10. Continue it with: widebasin study overparam"
    )
    assert note.endswith(f" --out {folder.path}")
    assert found.tables == whole.tables
    assert [picture.name for picture in found.pictures] == [picture.name for picture in whole.pictures]
    written = {path.relative_to(folder.path).as_posix() for path in folder.path.rglob("*.*") if path.is_file()}
    assert {"partial-report.html", "partial-explore.html", "partial-figures/gain.png"} <= written
    assert not {"report.html", "explore.html", "figures/gain.png", "tables/gains.csv"} & written
    explored = embedded((folder.path / "partial-explore.html").read_text())
    assert len(explored["curves"]["counts"]) == 9


@pytest.mark.slow
def test_while_another_process_trains_the_page_says_so(unfinished):
    folder = unfinished(RESULTS.query("width == 10"))
    with ResultsFolder(folder.path).locked():
        note = write_answer(folder, Options()).answer.findings[0]
        assert "trains the others" in note
        with pytest.raises(SweepError, match=r"is in use by process .*9 of 18.*measure after it has ended"):
            write_answer(folder, Measures())


def test_without_a_whole_part_it_is_what_the_networks_reached(unfinished):
    folder = unfinished(RESULTS.query("method == 'sgd'"))
    answer = write_answer(folder, Options()).answer
    assert [len(table.rows) for table in answer.tables] == [2]
    assert "6 of 18 networks are trained, and this is the answer of 6 of them. Continue" in answer.findings[0]


@pytest.mark.slow
def test_when_the_sweep_is_finished_the_partial_page_goes(unfinished):
    folder = unfinished(RESULTS.query("width == 10"))
    write_answer(folder, Options())
    for name, table in (("results", RESULTS.assign(epochs=2, parameters="")), ("history", history_table(RESULTS, 2))):
        folder.write_table(folder.path / f"{name}.parquet", table)
    write_answer(folder, Options())
    assert not list(folder.path.glob("partial*"))
    assert (folder.path / "report.html").exists()


@given(st.lists(st.booleans(), min_size=18, max_size=18))
def test_every_network_of_the_part_is_trained_and_it_is_the_largest_along_one_axis(trained):
    spec = resolve(SPEC)
    results = RESULTS[np.array(trained)]
    study, part, rows = finished_part(spec, STUDIES["overparam"], results, measurable=True)
    if study is NETWORKS:
        assert rows is results
        assert part is spec
    else:
        assert set(rows.index) <= set(results.index)
        kept = RESULTS.loc[rows.index]
        wanted = rows_of_spec(part)
        for name in ("width", "method", "rho", "seed"):
            assert kept[name].tolist() == wanted[name].tolist()
    for width in (10, 100):
        if (results["width"] == width).sum() == 9:
            assert study is not NETWORKS
            assert len(rows) >= 9


def test_status_counts_what_is_trained_and_in_training(unfinished):
    folder = unfinished(RESULTS.query("width == 10 or method == 'sgd'"))
    checkpoint = folder.group("digits-mlp-width-100-sam", 0, "checkpoint")
    checkpoint.mkdir(parents=True)
    (checkpoint / "1.seal").write_bytes(b"")
    status = status_of(folder)
    assert (status.trained, status.networks, status.holder) == (12, 18, "")
    assert status.parts[["width", "method", "networks", "trained", "missing"]].to_numpy().tolist() == [
        [10, "sgd", 3, 3, 0],
        [10, "sam", 6, 6, 0],
        [100, "sgd", 3, 3, 0],
        [100, "sam", 6, 0, 6],
    ]
    assert status.begun == (Begun("digits-mlp-width-100-sam", 1, 2),)
    with ResultsFolder(folder.path).locked():
        assert status_of(folder).holder.startswith("process ")
    # As a process leaves it that is killed when the group is finished.
    folder.group("digits-mlp-width-10-sam", 0, "checkpoint").mkdir()
    (folder.group("digits-mlp-width-10-sam", 0, "checkpoint") / "2.seal").write_bytes(b"")
    assert status_of(folder).begun == status.begun


def test_epochs_of_a_budget_of_gradients_are_those_of_the_method(tmp_path):
    spec = dataclasses.replace(SPEC, budget="gradients", epochs=4)
    folder = folder_of(tmp_path / "r", spec, RESULTS)
    for name in ("sgd", "sam", "sgd-and-sam", "sam-stage-2"):
        checkpoint = folder.group(f"digits-mlp-width-100-{name}", 0, "checkpoint")
        checkpoint.mkdir(parents=True)
        (checkpoint / "3.seal").write_bytes(b"")
    epochs = {begun.cell.removeprefix("digits-mlp-width-100-"): begun.epochs for begun in status_of(folder).begun}
    assert epochs == {"sgd": 8, "sam": 4, "sgd-and-sam": 4, "sam-stage-2": 4}


def test_the_longest_run_of_seeds_is_taken(unfinished):
    folder = unfinished(RESULTS.query("seed != 1"))
    spec = dataclasses.replace(folder.spec(), seeds=5)
    rows = rows_of_spec(spec)
    have = rows[rows["seed"].isin([0, 2, 3, 4])]
    _, part, _ = finished_part(spec, STUDIES["overparam"], have, measurable=True)
    assert (part.first_seed, part.seeds) == (2, 3)


def test_the_command_that_continues_has_what_the_last_one_had(unfinished):
    folder = unfinished(RESULTS.query("width == 10"))
    assert continuing(folder).endswith(f" --out {folder.path}")
    folder.write_run_record(folder.run_record() | {"keep_parameters": True})
    (folder.path / "tensorboard").mkdir()
    assert continuing(folder).endswith(f" --out {folder.path} --keep-parameters --track tensorboard")


def test_a_damaged_group_is_named(unfinished):
    folder = unfinished(RESULTS.query("width == 10"))
    place = folder.group("digits-mlp-width-10-sam", 0, "results.parquet")
    place.write_bytes(place.read_bytes()[:-3])
    with pytest.raises(SweepError, match="width-10-sam"):
        write_answer(folder, Options())
    other = folder.read_table(folder.group("digits-mlp-width-10-sgd", 0, "results.parquet"))
    folder.write_table(place, other.assign(seed=7))
    with pytest.raises(SweepError, match=r"has networks twice or not in spec\.toml"):
        status_of(folder)


@pytest.mark.slow
def test_where_only_the_tables_are_missing_it_says_how_to_make_them(tmp_path):
    folder = run(Spec(widths=(4,), rhos=(0.1,), seeds=1, epochs=1), tmp_path / "r")
    (folder.path / "results.parquet").unlink()
    with pytest.raises(SweepError, match=r"all networks in .* are trained, .* make them with widebasin .* --out"):
        write_answer(ResultsFolder(folder.path), Options())
