import io
import re

import pytest
from rich.console import Console

from widebasin.studies import Options
from widebasin.studies.answering import command, print_answer, write_answer
from widebasin.sweep import Spec, resolve
from widebasin.sweep.run import run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A finished sweep of 12 networks."""
    spec = Spec(study="overparam", widths=(4, 8), rhos=(0.05, 0.2), seeds=2, epochs=2)
    return run(spec, tmp_path_factory.mktemp("overparam"))


def test_writes_every_picture_and_the_page(folder):
    answer = write_answer(folder, Options()).answer
    written = {path.name for path in (folder.path / "figures").iterdir()}
    assert written == {f"{picture.name}.{kind}" for picture in answer.pictures for kind in ("png", "svg")}
    page = (folder.path / "report.html").read_text()
    for finding in answer.findings:
        assert finding in page
    for cell in (cell for row in answer.tables[0].rows for cell in row):
        assert f"<td>{cell}</td>" in page


def test_writes_the_same_bytes_again(folder):
    def content():
        write_answer(folder, Options())
        paths = [*(folder.path / "figures").iterdir(), folder.path / "report.html"]
        return {path.name: path.read_bytes() for path in paths}

    assert content() == content()


def test_the_command_says_what_the_studys_own_grid_cannot_be_on_a_workload():
    """Least squares has no labels, so that there are none of the study's shares of wrong ones."""
    spec = resolve(Spec(study="label-noise", workload="least-squares", label_noise=(0.0,), seeds=2))
    assert command(spec, Options()) == (
        "widebasin study label-noise --workload least-squares --seeds 2 --label-noise 0"
    )
    usual = resolve(Spec(study="label-noise", label_noise=(0.0, 0.2, 0.4, 0.6)))
    assert command(usual, Options()) == "widebasin study label-noise"


def test_page_records_spec_versions_and_plan(folder):
    write_answer(folder, Options())
    page = (folder.path / "report.html").read_text()
    assert "widths = [4, 8]" in page
    assert "<dt>jax</dt>" in page
    assert re.search("<dt>trained</dt><dd>[^:]* at once, scan on cpu", page)


def test_select_test_is_said_on_the_page(folder):
    write_answer(folder, Options(select="test"))
    assert "optimistic" in (folder.path / "report.html").read_text()


def test_prints_table_findings_and_the_place_of_the_page(folder):
    answered = write_answer(folder, Options())
    answer, console = answered.answer, Console(file=io.StringIO(), width=120)
    print_answer(answered, folder, console)
    printed = console.file.getvalue()
    text = " ".join(printed.split())
    assert all(finding in text for finding in answer.findings)
    assert answer.tables[0].title in text
    assert str(folder.path / "report.html") in printed
