import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jax.test_util import check_grads
from models.networks import over_batch

from widebasin.models import BATCH_AXIS, BatchNormalization, count_parameters

SHAPE = (6, 4, 5, 3)


def layer_and_images(shape=SHAPE, **arguments):
    """Scale, bias and running statistics at random."""
    rng = np.random.default_rng(0)
    layer, state = eqx.nn.make_with_state(BatchNormalization)(shape[-1], **arguments)
    dtype = layer.scale.dtype
    scale, bias, mean, variance = (jnp.asarray(row, dtype) for row in rng.uniform(0.5, 2, (4, shape[-1])))
    layer = eqx.tree_at(lambda layer: (layer.scale, layer.bias), layer, (scale, bias))
    return layer, state.set(layer.running, (mean, variance)), jnp.asarray(1 + 2 * rng.normal(size=shape), dtype)


def normalized(images, mean, variance, layer):
    scale, bias = np.asarray(layer.scale, float), np.asarray(layer.bias, float)
    return scale * (np.asarray(images, float) - mean) / np.sqrt(variance + 1e-5) + bias


@pytest.mark.parametrize("shape", [SHAPE, (7, 2)])
def test_training_normalizes_by_the_batch_and_moves_the_running_statistics(shape):
    with jax.enable_x64(True):
        layer, state, images = layer_and_images(shape)
        before = [np.asarray(value) for value in state.get(layer.running)]
        result, state = over_batch(layer, images, state)
        after = [np.asarray(value) for value in state.get(layer.running)]
    axes = tuple(range(len(shape) - 1))
    mean, variance = np.asarray(images).mean(axes), np.asarray(images).var(axes)
    np.testing.assert_allclose(result, normalized(images, mean, variance, layer), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(after, [0.9 * before[0] + 0.1 * mean, 0.9 * before[1] + 0.1 * variance], rtol=1e-12)


def test_inference_normalizes_by_the_running_statistics_one_image_at_a_time():
    layer, state, images = layer_and_images()
    mean, variance = (np.asarray(value, float) for value in state.get(layer.running))
    result, after = eqx.nn.inference_mode(layer)(images[0], state)
    np.testing.assert_allclose(result, normalized(images[0], mean, variance, layer), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(after.get(layer.running), [mean, variance])


def test_running_statistics_start_at_those_of_standard_normal_values():
    layer, state = eqx.nn.make_with_state(BatchNormalization)(3)
    np.testing.assert_array_equal(state.get(layer.running), [np.zeros(3), np.ones(3)])
    np.testing.assert_array_equal([layer.scale, layer.bias], [np.ones(3), np.zeros(3)])
    np.testing.assert_array_equal(BatchNormalization(3, zero_scale=True).scale, np.zeros(3))


@pytest.mark.parametrize("inference", [False, True])
def test_flax_agrees(inference):
    with jax.enable_x64(True):
        layer, state, images = layer_and_images(inference=inference)
        mean, variance = state.get(layer.running)
        variables = {
            "params": {"scale": layer.scale, "bias": layer.bias},
            "batch_stats": {"mean": mean, "var": variance},
        }
        norm = nn.BatchNorm(use_running_average=inference, momentum=0.9, epsilon=1e-5)
        expected, updated = norm.apply(variables, images, mutable=["batch_stats"])
        result, state = over_batch(layer, images, state)
        np.testing.assert_allclose(result, expected, rtol=1e-10, atol=1e-10)
        statistics = updated["batch_stats"]
        np.testing.assert_allclose(state.get(layer.running), [statistics["mean"], statistics["var"]], rtol=1e-10)


def test_a_large_mean_does_not_drown_the_variance():
    """In float32, squares of 1e4 are known to 4 or so, not to the variance of 1."""
    layer, state = eqx.nn.make_with_state(BatchNormalization)(3)
    images = jnp.asarray(1e4 + np.random.default_rng(0).normal(size=(32, 8, 8, 3)), jnp.float32)
    result, state = over_batch(layer, images, state)
    exact = np.asarray(images, float)
    variance = (np.asarray(state.get(layer.running)[1], float) - 0.9) / 0.1
    np.testing.assert_allclose(variance, exact.var((0, 1, 2)), rtol=1e-4)
    expected = (exact - exact.mean((0, 1, 2))) / np.sqrt(exact.var((0, 1, 2)) + 1e-5)
    np.testing.assert_allclose(result, expected, atol=5e-3)  # a digit of 1e4 in float32 is 1e-3


@pytest.mark.parametrize("inference", [False, True])
def test_half_precision_has_statistics_in_single_precision(inference):
    layer, state, images = layer_and_images((64, 8, 8, 3), inference=inference)
    half = images.astype(jnp.bfloat16)
    running = [np.asarray(value, float) for value in state.get(layer.running)]
    result, state = over_batch(layer, half, state)
    exact = np.asarray(half, float)
    batch = running if inference else [exact.mean((0, 1, 2)), exact.var((0, 1, 2))]
    assert result.dtype == jnp.bfloat16
    assert all(value.dtype == jnp.float32 for value in state.get(layer.running))
    # Rounded once, at the end: half a unit in the last of 8 binary digits.
    np.testing.assert_allclose(np.asarray(result, float), normalized(half, *batch, layer), rtol=2**-8, atol=1e-5)
    moved = [0.9 * old + 0.1 * new for old, new in zip(running, batch, strict=True)]
    np.testing.assert_allclose(state.get(layer.running), moved, rtol=1e-5)


@pytest.mark.slow
def test_first_and_second_derivatives_are_those_of_finite_differences():
    with jax.enable_x64(True):
        layer, state, images = layer_and_images((4, 2, 2, 2))
        weights = np.random.default_rng(1).normal(size=images.shape)

        def weighted(scale, bias, images):
            moved = eqx.tree_at(lambda layer: (layer.scale, layer.bias), layer, (scale, bias))
            leaves, structure = jax.tree.flatten(state)
            return (weights * over_batch(moved, images, jax.tree.unflatten(structure, leaves))[0] ** 2).sum()

        check_grads(jax.jit(weighted), (layer.scale, layer.bias, images), 2, ["rev"], rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_a_batch_on_two_devices_is_normalized_as_a_whole():
    layer, state, images = layer_and_images((8, 4, 4, 3))
    # Halves of the batch that have nothing in common.
    images = images.at[:4].add(10.0)
    devices = Mesh(np.array(jax.devices()[:2]), (BATCH_AXIS,))
    sharded = jax.device_put(images, NamedSharding(devices, PartitionSpec(BATCH_AXIS)))
    result, state = jax.jit(lambda images, state: over_batch(layer, images, state))(sharded, state)
    exact = np.asarray(images, float)
    mean, variance = exact.mean((0, 1, 2)), exact.var((0, 1, 2))
    assert len(result.sharding.device_set) == 2
    np.testing.assert_allclose(result, normalized(exact, mean, variance, layer), rtol=1e-4, atol=1e-5)


def test_running_statistics_are_not_parameters():
    layer, _ = eqx.nn.make_with_state(BatchNormalization)(7)
    assert count_parameters(layer) == count_parameters(BatchNormalization(7)) == 14


def test_training_on_one_image_names_the_axis_that_is_missing():
    layer, state = eqx.nn.make_with_state(BatchNormalization)(3)
    with pytest.raises(ValueError, match=r"call jax\.vmap\(model, .*axis_name='batch'\), or equinox.nn.inference_mode"):
        layer(jnp.ones((4, 4, 3)), state)


def test_no_channels_are_refused():
    with pytest.raises(ValueError, match="channels must be at least 1, got 0"):
        BatchNormalization(0)
