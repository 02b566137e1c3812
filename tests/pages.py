"""What the blocks of code in a page of the documentation say is to be done with them, after their language.

    ```python                 runs; the blocks of a page share their names, and all of a page its folder
    ```python file=mine.py    is written to that file
    ```bash run               runs in a shell
    ```bash                   commands of widebasin, which are parsed and not run
    ```toml file=grid.toml    a spec of a sweep, which is read
    ```text                   what the block before printed; of one that runs, lines without a digit are compared
    ```LANGUAGE not-run: WHY  is left alone

``python tests/pages.py docs/tutorial.md`` runs a page and writes what its commands print now into it.
"""

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(r"^```(?P<language>\w*) *(?P<mark>[^\n]*)\n(?P<source>.*?)^```$", re.MULTILINE | re.DOTALL)
KNOWN = re.compile(r"python|python file=\S+|bash|bash run|toml file=\S+|text|(bash|python) not-run: \S.*")


@dataclass(frozen=True)
class Block:
    """A block of code: its language with what is said after it, its text, and where in the page it begins and ends."""

    kind: str
    source: str
    start: int
    end: int


def blocks_of(text: str) -> list[Block]:
    """The blocks of code of a page in their order."""
    return [
        Block(f"{fence['language']} {fence['mark']}".strip(), fence["source"], *fence.span("source"))
        for fence in FENCE.finditer(text)
    ]


def commands(source: str) -> Iterator[list[str]]:
    """The commands in lines of a shell: what ``&&`` joins is several, and comments are none."""
    for line in source.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while "&&" in words:
            yield words[: words.index("&&")]
            words = words[words.index("&&") + 1 :]
        if words:
            yield words


def run_page(path: Path, folder: Path) -> str:
    """The page with what its commands print now; ``folder`` is where they run, and is to be the working directory."""
    text = path.read_text(encoding="utf-8")
    names, printed, now, done = {"__name__": "__main__"}, None, [], 0
    for block in blocks_of(text):
        kind, _, mark = block.kind.partition(" ")
        if "not-run:" in mark:
            printed = None
            continue
        if mark.startswith("file="):
            (folder / mark.removeprefix("file=")).write_text(block.source, encoding="utf-8")
        elif kind == "python":
            # The empty lines give a traceback the line numbers of the page.
            above = text.count("\n", 0, block.start)
            with contextlib.redirect_stdout(io.StringIO()) as printing:
                exec(compile("\n" * above + block.source, path.name, "exec"), names)
            printed = without_spaces(printing.getvalue())
        elif block.kind == "bash run":
            printed = in_shell(block.source, folder)
        elif kind == "text" and printed is not None:
            now += [text[done : block.start], printed]
            done = block.end
        if kind == "bash" and not mark:
            parse_commands(block.source)
        if kind == "toml":
            read_toml(folder / mark.removeprefix("file="))
    return "".join([*now, text[done:]])


def in_shell(source: str, folder: Path) -> str:
    """What the lines print, in a terminal of 100 columns; a command that fails is an error."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    finished = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", source],
        cwd=folder,
        env={**os.environ, "PATH": path, "COLUMNS": "100"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout
    return without_spaces(finished.stdout)


def without_spaces(printed: str) -> str:
    """The lines without spaces at their ends."""
    return "".join(f"{line.rstrip()}\n" for line in printed.splitlines())


def check_output(shown: str, printed: str) -> None:
    """That the lines shown which no number is in, such as headings and names, are among those printed."""
    there = {" ".join(line.split()) for line in printed.splitlines()}
    for line in shown.splitlines():
        if re.search(r"[^\W\d]", line) and not re.search(r"\d", line):
            assert " ".join(line.split()) in there, f"{line!r} is shown, but this is printed:\n{printed}"


def parse_commands(source: str) -> None:
    """Gives the commands to the parser of the command line."""
    from widebasin import cli

    for words in commands(source):
        assert words[0] == "widebasin", f"{' '.join(words)} is no command of widebasin: mark the block"
        try:
            cli._parse(words[1:])
        except SystemExit as ended:  # as --help does
            if ended.code:
                raise


def read_toml(path: Path) -> None:
    """Reads a spec of a sweep."""
    from widebasin.sweep import read_spec, resolve

    resolve(read_spec(path))


if __name__ == "__main__":
    for page in [Path(name).absolute() for name in sys.argv[1:]]:
        with tempfile.TemporaryDirectory() as there:
            os.chdir(there)
            page.write_text(run_page(page, Path(there)), encoding="utf-8")
