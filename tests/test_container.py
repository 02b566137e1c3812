"""The recipe for a container, which is not built here: what it copies and installs exists."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_recipe_copies_what_the_package_is_built_from_and_knows_its_extras():
    text = (ROOT / "Containerfile").read_text()
    copied = {name for line in re.findall(r"^COPY (.*) /source", text, re.M) for name in line.split()}
    kept = {line.removeprefix("!") for line in (ROOT / ".containerignore").read_text().split() if line != "*"}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert copied == kept
    assert {"src", "pyproject.toml", project["readme"], *project["license-files"]} == copied
    extras = {name for given in re.findall(r"EXTRAS=([\w,]+)", text) for name in given.split(",")}
    assert extras
    assert extras <= project["optional-dependencies"].keys()
    assert project["requires-python"] == ">=3.11"
    assert re.search(r"^FROM \S*python:3\.1[1-3]", text, re.M)
