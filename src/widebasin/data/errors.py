"""The error for data that cannot be used."""

from widebasin.shown import shown


class DataError(Exception):
    """Data are missing or invalid; the message has the file, the reason and the remedy."""

    def __init__(self, message: str) -> None:
        super().__init__(shown(message))
