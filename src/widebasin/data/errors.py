"""What is wrong with data that cannot be used."""


class DataError(Exception):
    """Data that are missing or not as they should be; the message names the file, the reason and the remedy.

    Names of files may hold anything: control characters, and bytes that are no UTF-8, are shown as escapes.
    """

    def __init__(self, message: str) -> None:
        shown = "".join(letter if letter.isprintable() or letter == "\n" else ascii(letter)[1:-1] for letter in message)
        super().__init__(shown)
