"""What is wrong with data that cannot be used."""

from widebasin.shown import shown


class DataError(Exception):
    """Data that are missing or not as they should be; the message names the file, the reason and the remedy."""

    def __init__(self, message: str) -> None:
        super().__init__(shown(message))
