import dataclasses
import io
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from report.explored import embedded
from report.results_tables import growing, results_table
from rich.console import Console
from studies.described import folder_of

from widebasin.statistics.gains import gain_table
from widebasin.studies import Options
from widebasin.studies.answering import command, print_answer, write_answer
from widebasin.sweep import Spec, resolve
from widebasin.sweep.folder import ResultsFolder
from widebasin.workloads import WORKLOADS

GRID = {
    "widths": (10, 100),
    "rhos": (0.05, 0.2),
    "seeds": 3,
    "label_noise": (0.0,),
    "weight_decay": (1e-4,),
    "epochs": 2,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Of a finished sweep."""
    spec = Spec(study="overparam", **GRID)
    return folder_of(tmp_path_factory.mktemp("made"), spec, results_table(growing))


@pytest.fixture(scope="module")
def answered(folder):
    return write_answer(folder, Options())


@pytest.fixture(scope="module")
def page(folder, answered):
    return (folder.path / answered.page).read_text()


def test_writes_every_picture_and_the_page(folder, answered, page):
    written = {path.name for path in (folder.path / "figures").iterdir()}
    assert written == {f"{picture.name}.{kind}" for picture in answered.answer.pictures for kind in ("png", "svg")}
    for finding in answered.answer.findings:
        assert finding in page
    for cell in (cell for row in answered.answer.tables[0].rows for cell in row):
        assert f"<td>{cell}</td>" in page


def test_the_interactive_page_and_the_gains_lie_beside_it(folder, answered, page):
    assert 'href="explore.html"' in page
    data = embedded((folder.path / answered.explorer).read_text())
    gains = gain_table(folder.results(), answered.tables.design)
    np.testing.assert_allclose(data["gains"][0][0][0]["value"], gains["gain"], rtol=1e-5)
    assert data["curves"]["counts"] == [2] * len(folder.results())
    written = {path.name for path in (folder.path / "tables").iterdir()}
    assert written == {"gains.csv", "gains.json", "gains.tex"}
    rows = pd.read_csv(folder.path / "tables" / "gains.csv", keep_default_na=False)
    np.testing.assert_allclose(rows.loc[rows["in_report"], "gain"], gains["gain"], rtol=1e-14)


def test_the_page_says_what_the_folder_says_of_its_sweep(answered):
    assert answered.answer.title.endswith("a made-up problem")
    assert answered.answer.setting == "Data: made-up data. A made-up problem; 60 epochs; batch 32; seeds 0 to 2."


@pytest.mark.slow
def test_writes_the_same_bytes_again_and_needs_no_data(folder, page, monkeypatch):
    paths = [*(folder.path / "figures").iterdir(), *(folder.path / "tables").iterdir(), *folder.path.glob("*.html")]
    before = {path.name: path.read_bytes() for path in paths}

    def gone():
        raise AssertionError("the data were loaded")

    monkeypatch.setitem(WORKLOADS, "digits-mlp", dataclasses.replace(WORKLOADS["digits-mlp"], load=gone))
    write_answer(folder, Options())
    assert {path.name: path.read_bytes() for path in paths} == before


@pytest.mark.slow
def test_select_test_is_said_and_the_workload_needs_not_be_there(tmp_path, folder, answered, monkeypatch):
    """As in another directory than that of the user's own arrays; what differs from a recipe is not known then."""
    elsewhere = ResultsFolder(shutil.copytree(folder.path, tmp_path / "elsewhere"))
    monkeypatch.delitem(WORKLOADS, "digits-mlp")
    write_answer(elsewhere, Options(select="test"))
    page = (elsewhere.path / "report.html").read_text()
    assert "optimistic" in page
    assert "--learning-rate 0.1 " in page
    assert "--select test" in page


def test_the_command_says_what_the_studys_own_grid_cannot_be_on_a_workload():
    """Least squares has no labels, so that there are none of the study's shares of wrong ones."""
    spec = resolve(Spec(study="label-noise", workload="least-squares", label_noise=(0.0,), seeds=2))
    assert command(spec, Options()) == (
        "widebasin study label-noise --workload least-squares --label-noise 0 --seeds 2"
    )
    usual = resolve(Spec(study="label-noise", label_noise=(0.0, 0.2, 0.4, 0.6)))
    assert command(usual, Options()) == "widebasin study label-noise"


def test_page_records_spec_versions_and_plan(page):
    assert "widths = [10, 100]" in page
    assert "<dt>jax</dt>" in page
    assert re.search("<dt>trained</dt><dd>[^:]* at once, scan on cpu", page)


def test_prints_table_findings_and_the_place_of_the_page(folder, answered):
    console = Console(file=io.StringIO(), width=120)
    print_answer(answered, folder, console)
    printed = console.file.getvalue()
    text = " ".join(printed.split())
    assert all(finding in text for finding in answered.answer.findings)
    assert answered.answer.tables[0].title in text
    assert str(folder.path / "report.html") in printed
    assert str(folder.path / "explore.html") in printed
