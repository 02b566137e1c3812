"""Data in the shape of MNIST, made in memory: for speed, what the images show does not matter."""

import numpy as np

from widebasin.data import Dataset

FEATURES, CLASSES = 784, 10


def mnist_shaped(examples: int, seed: int = 0) -> Dataset:
    """Uniform inputs in [0, 1] of shape ``(examples, 784)`` and labels of 10 classes from a random linear map."""
    generator = np.random.default_rng(seed)
    inputs = generator.random((examples, FEATURES), np.float32)
    scores = (inputs - 0.5) @ generator.standard_normal((FEATURES, CLASSES), np.float32)
    return Dataset("MNIST-shaped", inputs, scores.argmax(axis=1).astype(np.int32), CLASSES)
