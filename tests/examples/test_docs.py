"""The Python blocks of the README and the documentation run; the blocks of one page share their names."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```python[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_python_blocks_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = page.read_text(encoding="utf-8")
    namespace = {"__name__": "__main__"}
    for block in BLOCK.finditer(text):
        # The empty lines give a traceback the line numbers of the page.
        source = "\n" * text[: block.start(1)].count("\n") + block[1]
        exec(compile(source, page.name, "exec"), namespace)


@pytest.mark.parametrize("name", ["sam.md", "data.md"])
def test_the_concept_pages_have_blocks(name):
    assert len(BLOCK.findall((ROOT / "docs" / name).read_text(encoding="utf-8"))) >= 3


def test_a_block_that_fails_is_reported_at_its_line(tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text("# Page\n\n```python\nx = 1\n```\n\ntext\n\n```python\nassert x == 2\n```\n", encoding="utf-8")
    with pytest.raises(AssertionError) as failure:
        test_python_blocks_run(page, tmp_path, monkeypatch)
    assert failure.traceback[-1].lineno + 1 == 10
