"""Packs learning curves for a page: fewer epochs, and numbers with four digits in three bytes."""

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

# Epochs of a network that a page shows at most, and at least, however many networks there are.
MOST_EPOCHS, LEAST_EPOCHS = 80, 10
# Characters that a number takes in base 64.
CHARACTERS = 4


def thinned(epochs: int, most: int) -> np.ndarray:
    """The epochs of a network to show, counted from 1: evenly spread, including the first and the last."""
    return np.unique(np.round(np.linspace(1, epochs, min(epochs, most))).astype(int))


def three_bytes(values: np.ndarray) -> bytes:
    """Numbers as the upper three bytes of 32-bit floats, big-endian, rounded to nearest: a relative error of 2^-16.

    Infinities and NaN are kept.
    """
    with np.errstate(over="ignore"):
        single = np.asarray(values, np.float32)
    bits = np.where(np.isnan(single), np.float32(np.nan), single).view(np.uint32)
    rounded = np.where(np.isfinite(single), bits + np.uint32(0x80), bits)
    return rounded.astype(">u4").view(np.uint8).reshape(-1, 4)[:, :3].tobytes()


def packed_curves(history: pd.DataFrame, network: pd.Series, columns: Sequence[str], room: int) -> dict[str, Any]:
    """Learning curves as plain data.

    Args:
        history: one row per network and epoch.
        network: the number of the network of each row, from 0 without gaps.
        columns: the columns of numbers.
        room: maximum number of characters.

    Returns:
        ``most``, maximum number of epochs shown per network; ``epochs``, number of epochs of a network -> the epochs
        shown; ``counts``, number of epochs per network; ``values``, the numbers from ``three_bytes`` in base 64,
        network by network, column by column.
    """
    ordered = history.assign(network_number=network.to_numpy()).sort_values(["network_number", "epoch"], kind="stable")
    counts = np.bincount(ordered["network_number"]) if len(ordered) else np.zeros(0, int)
    fits = room // max(1, CHARACTERS * len(columns) * len(counts))
    most = int(np.clip(fits, LEAST_EPOCHS, MOST_EPOCHS))
    shown = {int(count): thinned(count, most) for count in np.unique(counts)}
    values, start = ordered[list(columns)].to_numpy(float), 0
    parts = []
    for count in counts:
        parts.append(values[start + shown[int(count)] - 1].T.ravel())
        start += count
    content = three_bytes(np.concatenate(parts)) if parts else b""
    return {
        "most": most,
        "epochs": {str(count): epochs.tolist() for count, epochs in shown.items()},
        "counts": counts.tolist(),
        "values": base64.b64encode(content).decode(),
    }
