"""Reading back what ``report.curves`` packs."""

import base64

import numpy as np


def numbers(packed: dict) -> np.ndarray:
    content = np.frombuffer(base64.b64decode(packed["values"]), np.uint8).reshape(-1, 3)
    whole = np.concatenate([content, np.zeros((len(content), 1), np.uint8)], axis=1)
    return whole.copy().view(">f4").ravel().astype(float)


def curve(packed: dict, network: int, column: int, columns: int) -> tuple[list[int], np.ndarray]:
    """Epochs and values of a network."""
    lengths = [len(packed["epochs"][str(count)]) for count in packed["counts"]]
    epochs = packed["epochs"][str(packed["counts"][network])]
    start = columns * sum(lengths[:network]) + column * len(epochs)
    return epochs, numbers(packed)[start : start + len(epochs)]
