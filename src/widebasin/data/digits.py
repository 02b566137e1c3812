"""Handwritten digits included in scikit-learn: 1,797 real 8x8 images in 10 classes, no download."""

import functools
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from widebasin.data.dataset import Dataset


@functools.cache
def digits() -> Dataset:
    """The digits as 64 floats in [0, 1] and labels 0..9; there is no official test set.

    Source: Alpaydin & Kaynak 1998, "Optical Recognition of Handwritten Digits", UCI (its test part), by
    ``sklearn.datasets.load_digits``.
    """
    images, labels = _load()
    return Dataset(
        name="digits",
        inputs=np.asarray(images, np.float32) / np.float32(16),
        targets=np.asarray(labels, np.int32),
        num_classes=10,
    )


def _load() -> tuple[np.ndarray, np.ndarray]:
    """The data of ``load_digits``, read from its file if found: importing scikit-learn takes a second or two."""
    package = find_spec("sklearn")
    file = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz" if package and package.origin else None
    if file is not None and file.is_file():
        table = np.loadtxt(file, delimiter=",")
        return table[:, :-1], table[:, -1]
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return np.asarray(images), np.asarray(labels)


@functools.cache
def digit_images() -> Dataset:
    """The digits as images of 8 x 8 pixels with one channel, floats in [0, 1]."""
    flat = digits()
    return replace(flat, inputs=flat.inputs.reshape(-1, 8, 8, 1))
