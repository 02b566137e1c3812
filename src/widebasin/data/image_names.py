"""Which files are images and which folders are classes: one rule for all that reads a folder per class."""

from collections.abc import Sequence

SUFFIXES = (".jpg", ".jpeg", ".png")


def is_hidden(name: str) -> bool:
    """Whether a file or folder is passed over, with all in it: ``.ipynb_checkpoints``, ``._1.png``."""
    return name.startswith(".")


def names_image(name: str) -> bool:
    """Whether a file of this name, if it is one, is taken for an image: not hidden, and ends like one in any case."""
    return name.lower().endswith(SUFFIXES) and not is_hidden(name)


def names_class_image(parts: Sequence[str], split: Sequence[str]) -> bool:
    """Whether the parts of a path end in ``<part>/<class>/<image>``, nothing in it hidden.

    Args:
        parts: of the path, below the source.
        split: what the part may be called, such as "train" and "test".
    """
    return len(parts) >= 3 and parts[-3] in split and names_image(parts[-1]) and not any(map(is_hidden, parts))
