"""One-dimensional regression: twelve points, and a grid to draw functions on."""

import functools

import numpy as np

from widebasin.data.dataset import Dataset

POINTS, GRID = 12, 201
SPAN = 1.25


@functools.cache
def points_on_a_line(seed: int = 0) -> Dataset:
    """Twelve points ``(x, y)`` with ``x`` evenly spaced in [-1, 1], and a grid over [-1.25, 1.25] to compare functions.

    Targets are a teacher of three ReLU neurons, plus noise at the training points only. The split is fixed: first the
    12 training points, then 11 points midway between them for validation, then the grid.

    Args:
        seed: seed of teacher and noise.

    Source: the task is that of Andriushchenko & Flammarion 2022 (arXiv 2206.06232), which arXiv 2311.17539 also uses;
    points and teacher are ours.
    """
    generator = np.random.default_rng(seed)
    slopes, offsets = generator.choice((-1.0, 1.0), 3), generator.uniform(-0.6, 0.6, 3)
    weights = generator.choice((-1.0, 1.0), 3) * generator.uniform(1.0, 2.0, 3)

    def teacher(x: np.ndarray) -> np.ndarray:
        return np.maximum(slopes * x[:, None] - offsets, 0) @ weights

    train = np.linspace(-1, 1, POINTS)
    midway = (train[1:] + train[:-1]) / 2
    grid = np.linspace(-SPAN, SPAN, GRID)
    targets = [teacher(train) + 0.1 * generator.standard_normal(POINTS), teacher(midway), teacher(grid)]
    inputs = np.concatenate([train, midway, grid])[:, None].astype(np.float32)
    return Dataset("line", inputs, np.concatenate(targets)[:, None].astype(np.float32), None, shuffled=False)
