"""A report as files: figures as PNG and SVG, and one self-contained HTML page."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import jinja2
import matplotlib
from markupsafe import Markup
from matplotlib.figure import Figure

from widebasin.report.drawing import without_formulas
from widebasin.report.tables import Table
from widebasin.shown import shown

PNG_DOTS_PER_INCH = 200


@dataclass(frozen=True)
class Picture:
    """A figure of a report.

    Attributes:
        name: name of its files, without the extension.
        title: title of the figure.
        figure: the matplotlib figure.
    """

    name: str
    title: str
    figure: Figure


@dataclass(frozen=True)
class Answer:
    """The answer of a study.

    Attributes:
        title: title of the report.
        question: question of the study.
        setting: what all networks have in common: data, recipe, label noise, seeds.
        findings: sentences, each with its numbers.
        tables: the tables in order.
        pictures: the figures in order.
    """

    title: str
    question: str
    setting: str
    findings: tuple[str, ...]
    tables: tuple[Table, ...]
    pictures: tuple[Picture, ...]


def image(figure: Figure, kind: str) -> bytes:
    """A figure as ``png`` or ``svg``; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    without_formulas(figure)
    with matplotlib.rc_context({"svg.hashsalt": "widebasin", "svg.fonttype": "none"}):
        metadata: dict[str, Any] = {"Date": None} if kind == "svg" else {"Software": None}
        figure.savefig(buffer, format=kind, dpi=PNG_DOTS_PER_INCH, metadata=metadata)
    return buffer.getvalue()


def page(
    answer: Answer,
    images: Mapping[str, bytes],
    facts: Sequence[tuple[str, str]],
    spec: str,
    command: str,
    explorer: str = "",
) -> str:
    """The HTML page: self-contained, without scripts, readable on a phone and in print.

    Args:
        answer: what to show.
        images: name of a picture -> PNG.
        facts: name and value of everything needed to reproduce it: versions, device ...
        spec: the spec as TOML.
        command: the command that reproduces it; empty if none does.
        explorer: name of the interactive page to link to; empty if there is none.
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, finalize=_finalized
    )
    template = environment.from_string(files("widebasin.report").joinpath("page.html").read_text("utf-8"))
    pictures = [(p, base64.b64encode(images[p.name]).decode()) for p in answer.pictures]
    spec_lines = Markup("\n").join(map(shown, spec.split("\n")))
    return template.render(
        answer=answer, pictures=pictures, facts=facts, spec=spec_lines, command=command, explorer=explorer
    )


def _finalized(value: Any) -> Any:
    """The value to fill into the template, before HTML characters are escaped."""
    return value if isinstance(value, Markup) else shown(str(value))
