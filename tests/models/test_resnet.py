import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models.flax_networks import FlaxResNet, flax_resnet_variables
from models.networks import anywhere, close, cross_entropy, normalizations, over_batch, running_statistics

from widebasin.models import BatchNormalization, ResidualBlock, ResNet, count_parameters
from widebasin.models.resnet import NormalizedConvolution

CLASSES = 5


@pytest.mark.parametrize(
    ("width", "parameters"),
    [
        (4, 44_622),
        (8, 176_402),
        (16, 701_466),
        (32, 2_797_610),
        (64, 11_173_962),
        (128, 44_662_922),
        (256, 178_585_866),
    ],
)
def test_resnet_18_has_the_published_parameter_counts(width, parameters):
    """The counts on the axes of arXiv 2311.17539."""
    build = eqx.nn.make_with_state(ResNet.cifar)
    model, _ = eqx.filter_eval_shape(lambda key: build(width, key=key), jax.random.key(0))
    assert count_parameters(model) == parameters


@pytest.mark.parametrize(
    ("width", "parameters"), [(16, 1_993_976), (32, 6_917_640), (48, 14_771_992), (64, 25_557_032)]
)
def test_resnet_50_has_the_published_parameter_counts(width, parameters):
    """The counts on the axes of arXiv 2311.17539; the last one is the well-known network's."""
    build = eqx.nn.make_with_state(ResNet.imagenet)
    model, _ = eqx.filter_eval_shape(lambda key: build(width, key=key), jax.random.key(0))
    assert count_parameters(model) == parameters


def bottlenecks(width, classes, stages, *, key):
    stem = NormalizedConvolution(3, width, 7, 2, key=key)
    return ResNet(stem, ResidualBlock.bottleneck, stages, classes, pool=True, key=key)


def test_resnet_50_is_of_bottlenecks_behind_a_stem_with_pooling():
    """In shapes, strides and pooling, so that what holds of few bottlenecks holds of it."""
    key = jax.random.key(0)
    ours = eqx.filter_eval_shape(eqx.nn.make_with_state(ResNet.imagenet), 4, 7, key=key)
    expected = eqx.filter_eval_shape(eqx.nn.make_with_state(bottlenecks), 4, 7, (3, 4, 6, 3), key=key)
    assert eqx.tree_equal(ours, expected)


def test_resnet_18_halves_the_sides_in_the_first_convolution_of_all_stages_but_the_first():
    model = eqx.filter_eval_shape(ResNet.cifar, 4, key=jax.random.key(0))
    strides = [[layer.convolution.stride for layer in block.branch] for block in model.blocks]
    assert strides == [[1, 1], [1, 1], [2, 1], [1, 1], [2, 1], [1, 1], [2, 1], [1, 1]]
    shortcuts = [block.projection and block.projection.convolution.stride for block in model.blocks]
    assert shortcuts == [None, None, 2, None, 2, None, 2, None]
    assert (model.stem.convolution.stride, model.pool) == (1, False)


@pytest.fixture(scope="module", params=["basic", "bottleneck"])
def case(request):
    """A small network at random weights in float64 and what it computes on a batch."""
    with jax.enable_x64(True):
        bottleneck = request.param == "bottleneck"
        stages = (2, 1, 1)
        build = bottlenecks if bottleneck else ResNet.cifar
        model, state = anywhere(lambda key: eqx.nn.make_with_state(build)(2, CLASSES, stages=stages, key=key))
        images = jnp.asarray(np.random.default_rng(1).normal(size=(6, 21, 21, 3) if bottleneck else (6, 10, 10, 3)))
        labels = jnp.arange(6) % CLASSES
        params, static = eqx.partition(model, eqx.is_inexact_array)

        def loss(params, state):
            logits, state = over_batch(eqx.combine(params, static), images, state)
            return cross_entropy(logits, labels), (logits, state)

        @jax.jit
        def outputs(params, state):
            inference = eqx.nn.inference_mode(eqx.combine(params, static))
            inferred = jax.vmap(lambda image: inference(image, state)[0])(images)
            return jax.grad(loss, has_aux=True)(params, state), inferred

        (gradient, (logits, after)), inferred = outputs(params, state)
        return {
            "shape": (2, CLASSES, stages, bottleneck),
            "model": model,
            "before": running_statistics(model, state),
            "after": running_statistics(model, after),
            "images": images,
            "labels": labels,
            "logits": logits,
            "inferred": inferred,
            "gradient": eqx.combine(gradient, static),
        }


def layers_by_use(model):
    """Convolutions with normalization: in every block those of the branch, then the shortcut."""
    layers = [model.stem]
    for block in model.blocks:
        layers += [*block.branch, *([block.projection] if block.projection else [])]
    return layers


@pytest.mark.slow
def test_flax_agrees_in_training_in_inference_and_on_gradients(case):
    with jax.enable_x64(True):
        network, model, gradient = FlaxResNet(*case["shape"]), case["model"], case["gradient"]
        variables = flax_resnet_variables(layers_by_use(model), case["before"], model.last)

        def loss(params):
            logits, updated = network.apply(variables | {"params": params}, case["images"], True, mutable="batch_stats")
            return cross_entropy(logits, case["labels"]), (logits, updated["batch_stats"])

        gradients, (logits, after) = jax.jit(jax.grad(loss, has_aux=True))(variables["params"])
        inferred = jax.jit(lambda variables: network.apply(variables, case["images"], False))(variables)
        expected = flax_resnet_variables(layers_by_use(gradient), case["after"], gradient.last)
    close(case["logits"], logits)
    close(case["inferred"], inferred)
    jax.tree.map(close, after, expected["batch_stats"])
    jax.tree.map(lambda theirs, ours: close(ours, theirs, 1e-8), gradients, expected["params"])


@pytest.mark.slow
def test_torch_agrees_in_training_in_inference_and_on_gradients(case):
    torch = pytest.importorskip("torch")
    from models.torch_networks import TorchResNet, tensor

    model, gradient = case["model"], case["gradient"]
    network = TorchResNet(*case["shape"]).double()
    network.set_weights(layers_by_use(model), case["before"], model.last)
    images = tensor(case["images"]).permute(0, 3, 1, 2)
    network.eval()
    close(case["inferred"], network(images).detach())

    network.train()
    logits = network(images)
    torch.nn.functional.cross_entropy(logits, tensor(case["labels"])).backward()
    close(case["logits"], logits.detach())
    close(gradient.last.weight, network.last.weight.grad)
    close(gradient.last.bias, network.last.bias.grad)
    both = zip(layers_by_use(gradient), network.layers(), case["before"], case["after"], strict=True)
    for ours, theirs, before, after in both:
        convolution, norm = theirs
        close(ours.convolution.kernel, convolution.weight.grad.permute(2, 3, 1, 0), 1e-8)
        close(ours.normalization.scale, norm.weight.grad, 1e-8)
        close(ours.normalization.bias, norm.bias.grad, 1e-8)
        # There the running variance is of unbiased ones.
        unbiased = theirs.values / (theirs.values - 1)
        close(after[0], norm.running_mean)
        close(after[1], 0.9 * before[1] + (norm.running_var - 0.9 * tensor(before[1])).numpy() / unbiased)


def test_only_bottlenecks_start_without_their_branch():
    """Their last scale is 0, so that a block is its shortcut (arXiv 1706.02677)."""
    key = jax.random.key(0)
    for block, zeros in ((ResidualBlock.bottleneck, 4 * 3), (ResidualBlock.basic, 0)):
        scales = [np.asarray(norm.scale) for norm in normalizations(block(12, 3, 1, key=key))]
        assert sum((scale == 0).sum() for scale in scales) == zeros
        assert all(np.isin(scale, (0, 1)).all() for scale in scales)
    bottleneck, state = eqx.nn.make_with_state(ResidualBlock.bottleneck)(12, 3, 1, key=key)
    images = np.random.default_rng(0).normal(size=(4, 5, 5, 12)).astype(np.float32)
    result, _ = eqx.filter_jit(over_batch)(bottleneck, jnp.asarray(images), state)
    np.testing.assert_array_equal(result, np.maximum(images, 0))


@pytest.mark.slow
def test_replicates_are_built_and_trained_at_once_each_as_by_itself():
    """``vmap`` over networks makes grouped convolutions of theirs, and leaves each the statistics of its own batch."""
    keys = jax.random.split(jax.random.key(0), 2)
    images = jax.random.normal(jax.random.key(1), (2, 4, 6, 6, 3))

    def built_and_trained(key, images):
        model, state = eqx.nn.make_with_state(ResNet.cifar)(2, stages=(1, 1), key=key)
        return eqx.filter(model, eqx.is_array), *over_batch(model, images, state)

    many = jax.jit(jax.vmap(built_and_trained))(keys, images)
    one = jax.jit(built_and_trained)
    for index, key in enumerate(keys):
        expected = one(key, images[index])
        jax.tree.map(lambda many, one, index=index: close(many[index], one, 1e-5), many, expected)


@pytest.mark.slow
def test_half_precision_goes_through_with_statistics_in_single_precision():
    model, state = eqx.filter_eval_shape(eqx.nn.make_with_state(ResNet.imagenet), 2, key=jax.random.key(0))
    arrays, rest = eqx.partition(model, lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct))
    half = eqx.combine(jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jnp.bfloat16), arrays), rest)
    images = jax.ShapeDtypeStruct((4, 32, 32, 3), jnp.bfloat16)
    logits, after = eqx.filter_eval_shape(over_batch, half, images, state)
    assert logits.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(after)} == {jnp.dtype(jnp.float32)}


@pytest.mark.slow
def test_a_step_of_training_and_inference_mode_leave_the_structure_as_it_was():
    """So that a state goes round a compiled loop, and an inference model is a copy with other flags."""
    build = eqx.nn.make_with_state(ResNet.cifar)
    model, state = eqx.filter_eval_shape(lambda key: build(2, stages=(1, 2), key=key), jax.random.key(0))
    flags = [norm.inference for norm in normalizations(eqx.nn.inference_mode(model))]
    assert flags == [True] * len(flags)
    assert len(flags) == 8
    assert eqx.tree_equal(eqx.nn.inference_mode(eqx.nn.inference_mode(model), False), model)
    _, after = eqx.filter_eval_shape(over_batch, model, jnp.ones((2, 8, 8, 3)), state)
    assert eqx.tree_equal(after, state)


@pytest.mark.parametrize(("stages", "classes"), [((), 10), ((2, 0), 10), ((1,), 0)])
def test_networks_without_blocks_or_classes_are_refused(stages, classes):
    with pytest.raises(ValueError, match="stages and classes must be at least 1"):
        ResNet.cifar(2, classes, stages=stages, key=jax.random.key(0))


def test_a_network_without_filters_is_refused():
    with pytest.raises(ValueError, match="must be at least 1, got 3, 0 and 1"):
        ResNet.cifar(0, key=jax.random.key(0))


def test_normalized_convolutions_have_no_bias_of_their_own():
    """The normalization would take it away again."""
    layer = NormalizedConvolution(3, 4, 3, key=jax.random.key(0))
    assert layer.convolution.bias is None
    assert isinstance(layer.normalization, BatchNormalization)
