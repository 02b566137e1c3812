import re
from html.parser import HTMLParser

import pytest
from matplotlib.figure import Figure
from report.results_tables import gains_of, growing, results_table, wording_for

from widebasin.report import figures
from widebasin.report.page import Answer, Picture, image, page
from widebasin.report.tables import Table, gains_table

SPEC = 'widths = [4, 8]\nworkload = "digits-mlp"  # <no> & other\n'
COMMAND = "widebasin study overparam --out 'a <b> & c'"
HOSTILE = """<script>alert("1")</script> & <b>'bold'</b>"""
VOID = {"meta", "img", "link", "br", "hr", "input"}


class Parsed(HTMLParser):
    """Elements with their attributes and texts; fails on tags that do not match."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.open: list[str] = []
        self.around: list[tuple[str, dict[str, str | None]]] = [("", {})]
        self.parents: dict[str, list[tuple[str, dict[str, str | None]]]] = {}
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.parents.setdefault(tag, []).append(self.around[-1])
        if tag not in VOID:
            self.open.append(tag)
            self.around.append((tag, dict(attrs)))
            self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        self.around.pop()

    def handle_data(self, data):
        for tag in set(self.open):
            self.texts[tag][-1] += data

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def answer(**changes) -> Answer:
    results = results_table(growing, label_noise=(0.0, 0.2))
    gains, wording = gains_of(results), wording_for()
    fields = {
        "title": "SAM",
        "question": "Does it help?",
        "setting": "digits; 60 epochs.",
        "findings": ("It grows: +1.0 to +2.0.", "No trend."),
        "tables": (gains_table(gains, wording), Table("Second", ("a", "b"), (("1", "2"), ("3", "4")), "A note.")),
        "pictures": (
            Picture("gain", "Gain against size", figures.gain_against_parameters(gains, wording)),
            Picture("radius", "Radius against size", figures.radius_against_parameters(gains, wording)),
        ),
    }
    return Answer(**(fields | changes))


def parsed(what: Answer, facts=(("jax", "0.10"), ("device", "cpu"))) -> Parsed:
    images = {picture.name: image(picture.figure, "png") for picture in what.pictures}
    return Parsed(page(what, images, facts, SPEC, COMMAND))


@pytest.fixture(scope="module")
def document() -> Parsed:
    return parsed(answer())


def test_page_needs_nothing_but_itself(document):
    assert document.all("script") == document.all("link") == document.all("iframe") == []
    for tag, attributes in document.elements:
        for name in ("src", "href", "srcset", "data", "action", "poster"):
            if name in attributes:
                assert attributes[name].startswith("data:"), (tag, name)
        assert not any(name.startswith("on") for name in attributes), tag
    for style in document.texts["style"]:
        assert "url(" not in style
        assert "@import" not in style


def test_page_links_to_the_interactive_one_beside_it():
    assert parsed(answer()).all("a") == []
    linked = Parsed(page(answer(pictures=()), {}, (), SPEC, COMMAND, "explore.html"))
    assert [link["href"] for link in linked.all("a")] == ["explore.html"]


def test_pictures_are_embedded_with_a_text_in_their_place(document):
    images = document.all("img")
    assert [picture["alt"] for picture in images] == ["Gain against size", "Radius against size"]
    assert [text.strip() for text in document.texts["figcaption"]] == ["Gain against size", "Radius against size"]
    assert all(picture["src"].startswith("data:image/png;base64,iVBOR") for picture in images)
    assert len({picture["src"] for picture in images}) == 2


def test_page_holds_every_finding_cell_and_heading(document):
    what = answer()
    assert [text.strip() for text in document.texts["li"]] == list(what.findings)
    assert what.setting in document.texts["p"]
    assert document.texts["td"] == [cell for table in what.tables for row in table.rows for cell in row]
    assert document.texts["th"] == [column for table in what.tables for column in table.columns]


def test_notes_do_not_scroll_away_with_their_tables(document):
    notes = [attributes.get("class") == "note" for attributes in document.all("p")]
    assert [text for text, is_note in zip(document.texts["p"], notes, strict=True) if is_note] == [
        table.note for table in answer().tables
    ]
    assert not any("A note." in text for text in document.texts["div"])


def test_a_wide_table_is_scrolled_by_itself_and_a_shadow_shows_that_there_is_more(document):
    assert len(document.parents["table"]) == 2
    assert {(tag, attributes["class"]) for tag, attributes in document.parents["table"]} == {("div", "wide")}
    (style,) = document.texts["style"]
    (rule, *_) = re.findall(r"^\s*\.wide {(.*?)}", style, re.MULTILINE | re.DOTALL)
    assert "overflow-x: auto" in rule
    # Two that stay at the ends, and two that are scrolled and cover them where the table ends.
    assert (rule.count("scroll"), rule.count("local")) == (2, 2)


def test_page_says_how_to_run_it_again(document):
    # A browser drops the first newline of a <pre>.
    assert [text.strip("\n") for text in document.texts["pre"]] == [COMMAND, SPEC.strip("\n")]
    assert list(zip(document.texts["dt"], document.texts["dd"], strict=True)) == [("jax", "0.10"), ("device", "cpu")]


def test_page_fits_a_phone(document):
    (viewport,) = (meta for meta in document.all("meta") if meta.get("name") == "viewport")
    assert viewport["content"] == "width=device-width, initial-scale=1"
    assert {"charset": "utf-8"} in document.all("meta")
    assert document.all("html") == [{"lang": "en"}]


def test_text_from_outside_stays_text():
    hostile = answer(
        title=HOSTILE,
        question=HOSTILE,
        findings=(HOSTILE,),
        tables=(Table(HOSTILE, (HOSTILE,), ((HOSTILE,),), HOSTILE),),
        pictures=(Picture("x", HOSTILE, Figure()),),
    )
    document = parsed(hostile, ((HOSTILE, HOSTILE),))
    assert document.all("script") == document.all("b") == []
    for tag in ("title", "h1", "p", "li", "th", "td", "figcaption", "dt", "dd"):
        assert any(HOSTILE in text for text in document.texts[tag]), tag
    assert document.all("img")[0]["alt"] == HOSTILE


def test_nothing_to_say_leaves_no_empty_boxes():
    document = parsed(answer(findings=(), tables=(Table("t", ("a",), (("1",),)),), pictures=()))
    assert document.all("ul") == document.all("img") == []
    assert "note" not in [attributes.get("class") for attributes in document.all("p")]


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_image_has_no_date_and_no_name_of_a_program(kind):
    picture = answer().pictures[0].figure
    content = image(picture, kind)
    assert content.startswith(b"\x89PNG" if kind == "png" else b"<?xml")
    for word in (b"Date", b"date>", b"Software"):
        assert word not in content


def test_svg_has_its_text_as_text():
    assert b">number of parameters</text>" in image(answer().pictures[0].figure, "svg")
