"""Which files are images and which folders are classes: the rule for all code that reads class folders."""

from collections.abc import Sequence

SUFFIXES = (".jpg", ".jpeg", ".png")


def is_hidden(name: str) -> bool:
    """Whether a file or folder is skipped with its content: ``.ipynb_checkpoints``, ``._1.png``."""
    return name.startswith(".")


def names_image(name: str) -> bool:
    """Whether a file of this name counts as an image: not hidden, with an image extension in upper or lower case."""
    return name.lower().endswith(SUFFIXES) and not is_hidden(name)


def names_class_image(parts: Sequence[str], split: Sequence[str]) -> bool:
    """Whether the parts of a path end in ``<part>/<class>/<image>``, with nothing hidden.

    Args:
        parts: parts of the path below the source.
        split: allowed names of the part, such as "train" and "test".
    """
    return len(parts) >= 3 and parts[-3] in split and names_image(parts[-1]) and not any(map(is_hidden, parts))
