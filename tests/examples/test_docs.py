"""The blocks of code of the README and the documentation do what they are marked with, see ``pages``."""

import dataclasses
import re
from pathlib import Path

import pytest
from pages import KNOWN, blocks_of, check_output, commands, run_page
from together import together

from widebasin import sam

ROOT = Path(__file__).parents[2]
FOLDERS = ("docs", "benchmarks", "examples")
PAGES = [ROOT / "README.md", *sorted(page for folder in FOLDERS for page in (ROOT / folder).glob("**/*.md"))]

# The others train networks and measure them.
QUICK = ("benchmarks/README.md", "docs/results/README.md")
# These train for so long that programs pay which are compiled as a user's.
LONG = ("docs/tutorial.md", "docs/howto/choose-a-radius.md", "docs/howto/large-network.md")
NAMES = [str(page.relative_to(ROOT)) for page in PAGES if blocks_of(page.read_text(encoding="utf-8"))]


@together("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_every_block_says_what_is_done_with_it(page):
    kinds = [block.kind for block in blocks_of(page.read_text(encoding="utf-8"))]
    assert [kind for kind in kinds if not KNOWN.fullmatch(kind)] == []
    shown = [before for before, kind in zip(["", *kinds], kinds, strict=False) if kind == "text"]
    assert all(kind in ("python", "bash run") or kind.startswith("bash not-run") for kind in shown)


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in NAMES])
def test_blocks_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if name in LONG:
        monkeypatch.delenv("XLA_FLAGS")
    check_page(ROOT / name, tmp_path)


def test_pages_that_are_named_here_are_there():
    assert {*QUICK, *LONG} <= set(NAMES)


def check_page(page, folder):
    """That its blocks run, and print what the page shows."""
    now = run_page(page, folder)
    for shown, printed in zip(blocks_of(page.read_text(encoding="utf-8")), blocks_of(now), strict=True):
        check_output(shown.source, printed.source)


def page_with(tmp_path, text):
    page = tmp_path / "page.md"
    page.write_text(text, encoding="utf-8")
    return page


def test_a_block_that_fails_is_reported_at_its_line(tmp_path):
    page = page_with(tmp_path, "# Page\n\n```python\nx = 1\n```\n\ntext\n\n```python\nassert x == 2\n```\n")
    with pytest.raises(AssertionError) as failure:
        run_page(page, tmp_path)
    assert failure.traceback[-1].lineno + 1 == 10


FAILING = {
    "a command fails": "```bash run\ntrue\nfalse | cat\n```\n",
    "it prints something else": "```bash run\necho no\n```\n\n```text\nyes\n```\n",
    "not of widebasin": "```bash\nls\n```\n",
    "no such flag": "```bash\nwidebasin list && widebasin sweep --rho 0.1\n```\n",
    "no such axis": "```toml file=grid.toml\nwidths = [4]\nradii = [0.1]\n```\n",
}


@together("text", FAILING.values(), ids=list(FAILING))
def test_a_block_that_does_not_do_what_it_says_fails(tmp_path, text):
    with pytest.raises((AssertionError, SystemExit, ValueError)):
        check_page(page_with(tmp_path, text), tmp_path)


def test_files_and_what_is_printed(tmp_path):
    before = "```python file=mine.py\nprint(7)\n```\n\n```bash run\necho numbers; python mine.py\n```\n\n```text\n"
    page = page_with(tmp_path, f"{before}numbers\n3\n```\n\n```bash not-run: needs a GPU\nfalse\n```\n")
    assert run_page(page, tmp_path).startswith(f"{before}numbers\n7\n```\n")
    check_output("a  1\n b\n", "b\nc")


def test_commands_in_lines_of_a_shell():
    assert list(commands("# none\na 'b c' \\\n  d  # why\n\ne && f && g\n")) == [
        ["a", "b c", "d"],
        ["e"],
        ["f"],
        ["g"],
    ]


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
    assert shown == {field.name for field in dataclasses.fields(method)} - {"mask", "m", "scales"}
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
