import jax
import numpy as np
import pytest

from widebasin.data import points_on_a_line, split_examples
from widebasin.workloads import WORKLOADS

draw = points_on_a_line.__wrapped__  # the function behind its cache
SEEDS = range(100)


def parts(data):
    """(x, y) of the training points, of those to validate on and of the grid."""
    values = np.hstack([data.inputs, data.targets]).astype(float)
    return [part.T for part in np.split(values, [12, 23])]


@pytest.mark.parametrize("seed", range(3))
def test_every_key_splits_it_into_points_places_between_them_and_a_grid(seed):
    data = points_on_a_line()
    split = split_examples(jax.random.key(seed), len(data), WORKLOADS["line-mlp"].sizes, shuffled=data.shuffled)
    train, valid, test = (data.inputs[np.asarray(part), 0] for part in split)
    np.testing.assert_allclose(train, -1 + 2 * np.arange(12) / 11, atol=1e-6)
    np.testing.assert_allclose(valid, (-1 + 2 * np.arange(12) / 11)[:-1] + 1 / 11, atol=1e-6)
    np.testing.assert_allclose(test, np.linspace(-1.25, 1.25, 201), atol=1e-6)


def test_the_grid_has_a_function_of_three_relu_neurons():
    """Piecewise linear with at most three kinks: a kink bends at most two neighbouring second differences."""
    for seed in SEEDS:
        _, _, (_, y) = parts(draw(seed))
        bends = np.abs(np.diff(y, 2)) > 1e-5
        assert 1 <= bends.sum() <= 6


def test_places_between_the_points_are_on_that_function():
    """Away from at most three cells of the grid with a kink, the grid interpolates it exactly."""
    for seed in SEEDS:
        _, (x, y), grid = parts(draw(seed))
        misses = np.abs(y - np.interp(x, *grid))
        assert (misses > 1e-5).sum() <= 3
        # Three slopes of at most 2 over half a cell of 1/80.
        assert misses.max() <= 6 / 160


def test_training_points_have_noise_of_a_tenth():
    residuals = np.stack([y - np.interp(x, *grid) for (x, y), _, grid in map(parts, map(draw, SEEDS))])
    draws = residuals.size
    assert abs(residuals.std() / 0.1 - 1) < 5 / np.sqrt(2 * draws)
    assert abs(residuals.mean()) < 5 * 0.1 / np.sqrt(draws)
    # Independent from point to point.
    assert abs(np.corrcoef(residuals[:, :-1].ravel(), residuals[:, 1:].ravel())[0, 1]) < 5 / np.sqrt(draws)


def test_the_seed_decides_the_targets_and_not_the_places():
    first, again, other = draw(0), draw(0), draw(1)
    np.testing.assert_array_equal(first.targets, again.targets)
    np.testing.assert_array_equal(first.inputs, other.inputs)
    assert np.abs(first.targets - other.targets).max() > 0.1
