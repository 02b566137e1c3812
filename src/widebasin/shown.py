"""Text from outside as it is shown: names of files, folders and classes, records, values that a user gave.

Whatever is printed, drawn or written to a page goes through ``shown``. It lies below everything and loads nothing.
"""

import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def shown(text: str) -> str:
    r"""A text in which nothing commands the terminal, breaks the line or turns the reading direction.

    Control characters, marks of direction, invisible characters and bytes that are no text are written as Python writes
    them, such as ``\x1b``, ``\n`` or ``\u202e``; a text that is shown already stays as it is.

    >>> print(shown("a\x1b[31m.npz"))
    a\x1b[31m.npz
    """
    if text.isprintable():
        return text
    return "".join(one if _harmless(one) else one.encode("unicode_escape").decode() for one in text)


def shown_lines(text: str) -> str:
    """A text of several lines, each as it is shown."""
    return "\n".join(map(shown, text.split("\n")))


def say(console: "Console", text: str, style: str = "", *, whole: bool = True) -> None:
    """Prints a text as it is: nothing in it is markup, an emoji or a command to the terminal.

    Args:
        console: where.
        text: one line.
        style: such as ``red``.
        whole: whether a line longer than the terminal is left to the terminal, so that it can be copied; else it is
            broken between words.
    """
    from rich.text import Text

    console.print(Text(shown(text), style), soft_wrap=whole)


def _harmless(one: str) -> bool:
    # Spaces of other widths are not printable to Python.
    return one.isprintable() or unicodedata.category(one) == "Zs"
