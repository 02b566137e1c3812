import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from widebasin.models import LinearNetwork, LinearRegression, count_parameters


@pytest.mark.parametrize("sizes", [(5, 3), (6, 4, 10), [6, 10, 10], (3, 7, 2, 5)])
def test_a_network_is_the_product_of_its_matrices(sizes):
    with jax.enable_x64(True):
        key, inputs_key = jax.random.split(jax.random.key(0))
        model = LinearNetwork(sizes, key=key)
        inputs = jax.random.normal(inputs_key, (11, sizes[0]))
        outputs = np.asarray(jax.vmap(model)(inputs))
    product = np.eye(sizes[0])
    for weight in model.weights:
        product = np.asarray(weight) @ product
    assert outputs.dtype == np.float64
    np.testing.assert_allclose(outputs, np.asarray(inputs) @ product.T, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("sizes", [(4, 1), (6, 4, 10), (3, 7, 2, 5)])
def test_parameters_are_the_entries_of_the_matrices(sizes):
    model = LinearNetwork(sizes, key=jax.random.key(0))
    pairs = list(zip(sizes[1:], sizes[:-1], strict=True))
    assert [weight.shape for weight in model.weights] == pairs
    assert count_parameters(model) == sum(outputs * inputs for outputs, inputs in pairs)


def test_weights_are_drawn_with_variance_1_over_fan_in():
    """The variance of n normal draws is within 5 sqrt(2 / n) of its expectation, relatively."""
    model = LinearNetwork((400, 100, 300), key=jax.random.key(0))
    for weight, fan_in in zip(model.weights, (400, 100), strict=True):
        draws = np.asarray(weight, float).ravel()
        assert abs(draws.var() * fan_in - 1) < 5 * np.sqrt(2 / draws.size)
        assert abs(draws.mean()) < 5 / np.sqrt(fan_in * draws.size)


def test_matrices_are_drawn_independently_and_by_the_key():
    first, again, other = (LinearNetwork((20, 20, 20), key=jax.random.key(seed)) for seed in (0, 0, 1))
    one, two = (np.asarray(weight).ravel() for weight in first.weights)
    assert abs(np.corrcoef(one, two)[0, 1]) < 5 / np.sqrt(400)
    assert abs(np.corrcoef(one, np.asarray(other.weights[0]).ravel())[0, 1]) < 5 / np.sqrt(400)
    assert eqx.tree_equal(first, again)


@pytest.mark.parametrize("sizes", [(), (5,), (5, 0), (0, 5), (5, -1, 2)])
def test_sizes_of_no_network_are_refused(sizes):
    with pytest.raises(ValueError, match=r"sizes must be at least two numbers, each at least 1, got \("):
        LinearNetwork(sizes, key=jax.random.key(0))


@pytest.mark.parametrize(("width", "outputs"), [(1, 1), (3, 1), (5, 4)])
def test_regression_starts_at_zero_with_a_weight_for_each_feature_and_output(width, outputs):
    model = LinearRegression(width, outputs)
    assert model.weight.shape == (outputs, width)
    assert count_parameters(model) == outputs * width
    np.testing.assert_array_equal(model(jnp.ones(7)), np.zeros(outputs))


def test_regression_uses_the_first_features_alone():
    model = eqx.tree_at(
        lambda model: model.weight, LinearRegression(3, 2), jnp.array([[1.0, 2.0, 3.0], [0.0, -1.0, 4.0]])
    )
    np.testing.assert_array_equal(model(jnp.array([1.0, 10.0, 100.0, 1e6, np.nan])), [321.0, 390.0])
    by_feature = jax.jacobian(lambda x: model(x))(jnp.arange(6.0))
    np.testing.assert_array_equal(by_feature, np.hstack([model.weight, np.zeros((2, 3))]))


def test_the_gradient_of_regression_is_that_of_least_squares():
    inputs, targets = (
        jax.random.normal(key, shape)
        for key, shape in zip(jax.random.split(jax.random.key(0)), [(9, 6), (9, 1)], strict=True)
    )
    model = LinearRegression(4)
    gradient = jax.grad(lambda model: jnp.sum((jax.vmap(model)(inputs) - targets) ** 2))(model)
    np.testing.assert_allclose(gradient.weight, -2 * np.asarray(targets).T @ np.asarray(inputs)[:, :4], rtol=1e-5)


@pytest.mark.parametrize(("width", "outputs"), [(0, 1), (3, 0), (-1, 1)])
def test_a_regression_without_features_or_outputs_is_refused(width, outputs):
    with pytest.raises(ValueError, match=f"width and outputs must be at least 1, got {width} and {outputs}"):
        LinearRegression(width, outputs)


def test_fewer_features_than_the_width_are_refused():
    with pytest.raises(ValueError, match="the examples must have at least 4 features, got 3"):
        LinearRegression(4)(jnp.ones(3))
