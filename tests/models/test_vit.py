import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models.flax_networks import FlaxViT, flax_vit_variables
from models.networks import anywhere, close

from widebasin.models import ViT, count_parameters

LADDER = (16, 32, 48, 64, 96, 128, 256, 384)


def test_it_has_the_published_parameter_count():
    """Of dimension 64 on CIFAR-10 in arXiv 2311.17539."""
    assert count_parameters(eqx.filter_eval_shape(ViT, 64, key=jax.random.key(0))) == 208_970


@pytest.mark.parametrize("dimension", LADDER)
def test_the_whole_ladder_can_be_built(dimension):
    """Every block has 8 d^2 weights, 7 d biases and 4 d for normalization; the rest is linear in d."""
    d, depth, patches = dimension, 6, 64
    blocks = depth * (8 * d**2 + 11 * d)
    rest = (48 * d + d) + d + (1 + patches) * d + 2 * d + (10 * d + 10)
    assert count_parameters(eqx.filter_eval_shape(ViT, d, key=jax.random.key(0))) == blocks + rest


@pytest.fixture(scope="module")
def case():
    """A small network at random weights in float64, images, and its logits and gradient of a sum of these."""
    with jax.enable_x64(True):
        model = anywhere(lambda key: ViT(16, 5, 12, 2, 3, 2, 4, key=key))
        images = jnp.asarray(np.random.default_rng(1).normal(size=(3, 12, 12, 2)))
        params, static = eqx.partition(model, eqx.is_inexact_array)

        def weighted(params):
            logits = jax.vmap(eqx.combine(params, static))(images)
            return (logits**2).sum(), logits

        gradient, logits = jax.jit(jax.grad(weighted, has_aux=True))(params)
        return model, images, logits, eqx.combine(gradient, static)


@pytest.mark.slow
def test_flax_agrees(case):
    model, images, logits, gradient = case
    with jax.enable_x64(True):
        network = FlaxViT(dimension=16, classes=5, patch=3, depth=2, heads=4)

        def weighted(variables):
            logits = network.apply(variables, images)
            return (logits**2).sum(), logits

        theirs, expected = jax.jit(jax.grad(weighted, has_aux=True))(flax_vit_variables(model))
        ours = flax_vit_variables(gradient)
    close(logits, expected)
    jax.tree.map(lambda theirs, ours: close(ours, theirs), theirs, ours)


@pytest.mark.slow
def test_torch_agrees(case):
    torch = pytest.importorskip("torch")
    from models.torch_networks import TorchViT, tensor

    model, images, logits, gradient = case
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        network = TorchViT(model, 5)
    finally:
        torch.set_default_dtype(before)
    theirs = network(tensor(images).permute(0, 3, 1, 2))
    (theirs**2).sum().backward()
    close(logits, theirs.detach())
    close(gradient.positions, network.positions.grad)
    close(gradient.blocks[0].expand.weight, network.blocks[0].linear1.weight.grad)


@pytest.mark.slow
def test_the_class_token_and_positions_start_small_and_independent():
    model = ViT(64, key=jax.random.key(0))
    draws = np.asarray(model.positions, float).ravel() / 0.02
    assert abs(draws.var() - 1) < 5 * np.sqrt(2 / draws.size)
    assert abs(np.corrcoef(model.positions[0], model.class_token)[0, 1]) < 5 / np.sqrt(64)
    one, two = (np.asarray(model.blocks[index].expand.weight).ravel() for index in (0, 1))
    assert abs(np.corrcoef(one, two)[0, 1]) < 5 / np.sqrt(one.size)


@pytest.mark.parametrize("shape", [(3, 32, 32), (28, 28, 3), (32, 32, 1)])
def test_images_of_another_shape_are_refused(shape):
    model = eqx.filter_eval_shape(ViT, 16, key=jax.random.key(0))
    with pytest.raises(ValueError, match=r"the image must have the shape \(32, 32, 3\), got"):
        eqx.filter_eval_shape(model, jnp.ones(shape))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dimension": 20}, "dimension must be a multiple of heads, got 20 and 8"),
        ({"dimension": 16, "image_size": 30}, "image_size must be a multiple of patch, got 30 and 4"),
        ({"dimension": 16, "depth": 0}, "must be at least 1, got 16, 10, 32, 3, 4, 0 and 8"),
        ({"dimension": 0}, "must be at least 1, got 0, 10, 32, 3, 4, 6 and 8"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ViT(**arguments, key=jax.random.key(0))
