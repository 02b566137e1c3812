"""The Python blocks of the README and the documentation run; the blocks of one page share their names."""

import dataclasses
import re
from pathlib import Path

import pytest
from together import together

from widebasin import sam

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```python[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]


# The others train networks and measure them.
QUICK = (ROOT / "README.md",)
RUN = [
    pytest.param(page, id=str(page.relative_to(ROOT)), marks=() if page in QUICK else pytest.mark.slow)
    for page in PAGES
    if BLOCK.search(page.read_text(encoding="utf-8"))
]


@pytest.mark.parametrize("page", RUN)
def test_python_blocks_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = page.read_text(encoding="utf-8")
    namespace = {"__name__": "__main__"}
    for block in BLOCK.finditer(text):
        # The empty lines give a traceback the line numbers of the page.
        source = "\n" * text[: block.start(1)].count("\n") + block[1]
        exec(compile(source, page.name, "exec"), namespace)


@together("name", ["sam.md", "methods.md", "recipes.md", "data.md"])
def test_the_concept_pages_have_blocks(name):
    assert len(BLOCK.findall((ROOT / "docs" / name).read_text(encoding="utf-8"))) >= 3


def test_a_block_that_fails_is_reported_at_its_line(tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text("# Page\n\n```python\nx = 1\n```\n\ntext\n\n```python\nassert x == 2\n```\n", encoding="utf-8")
    with pytest.raises(AssertionError) as failure:
        test_python_blocks_run(page, tmp_path, monkeypatch)
    assert failure.traceback[-1].lineno + 1 == 10


def rows_of_methods():
    """Name on the command line -> (the method with its defaults, gradients per step) in ``docs/methods.md``."""
    text = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    cells = [line.strip("| ").split(" | ") for line in text.splitlines() if re.match(r"\| `[a-z0-9-]+` \|", line)]
    return {row[0].strip("`"): (row[1].strip("`"), row[3]) for row in cells}


def test_the_table_of_methods_has_the_methods_of_the_command_line():
    assert list(rows_of_methods()) == list(sam.METHODS)


@together("name", sam.METHODS)
def test_the_table_of_methods_states_defaults_and_costs(name):
    expression, gradients = rows_of_methods()[name]
    method = sam.METHODS[name].with_radius(0.05)
    assert eval(expression, dict(vars(sam))) == method
    shown = set(re.findall(r"(\w+)=", expression))
    assert shown == {field.name for field in dataclasses.fields(method)} - {"mask", "m"}
    assert gradients == f"{method.gradients_per_step:.2f}".rstrip("0").rstrip(".")


def anchors(page):
    """The names that the headings of a page get."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@together("page", PAGES)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8").replace("\n", " ")):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link
