import numpy as np
import pytest

from widebasin.data import teacher_regression

draw = teacher_regression.__wrapped__  # the function behind its cache


def test_shapes_and_kind():
    data = teacher_regression(examples=50, features=7, neurons=3)
    assert data.inputs.shape == (50, 7)
    assert data.targets.shape == (50, 1)
    assert (data.inputs.dtype, data.targets.dtype) == (np.float32, np.float32)
    assert data.num_classes is None
    assert len(data) == 50


def test_inputs_are_standard_normal():
    """Means within 5 standard errors, covariances within 5 / sqrt(examples) of the identity."""
    inputs = teacher_regression().inputs.astype(float)
    bound = 5 / np.sqrt(len(inputs))
    assert np.abs(inputs.mean(0)).max() < bound
    assert np.abs(np.cov(inputs.T) - np.eye(98))[~np.eye(98, dtype=bool)].max() < bound
    np.testing.assert_allclose(inputs.var(0), 1, atol=np.sqrt(2) * bound)


def test_targets_without_noise_have_mean_zero_and_variance_one():
    targets = teacher_regression(noise=0.0).targets.astype(float)
    np.testing.assert_allclose(targets.mean(), 0, atol=1e-6)
    np.testing.assert_allclose(targets.var(), 1, rtol=1e-6)


@pytest.mark.parametrize("noise", [0.1, 0.5, 2.0])
def test_noise_is_scaled_standard_normal_on_the_same_teacher(noise):
    clean, noisy = teacher_regression(noise=0.0), teacher_regression(noise=noise)
    np.testing.assert_array_equal(clean.inputs, noisy.inputs)
    draws = (noisy.targets - clean.targets).astype(float) / noise
    reference = (teacher_regression(noise=1.0).targets - clean.targets).astype(float)
    np.testing.assert_allclose(draws, reference, atol=1e-5)
    bound = 5 / np.sqrt(len(draws))
    assert abs(draws.mean()) < bound
    assert abs(draws.std() - 1) < bound
    assert abs(np.corrcoef(draws[:, 0], clean.targets[:, 0])[0, 1]) < bound


def test_targets_are_a_function_of_few_relu_directions():
    """One neuron on one feature: y is affine in x on x > 0 and on x < 0, and constant on one of them."""
    data = teacher_regression(examples=200, features=1, neurons=1, noise=0.0)
    x, y = data.inputs[:, 0].astype(float), data.targets[:, 0].astype(float)
    slopes = []
    for side in (x > 0, x < 0):
        slope, intercept = np.polyfit(x[side], y[side], 1)
        np.testing.assert_allclose(y[side], slope * x[side] + intercept, atol=1e-5)
        slopes.append(abs(slope))
    assert min(slopes) < 1e-5
    assert max(slopes) > 0.1


def test_the_same_seed_draws_the_same_data_and_another_seed_another():
    first, again, other = draw(seed=0), draw(seed=0), draw(seed=1)
    np.testing.assert_array_equal(first.inputs, again.inputs)
    np.testing.assert_array_equal(first.targets, again.targets)
    assert not np.array_equal(first.inputs, other.inputs)
    assert not np.array_equal(first.targets, other.targets)
