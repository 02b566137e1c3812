"""What comes from outside is shown, and never obeyed: on a terminal, on a page, in a picture."""

import dataclasses
import html
import io
import re
from xml.etree import ElementTree

import pytest
from report.results_tables import growing, results_table
from rich.console import Console
from studies.described import description, folder_of
from together import together

from widebasin.report import drawing
from widebasin.report.page import image
from widebasin.report.tables import Table
from widebasin.shown import say, shown, shown_lines
from widebasin.studies import Options
from widebasin.studies.answering import print_answer, write_answer
from widebasin.sweep import Spec, nearest_name
from widebasin.sweep.description import MethodFacts
from widebasin.sweep.progress import TerminalProgress

# Red from here on, a line of its own, read from the right, markup, an emoji, a formula, an element of HTML.
HOSTILE = "a\x1b[31m\nb\u202ec [red]d[/] :boom: $x^2$ <b>e</b>\x9b1m"
PLAIN = r"a\x1b[31m\nb\u202ec [red]d[/] :boom: $x^2$ <b>e</b>\x9b1m"


@together(
    ("text", "expected"),
    [
        (HOSTILE, PLAIN),
        (PLAIN, PLAIN),
        ("tab\tand\rreturn\x00\x7f\x85", r"tab\tand\rreturn\x00\x7f\x85"),
        ("\u2028\u2029\u2066\u2069\u200f\u061c\ufeff", r"\u2028\u2029\u2066\u2069\u200f\u061c\ufeff"),
        ("\udcff.png", r"\udcff.png"),
        ("Größe 大きさ\u3000\u00a0עברית 🧪 ±×→", "Größe 大きさ\u3000\u00a0עברית 🧪 ±×→"),
        ("", ""),
    ],
)
def test_shown(text, expected):
    assert shown(text) == expected
    assert shown(expected) == expected
    shown(text).encode()


def test_lines_of_our_own_stay_lines():
    assert shown_lines("one\x1b\ntwo") == "one\\x1b\ntwo"


def printed(*renderables, width=400, **options):
    console = Console(file=io.StringIO(), width=width, **options)
    for one in renderables:
        say(console, one) if isinstance(one, str) else console.print(one)
    return console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]


@together("width", [400, 30, 12])
def test_terminal_shows_lines_and_tables_as_they_are(width):
    table = Table(HOSTILE, (HOSTILE, "b"), ((HOSTILE, "1"), ("2", HOSTILE)), "a note\nof two lines")
    text = printed(HOSTILE, table.rich(), table.rich("left"), width=width, force_terminal=True)
    ours = re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert "\x1b[31m" not in text
    assert ours.replace("\n", "").isprintable()
    assert ours.startswith(PLAIN)
    if width == 400:
        assert ours.count(PLAIN) == 1 + 2 * 4


def test_progress_shows_names_as_they_are():
    console = Console(file=io.StringIO(), width=200, force_terminal=True)
    progress = TerminalProgress(console)
    progress.bar.update(progress.line, description=HOSTILE, doing=HOSTILE, rate=HOSTILE)
    with progress.bar:
        progress.bar.refresh()
    assert re.sub(r"\x1b\[[0-9;]*m", "", console.file.getvalue()).count(PLAIN) >= 3  # pyright: ignore[reportAttributeAccessIssue]
    assert "\x1b[31m" not in console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]


def test_errors_quote_values_as_they_are_shown():
    assert HOSTILE not in str(nearest_name("workload", HOSTILE, ["a"]))


@pytest.fixture(scope="module")
def answered(tmp_path_factory):
    """A study whose description comes from a hostile folder, and the folder."""
    said = description(dataclasses.replace(description().metric, unit=HOSTILE, scale=1.0))
    methods = {name: MethodFacts(HOSTILE + name, one.gradients_per_step) for name, one in said.methods.items()}
    axes = tuple(dataclasses.replace(one, phrase=HOSTILE + one.phrase) for one in said.axes)
    said = dataclasses.replace(said, title=HOSTILE, data=HOSTILE, methods=methods, axes=axes, recipe=(HOSTILE,))
    grid = {"widths": (10, 100), "rhos": (0.05, 0.2), "seeds": 3, "weight_decay": (1e-4,), "epochs": 2}
    spec = Spec(study="label-noise", label_noise=(0.0, 0.2), **grid)
    results = results_table(growing, label_noise=(0.0, 0.2))
    folder = folder_of(tmp_path_factory.mktemp(f"folder {HOSTILE.replace('/', '')}"), spec, results, said)
    return write_answer(folder, Options()), folder


@pytest.mark.slow
def test_a_hostile_folder_is_a_page_a_terminal_and_pictures_of_plain_text(answered):
    answer, folder = answered
    page = (folder.path / "report.html").read_text()
    text = html.unescape(re.sub(r'src="[^"]*"|<[^>]*>', "", page))
    assert text.replace("\n", "").isprintable()
    assert "<b>" not in page
    assert PLAIN in text
    console = Console(file=io.StringIO(), width=400, force_terminal=True)
    print_answer(answer, folder, console)
    said = console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
    assert "\x1b[31m" not in said
    assert re.sub(r"\x1b\[[0-9;]*m", "", said).replace("\n", "").isprintable()
    assert PLAIN in said
    pictures = sorted((folder.path / "figures").glob("*.svg"))
    assert pictures
    for picture in pictures:
        drawn = "".join(ElementTree.parse(picture).getroot().itertext())
        assert r"a\x1b[31m" in drawn, picture.name
        assert drawn.replace("\n", "").isprintable()
        assert "mathdefault" not in drawn


def test_a_dollar_begins_no_formula_and_powers_of_ten_are_written_in_letters():
    with drawing.own_style():
        figure, axes = drawing.new_figure("$x^2$", "y")
        axes.set_yscale("log")
        axes.plot([1, 2], [1e-3, 1e3])
        drawn = image(figure, "svg").decode()
    assert ">$x^2$</text>" in drawn
    assert ">10⁻³</text>" in drawn
    assert "mathdefault" not in drawn
