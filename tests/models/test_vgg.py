from itertools import pairwise

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models.flax_networks import FlaxVGG, flax_vgg_variables
from models.networks import anywhere, close

from widebasin.models import VGG11, count_parameters


def test_parameters_are_those_of_its_eight_convolutions_and_one_linear_layer():
    channels = (3, 64, 128, 256, 256, 512, 512, 512, 512)
    expected = sum((9 * inputs + 1) * outputs for inputs, outputs in pairwise(channels))
    assert count_parameters(eqx.filter_eval_shape(VGG11, key=jax.random.key(0))) == expected + 513 * 10 == 9_225_610


@pytest.mark.parametrize(
    ("image_size", "stages", "features"), [(2, 1, 4), (8, 3, 16), (28, 4, 32), (32, 5, 32), (64, 5, 128)]
)
def test_there_are_as_many_stages_as_lead_to_one_pixel(image_size, stages, features):
    model = eqx.filter_eval_shape(VGG11, 10, 4, 1, image_size, key=jax.random.key(0))
    assert len(model.stages) == stages
    assert model.last.weight.shape == (10, features)
    assert eqx.filter_eval_shape(model, jnp.ones((image_size, image_size, 1))).shape == (10,)


@pytest.fixture(scope="module", params=[8, 34], ids=["digits", "odd sides"])
def case(request):
    """Images of 8 x 8 reach one pixel after three stages; of 34 x 34, a row and a column are left out at 17 x 17."""
    size = request.param
    with jax.enable_x64(True):
        model = anywhere(lambda key: VGG11(5, 2, 2, size, key=key))
        # Biases about 0, so that some are inactive.
        model = jax.tree.map(lambda leaf: leaf - 1.5 if leaf.ndim == 1 else leaf, model)
        images = jnp.asarray(np.random.default_rng(1).normal(size=(3, size, size, 2)))
        params, static = eqx.partition(model, eqx.is_inexact_array)

        def squares(params):
            logits = jax.vmap(eqx.combine(params, static))(images)
            return (logits**2).sum(), logits

        gradient, logits = jax.jit(jax.grad(squares, has_aux=True))(params)
        patterns = jax.jit(lambda params: jax.vmap(eqx.combine(params, static).activation_patterns)(images))(params)
        return model, images, logits, eqx.combine(gradient, static), patterns


@pytest.mark.slow
def test_flax_agrees(case):
    model, images, logits, gradient, _ = case
    with jax.enable_x64(True):
        filters, variables = flax_vgg_variables(model)
        network = FlaxVGG(filters, classes=5)

        def squares(variables):
            logits = network.apply(variables, images)
            return (logits**2).sum(), logits

        theirs, expected = jax.jit(jax.grad(squares, has_aux=True))(variables)
        _, ours = flax_vgg_variables(gradient)
    close(logits, expected)
    jax.tree.map(lambda theirs, ours: close(ours, theirs), theirs, ours)


@pytest.mark.slow
def test_torch_agrees_on_logits_and_patterns(case):
    pytest.importorskip("torch")
    from models.torch_networks import tensor, torch_vgg

    model, images, logits, _, patterns = case
    features, last = torch_vgg(model)
    x = tensor(images).permute(0, 3, 1, 2)
    seen = []
    for layer in features:
        if type(layer).__name__ == "MaxPool2d":
            layer.return_indices = True
            width = x.shape[-1]
            x, indices = layer(x)
            seen.append((indices // width % 2 * 2 + indices % width % 2).permute(0, 2, 3, 1).numpy())
        else:
            x = layer(x)
            if type(layer).__name__ == "ReLU":
                seen.append((x > 0).permute(0, 2, 3, 1).numpy())
    close(logits, last(x.permute(0, 2, 3, 1).flatten(1)).detach())
    assert len(patterns) == len(seen)
    for ours, theirs in zip(patterns, seen, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.slow
def test_patterns_alone_tell_the_linear_map_that_the_network_is(case):
    """With every ReLU a mask and every pooling a choice, what remains of it is affine and gives the same logits."""
    model, images, logits, _, patterns = case
    with jax.enable_x64(True):
        for image, expected, pattern in zip(images, logits, zip(*patterns, strict=True), strict=True):
            remaining = iter(pattern)
            for stage in model.stages:
                for convolution in stage:
                    image = np.asarray(convolution(jnp.asarray(image))) * np.asarray(next(remaining))
                choice = np.asarray(next(remaining))
                row, column, channel = np.indices(choice.shape)
                image = image[2 * row + choice // 2, 2 * column + choice % 2, channel]
            assert not list(remaining)
            close(model.last(jnp.asarray(image.ravel())), expected)


@pytest.mark.slow
def test_patterns_are_of_booleans_and_integers_and_the_first_of_equal_pixels_is_chosen():
    model = VGG11(5, 2, 1, 4, key=jax.random.key(0))
    first, pooled, second, last = model.activation_patterns(jnp.zeros((4, 4, 1)))
    assert (first.dtype, second.dtype) == (bool, bool)
    assert (first.shape, pooled.shape, second.shape, last.shape) == ((4, 4, 2), (2, 2, 2), (2, 2, 4), (1, 1, 4))
    assert jnp.issubdtype(pooled.dtype, jnp.integer)
    # Biases start at 0, so nothing is active.
    assert not any(np.asarray(pattern).any() for pattern in (first, pooled, second, last))


def test_images_of_another_shape_are_refused():
    model = eqx.filter_eval_shape(VGG11, width=2, key=jax.random.key(0))
    with pytest.raises(ValueError, match=r"the image must have the shape \(32, 32, 3\), got \(8, 8, 3\)"):
        eqx.filter_eval_shape(model, jnp.ones((8, 8, 3)))


@pytest.mark.parametrize("arguments", [(0, 64, 3, 32), (10, 0, 3, 32), (10, 64, 0, 32), (10, 64, 3, 1)])
def test_networks_without_classes_filters_channels_or_neighbours_are_refused(arguments):
    with pytest.raises(ValueError, match=r"must be at least 1 and image_size at least 2, got"):
        VGG11(*arguments, key=jax.random.key(0))
