import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models.networks import anywhere

from widebasin.models import MLP, VGG11, Convolution, ResNet, ViT, is_convolutional


def convolved(image, kernel, bias, stride):
    """The definition, pixel by pixel."""
    size, _, inputs, outputs = kernel.shape
    edge = size // 2
    height, width, _ = image.shape
    padded = np.zeros((height + 2 * edge, width + 2 * edge, inputs))
    padded[edge : edge + height, edge : edge + width] = image
    rows, columns = range(0, height, stride), range(0, width, stride)
    result = np.zeros((len(rows), len(columns), outputs))
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            result[i, j] = bias + np.tensordot(padded[row : row + size, column : column + size], kernel, 3)
    return result


@pytest.mark.slow
@pytest.mark.parametrize("sides", [(15, 16), (3, 2), (1, 1)])
@pytest.mark.parametrize(
    ("size", "stride", "bias"), [(1, 1, True), (1, 2, False), (3, 1, False), (3, 2, True), (7, 2, False), (7, 1, True)]
)
def test_a_convolution_is_the_sum_of_its_definition(size, stride, bias, sides):
    """Also of images that are smaller than the kernel."""
    with jax.enable_x64(True):
        layer = anywhere(lambda key: Convolution(3, 4, size, stride, bias=bias, key=key))
        image = jnp.asarray(np.random.default_rng(1).normal(size=(*sides, 3)))
        result = layer(image)
        assert result.dtype == np.float64
    expected = convolved(np.asarray(image), np.asarray(layer.kernel), np.asarray(layer.bias) if bias else 0, stride)
    np.testing.assert_allclose(result, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("inputs", "outputs", "size"), [(3, 64, 3), (64, 8, 3), (32, 64, 1)])
def test_kernels_are_drawn_with_variance_2_over_fan_in_and_biases_are_zero(inputs, outputs, size):
    """The variance of n normal draws is within 5 sqrt(2 / n) of its expectation, relatively."""
    layer = Convolution(inputs, outputs, size, bias=True, key=jax.random.key(0))
    draws, fan_in = np.asarray(layer.kernel, float).ravel(), inputs * size**2
    assert abs(draws.var() * fan_in / 2 - 1) < 5 * np.sqrt(2 / draws.size)
    assert abs(draws.mean()) < 5 * np.sqrt(2 / fan_in / draws.size)
    np.testing.assert_array_equal(layer.bias, np.zeros(outputs))


def test_an_image_with_other_channels_is_refused():
    with pytest.raises(ValueError, match=r"the image must have 3 channels in its last axis, got shape \(3, 8, 8\)"):
        Convolution(3, 4, 1, key=jax.random.key(0))(jnp.ones((3, 8, 8)))


@pytest.mark.parametrize("size", [0, 2, -1])
def test_kernels_without_a_middle_are_refused(size):
    with pytest.raises(ValueError, match=f"size must be odd and at least 1, got {size}"):
        Convolution(3, 4, size, key=jax.random.key(0))


@pytest.mark.parametrize("numbers", [(0, 4, 1), (3, 0, 1), (3, 4, 0)])
def test_no_channels_and_no_stride_are_refused(numbers):
    inputs, outputs, stride = numbers
    with pytest.raises(ValueError, match=f"must be at least 1, got {inputs}, {outputs} and {stride}"):
        Convolution(inputs, outputs, 3, stride, key=jax.random.key(0))


@pytest.mark.parametrize(
    ("build", "convolutional"),
    [
        (lambda key: ResNet.cifar(2, key=key), True),
        (lambda key: VGG11(width=2, key=key), True),
        (lambda key: [eqx.nn.Linear(2, 3, key=key), {"first": eqx.nn.Conv1d(1, 1, 3, key=key)}], True),
        (lambda key: ViT(16, key=key), False),
        (lambda key: MLP((4, 3, 2), key=key), False),
        (lambda key: (), False),
    ],
)
def test_models_with_convolutions_are_known(build, convolutional):
    """From their shapes too, as nothing but these is there before training."""
    assert is_convolutional(eqx.filter_eval_shape(build, jax.random.key(0))) is convolutional
