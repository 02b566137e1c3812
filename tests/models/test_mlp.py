import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from widebasin.models import MLP, count_parameters


@pytest.mark.parametrize(
    ("width", "parameters"),
    [(25, 61_035), (50, 125_810), (100, 266_610), (400, 1_426_410), (1000, 5_366_010)],
)
def test_the_ladder_has_the_published_parameter_counts(width, parameters):
    """784 - 3w - w - 10, the counts on the axes of arXiv 2311.17539."""
    model = eqx.filter_eval_shape(lambda key: MLP.ladder(784, 10, width, key=key), jax.random.key(0))
    assert count_parameters(model) == parameters


@pytest.mark.parametrize("width", [1, 4, 32])
def test_the_ladder_has_hidden_layers_of_3w_and_w(width):
    model = MLP.ladder(64, 10, width, key=jax.random.key(0))
    assert [weight.shape for weight in model.weights] == [(3 * width, 64), (width, 3 * width), (10, width)]
    assert [bias.shape for bias in model.biases] == [(3 * width,), (width,), (10,)]


@pytest.mark.parametrize("sizes", [(5, 3), (5, 7, 3), [5, 7, 4, 1]])
def test_the_forward_pass_equals_numpy_in_float64(sizes):
    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(0), 3)
        model = MLP(sizes, key=keys[0])
        biases = [
            jax.random.normal(k, b.shape) for k, b in zip(jax.random.split(keys[1], 3), model.biases, strict=False)
        ]
        model = eqx.tree_at(lambda model: model.biases, model, biases)
        inputs = jax.random.normal(keys[2], (11, 5))
        outputs = np.asarray(jax.vmap(model)(inputs))
    expected = np.asarray(inputs)
    for i, (weight, bias) in enumerate(zip(model.weights, model.biases, strict=True)):
        expected = expected @ np.asarray(weight).T + np.asarray(bias)
        if i < len(model.weights) - 1:
            expected = np.maximum(expected, 0)
    assert outputs.dtype == np.float64
    np.testing.assert_allclose(outputs, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("sizes", [(5, 3), (5, 7, 6, 3)])
def test_activation_patterns_alone_tell_the_linear_map_that_the_network_is(sizes):
    """With every ReLU a mask, what remains of the network is affine and gives the same outputs."""
    model = MLP(sizes, key=jax.random.key(0))
    inputs = jax.random.normal(jax.random.key(1), (11, 5))
    patterns = jax.vmap(model.activation_patterns)(inputs)
    assert [(pattern.shape, pattern.dtype) for pattern in patterns] == [((11, size), bool) for size in sizes[1:-1]]
    x = np.asarray(inputs, float)
    for index, (weight, bias) in enumerate(zip(model.weights, model.biases, strict=True)):
        x = x @ np.asarray(weight).T + np.asarray(bias)
        x = x * np.asarray(patterns[index]) if index < len(patterns) else x
    np.testing.assert_allclose(jax.vmap(model)(inputs), x, rtol=1e-5, atol=1e-6)


def test_weights_are_drawn_with_variance_2_over_fan_in_and_biases_are_zero():
    """The variance of n normal draws is within 5 sqrt(2 / n) of its expectation, relatively."""
    model = MLP((784, 300, 100, 10), key=jax.random.key(0))
    for weight, fan_in in zip(model.weights, (784, 300, 100), strict=True):
        draws = np.asarray(weight, float).ravel()
        assert abs(draws.var() * fan_in / 2 - 1) < 5 * np.sqrt(2 / draws.size)
        assert abs(draws.mean()) < 5 * np.sqrt(2 / fan_in / draws.size)
    assert all(not np.asarray(bias).any() for bias in model.biases)


def test_layers_are_drawn_independently():
    model = MLP((20, 20, 20), key=jax.random.key(0))
    assert abs(np.corrcoef(model.weights[0].ravel(), model.weights[1].ravel())[0, 1]) < 5 / np.sqrt(400)


def test_the_key_decides():
    first, again, other = (MLP((4, 3, 2), key=jax.random.key(seed)) for seed in (0, 0, 1))
    assert eqx.tree_equal(first, again)
    assert not eqx.tree_equal(first, other)


def test_all_leaves_are_arrays():
    """So the model is its own parameters: no partition is needed before differentiating it."""
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(MLP((4, 3, 2), key=jax.random.key(0))))


@pytest.mark.parametrize("sizes", [(), (5,), (5, 0, 3), (0, 3), (5, -1)])
def test_sizes_that_make_no_network_are_refused(sizes):
    with pytest.raises(ValueError, match="at least two numbers, each at least 1") as error:
        MLP(sizes, key=jax.random.key(0))
    assert str(sizes) in str(error.value)


def test_one_example_of_the_wrong_size_is_refused():
    with pytest.raises(TypeError):
        MLP((5, 3), key=jax.random.key(0))(jnp.ones(4))
