"""Synthetic regression: inputs are Gaussian, targets come from a random two-layer network, the teacher."""

import functools

import numpy as np

from widebasin.data.dataset import Dataset


@functools.cache
def teacher_regression(
    examples: int = 2_000, features: int = 98, neurons: int = 16, noise: float = 0.1, seed: int = 0
) -> Dataset:
    """Examples ``x ~ N(0, I)`` and targets ``y = (v^T relu(W x) - mean) / std + noise * N(0, 1)``.

    ``W`` has rows ``N(0, I / features)`` and ``v`` is ``N(0, I)``; mean and standard deviation are taken over the drawn
    examples, so the targets' variance is ``1 + noise**2``.

    Args:
        examples: number of examples.
        features: dimension of the inputs.
        neurons: width of the teacher.
        noise: standard deviation of the noise on the targets, relative to the teacher's output.
        seed: seed of teacher and examples; the split depends on the network's seed.

    Returns:
        A regression data set with targets of shape ``(examples, 1)``.
    """
    generator = np.random.default_rng(seed)
    inputs = generator.standard_normal((examples, features))
    hidden = np.maximum(inputs @ generator.standard_normal((features, neurons)) / np.sqrt(features), 0)
    targets = hidden @ generator.standard_normal((neurons, 1))
    targets = (targets - targets.mean()) / targets.std() + noise * generator.standard_normal((examples, 1))
    return Dataset("teacher", inputs.astype(np.float32), targets.astype(np.float32), num_classes=None)
