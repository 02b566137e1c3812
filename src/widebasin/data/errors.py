"""What is wrong with data that cannot be used."""


class DataError(Exception):
    """Data that are missing or not as they should be; the message names the file, the reason and the remedy."""

    def __init__(self, message: str) -> None:
        super().__init__(shown(message))


def shown(text: str) -> str:
    """A text with names of files in it, which may hold anything: as escapes, what cannot be printed or is no UTF-8."""
    return "".join(letter if letter.isprintable() or letter == "\n" else ascii(letter)[1:-1] for letter in text)
