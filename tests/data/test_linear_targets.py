import numpy as np
import pytest

from widebasin.data import matrix_targets, noisy_linear_targets

# The functions behind their caches.
draw_matrix, draw_linear = matrix_targets.__wrapped__, noisy_linear_targets.__wrapped__


def fit(data, width: int, examples: int):
    """Least squares on the first features of the first examples: weights and residuals of these."""
    inputs, targets = data.inputs[:examples, :width].astype(float), data.targets[:examples].astype(float)
    weights = np.linalg.lstsq(inputs, targets, rcond=None)[0]
    return weights, targets - inputs @ weights


# matrix_targets ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_targets_are_a_matrix_of_rank_6_times_the_inputs(seed):
    data = draw_matrix(seed=seed)
    transposed, residuals = fit(data, 6, len(data))
    assert transposed.shape == (6, 10)
    assert np.abs(residuals).max() < 1e-5
    assert np.linalg.svd(transposed, compute_uv=False).min() > 0.05
    # No matrix of rank 4 has these targets: what is left is at least the smaller singular values.
    left = np.linalg.svd(data.targets.astype(float), compute_uv=False)[4:]
    assert left[:2].min() > 1.0
    assert left[2:].max() < 1e-3


def test_rows_of_the_matrix_are_uniform_and_shrink_linearly_to_nothing():
    """Row i is ``1 - i / 9`` times draws in [0, 1), whose mean over 60 seeds of 6 is 1/2 to 5 standard errors."""
    rows = np.stack([fit(draw_matrix(20, seed), 6, 20)[0].T for seed in range(60)])
    diagonal = 1 - np.arange(10) / 9
    assert np.abs(rows[:, 9]).max() < 1e-6
    uniform = rows[:, :9] / diagonal[:9, None]
    assert uniform.min() > -1e-4
    assert uniform.max() < 1 + 1e-4
    assert np.abs(uniform.mean(axis=(0, 2)) - 0.5).max() < 5 * np.sqrt(1 / 12 / 360)


# noisy_linear_targets ----------------------------------------------------------------------------------------------


def test_as_many_features_as_examples_interpolate_and_fewer_cannot():
    data = noisy_linear_targets()
    _, none_left = fit(data, 100, 100)
    assert np.abs(none_left).max() < 1e-8
    _, left = fit(data, 20, 100)
    # Of 80 degrees of freedom, the noise and the 380 features left out: 5 standard deviations of a chi-square.
    expected = 0.25 + 380 / 400
    assert abs((left**2).sum() / 80 / expected - 1) < 5 * np.sqrt(2 / 80)


@pytest.mark.parametrize("noise", [0.1, 0.5, 2.0])
def test_noise_has_the_standard_deviation_asked_for(noise):
    """Residuals of all features: noise**2 times a chi-square of 300 degrees of freedom."""
    _, residuals = fit(draw_linear(400, 100, noise), 100, 400)
    assert abs((residuals**2).sum() / 300 / noise**2 - 1) < 5 * np.sqrt(2 / 300)


def test_without_noise_targets_are_linear_with_variance_about_1():
    data = draw_linear(400, 100, noise=0.0)
    weights, residuals = fit(data, 100, 400)
    assert np.abs(residuals).max() < 1e-5
    assert abs((weights**2).mean() - 1) < 5 * np.sqrt(2 / 100)
    assert abs(data.targets.var() - 1) < 5 * np.sqrt(2 / 100 + 2 / 400)


def test_inputs_are_normal_with_variance_1_over_features():
    inputs = draw_linear(examples=2_000, features=30).inputs.astype(float)
    bound = 5 / np.sqrt(2_000)
    np.testing.assert_allclose(30 * np.cov(inputs.T), np.eye(30), atol=np.sqrt(2) * bound)
    assert np.sqrt(30) * np.abs(inputs.mean(0)).max() < bound


# Both --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("draw", "shapes"),
    [
        (lambda **seed: draw_matrix(50, **seed), ((50, 6), (50, 10))),
        (lambda **seed: draw_linear(50, 7, **seed), ((50, 7), (50, 1))),
    ],
    ids=["matrix", "linear"],
)
def test_the_seed_decides(draw, shapes):
    first, again, other = draw(seed=0), draw(seed=0), draw(seed=1)
    assert (first.inputs.shape, first.targets.shape) == shapes
    assert (first.inputs.dtype, first.targets.dtype, first.num_classes) == (np.float32, np.float32, None)
    for part in ("inputs", "targets"):
        np.testing.assert_array_equal(getattr(first, part), getattr(again, part))
        assert np.abs(getattr(first, part) - getattr(other, part)).max() > 0.1
