"""The documentation site: ``sphinx-build -W -c docs . build/site`` makes it of the Markdown of this repository."""

import shutil
from pathlib import Path

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

from widebasin import __version__

project = "widebasin"
author = "the authors of widebasin"
release = version = __version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]

# The repository is the source, so that a link between its files is a link between pages.
root_doc = "README"
include_patterns = ["README.md", "CHANGELOG.md", "LICENSE", "docs/**", "benchmarks/README.md", "examples/README.md"]
NAVIGATION = {
    "Start": ("docs/tutorial",),
    "How to": (
        "docs/howto/own-model",
        "docs/howto/own-data",
        "docs/howto/choose-a-radius",
        "docs/howto/large-network",
        "docs/howto/read-the-report",
        "docs/recipes",
        "docs/python",
        "docs/howto/devices",
        "docs/howto/machines",
        "docs/howto/hosts",
        "examples/README",
    ),
    "Notebooks": ("docs/notebooks/overparameterization", "docs/notebooks/curvature"),
    "Concepts": (
        "docs/sam",
        "docs/methods",
        "docs/curvature",
        "docs/theory",
        "docs/width",
        "docs/workloads",
        "docs/data",
        "docs/sparsity",
        "docs/training",
        "docs/sweeps",
        "docs/studies",
        "docs/statistics",
    ),
    "Measured": ("docs/results/README", "benchmarks/README"),
    "Reference": tuple(
        f"docs/reference/{name}"
        for name in (
            "widebasin",
            "sam",
            "curvature",
            "theory",
            "parametrization",
            "sparsity",
            "data",
            "environments",
            "models",
            "training",
            "statistics",
            "workloads",
        )
    ),
    "Project": ("CHANGELOG",),
}

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_execution_in_temp = True
nb_merge_streams = True

autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints_format = "short"
maximum_signature_line_length = 100
napoleon_use_ivar = True

html_theme = "furo"
html_title = f"widebasin {__version__}"
html_copy_source = False
html_show_copyright = False
html_math_renderer = "mathml"
html_static_path = ["static"]
html_css_files = ["site.css"]


def add_navigation(app: Sphinx, name: str, source: list[str]) -> None:
    """Gives the first page the table of contents of the site."""
    if name == root_doc:
        for caption, pages in NAVIGATION.items():
            source[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n" + "\n".join(pages) + "\n```\n"


def mathml(latex: str, display: str) -> str:
    """A formula; the bars of norms stay as high as a letter."""
    bar = "&#x02016;</mo>"
    return convert(latex, display=display).replace(f"<mo>{bar}", f'<mo stretchy="false">{bar}')


def inline_formula(writer: HTML5Translator, node: nodes.math) -> None:
    """Writes MathML, which browsers show without a script."""
    writer.body.append(mathml(node.astext(), "inline"))
    raise nodes.SkipNode


def formula(writer: HTML5Translator, node: nodes.math_block) -> None:
    """As ``inline_formula``, on a line of its own."""
    writer.body.append(f'<div class="formula">{mathml(node.astext(), "block")}</div>')
    raise nodes.SkipNode


def add_index(app: Sphinx, error: Exception | None) -> None:
    """The first page under the name that web servers look for."""
    if error is None and app.builder.name == "html":
        shutil.copy(Path(app.outdir, f"{root_doc}.html"), Path(app.outdir, "index.html"))


def setup(app: Sphinx) -> None:
    """Adds what is above to Sphinx."""
    app.connect("source-read", add_navigation)
    app.connect("build-finished", add_index)
    app.add_html_math_renderer("mathml", (inline_formula, None), (formula, None))
