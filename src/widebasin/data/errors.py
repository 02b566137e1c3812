"""What is wrong with data that cannot be used."""


class DataError(Exception):
    """Data that are missing or not as they should be; the message names the file, the reason and the remedy."""
