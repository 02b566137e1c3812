"""Safe display of text from outside: names of files, folders and classes, records, values that a user gave.

Everything that is printed, drawn or written to a page goes through ``shown``. This module imports no other.
"""

import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def shown(text: str) -> str:
    r"""Escapes whatever could control the terminal, break the line or change the reading direction.

    Control characters, direction marks, invisible characters and undecodable bytes are written as Python escapes, such
    as ``\x1b``, ``\n`` or ``\u202e``; applying it twice changes nothing more.

    >>> print(shown("a\x1b[31m.npz"))
    a\x1b[31m.npz
    """
    if text.isprintable():
        return text
    return "".join(one if _harmless(one) else one.encode("unicode_escape").decode() for one in text)


def shown_lines(text: str) -> str:
    """Applies ``shown`` to each line of a text."""
    return "\n".join(map(shown, text.split("\n")))


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type if it has none."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def say(console: "Console", text: str, style: str = "", *, whole: bool = True) -> None:
    """Prints a text as it is: nothing in it is markup, an emoji or a command to the terminal.

    Args:
        console: where to print.
        text: one line.
        style: a rich style, such as ``red``.
        whole: whether the terminal wraps a long line, so that it can be copied whole; otherwise it is wrapped between
            words.
    """
    from rich.text import Text

    console.print(Text(shown(text), style), soft_wrap=whole)


def _harmless(one: str) -> bool:
    # Spaces of other widths are not printable to Python.
    return one.isprintable() or unicodedata.category(one) == "Zs"
