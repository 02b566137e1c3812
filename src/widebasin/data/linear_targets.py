"""Regression on linear functions of Gaussian inputs: for matrix factorization, and noisy least squares."""

import functools

import numpy as np

from widebasin.data.dataset import Dataset


@functools.cache
def matrix_targets(examples: int = 1_400, seed: int = 0) -> Dataset:
    """Examples ``x ~ N(0, I_6)`` and targets ``A x`` with ``A = diag(1, ..., 1e-10) U``, ``U`` uniform 10x6 in [0, 1).

    The diagonal falls linearly. ``A`` has rank 6: a product of matrices of rank 4 cannot equal it, but rank 10 can.

    Args:
        examples: number of examples.
        seed: seed of matrix and examples; the split depends on the network's seed.

    Source: Loizou et al. 2021 (arXiv 2002.10542), as used in arXiv 2311.17539.
    """
    generator = np.random.default_rng(seed)
    matrix = np.linspace(1, 1e-10, 10)[:, None] * generator.uniform(size=(10, 6))
    inputs = generator.standard_normal((examples, 6))
    targets = inputs @ matrix.T
    return Dataset("matrix", inputs.astype(np.float32), targets.astype(np.float32), num_classes=None)


@functools.cache
def noisy_linear_targets(examples: int = 1_000, features: int = 400, noise: float = 0.5, seed: int = 0) -> Dataset:
    """Examples ``x ~ N(0, I / features)`` and targets ``w . x + noise * N(0, 1)`` with ``w ~ N(0, I)``.

    Fitting the noise needs as many weights as training examples, so interpolation depends on width.

    Args:
        examples: number of examples.
        features: dimension of the inputs.
        noise: standard deviation of the noise on the targets; ``w . x`` has about 1.
        seed: seed of weights and examples; the split depends on the network's seed.
    """
    generator = np.random.default_rng(seed)
    inputs = generator.standard_normal((examples, features)) / np.sqrt(features)
    targets = inputs @ generator.standard_normal((features, 1)) + noise * generator.standard_normal((examples, 1))
    return Dataset("linear", inputs.astype(np.float32), targets.astype(np.float32), num_classes=None)
