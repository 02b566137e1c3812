"""The factors of every layer: the table of muP and muP^2, for every kind of model."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from widebasin import sam
from widebasin.data import DataError
from widebasin.models import MLP, ActorCritic, Applied, BiLSTM, GraphConvolution, LinearNetwork, ResNet, Tagger, ViT
from widebasin.parametrization import growth, initialized, multipliers, perturbation, with_perturbation
from widebasin.workloads import WORKLOADS

BASE, GROWN = 8, 4
WIDTH = BASE * GROWN
ROOT = GROWN**0.5
# (initial, sgd, adam, ascent, norm, size) of a layer whose hidden sizes grow by m = 4.
INPUT = (1, GROWN, 1, GROWN, ROOT, 1)
HIDDEN = (1, 1, 1 / GROWN, 1, 1, 1 / ROOT)
OUTPUT = (1 / ROOT, 1 / GROWN, 1 / GROWN, 1 / GROWN, 1 / ROOT, 1 / GROWN)
# Drawn by the width of its layer, as equinox.nn.Linear does, but to stay as it is.
BIAS = (ROOT, GROWN, 1, GROWN, ROOT, 1)
LAST_BIAS = (ROOT, 1, 1, 1, 1, 1)
QUERY = (1 / ROOT, 1 / GROWN, 1 / GROWN / ROOT, 1 / GROWN, 1 / ROOT, 1 / ROOT / ROOT)
QUERY_BIAS = (1, 1, 1 / ROOT, 1, 1, 1 / ROOT)
UNTOUCHED = (1,) * 6

MODELS = {
    "mlp": lambda width, key: MLP((5, width, width, 3), key=key),
    "ladder": lambda width, key: MLP.ladder(5, 3, width, key=key),
    "linear": lambda width, key: LinearNetwork((5, width, 3), key=key),
    "resnet": lambda width, key: ResNet.cifar(width, stages=(1, 1), key=key),
    "vit": lambda width, key: ViT(width, image_size=8, depth=1, heads=2, key=key),
    "tagger": lambda width, key: Tagger(width, words=20, tags=5, depth=1, heads=2, key=key),
    "lstm": lambda width, key: BiLSTM(width, words=20, key=key),
    "graph": lambda width, key: GraphConvolution(width, features=3, outputs=2, depth=1, key=key),
    "agent": lambda width, key: ActorCritic(4, 2, width, key=key),
}
# Path -> factors; of every kind of parameter that a model has.
WANTED = {
    "mlp": {
        ".weights[0]": INPUT,
        ".weights[1]": HIDDEN,
        ".weights[2]": OUTPUT,
        ".biases[0]": INPUT,
        ".biases[2]": UNTOUCHED,
    },
    "ladder": {".weights[0]": INPUT, ".weights[1]": HIDDEN, ".weights[2]": OUTPUT},
    "linear": {".weights[0]": INPUT, ".weights[1]": OUTPUT},
    "resnet": {
        ".stem.convolution.kernel": INPUT,
        ".stem.normalization.scale": INPUT,
        ".blocks[1].branch[0].convolution.kernel": HIDDEN,
        ".last.weight": OUTPUT,
        ".last.bias": LAST_BIAS,
    },
    "vit": {
        ".embedding.weight": INPUT,
        ".embedding.bias": INPUT,
        ".class_token": INPUT,
        ".positions": INPUT,
        ".blocks[0].attention.query_proj.weight": QUERY,
        ".blocks[0].attention.query_proj.bias": QUERY_BIAS,
        ".blocks[0].attention.key_proj.weight": HIDDEN,
        ".blocks[0].attention.output_proj.bias": BIAS,
        ".blocks[0].expand.weight": HIDDEN,
        ".norm.weight": INPUT,
        ".last.weight": OUTPUT,
    },
    "tagger": {".words": INPUT, ".blocks[0].contract.weight": HIDDEN, ".last.weight": OUTPUT},
    "lstm": {
        ".words": INPUT,
        ".forward.inputs": HIDDEN,
        ".forward.state": HIDDEN,
        ".forward.bias": INPUT,
        ".keys": HIDDEN,
        ".hidden.weight": HIDDEN,
        ".hidden.bias": BIAS,
        ".last.weight": OUTPUT,
    },
    "graph": {
        ".first.weight": INPUT,
        ".hidden[0][0].weight": HIDDEN,
        ".norms[0].bias": INPUT,
        ".last.weight": OUTPUT,
    },
    # Orthogonal: the first layer is drawn by its outputs.
    "agent": {
        ".actor[0].weight": (ROOT, *INPUT[1:]),
        ".actor[0].bias": INPUT,
        ".actor[1].weight": HIDDEN,
        ".actor[2].weight": OUTPUT,
        ".critic[2].weight": OUTPUT,
    },
}


def shapes(build, width):
    return eqx.filter_eval_shape(eqx.nn.make_with_state(build), width, jax.random.key(0))[0]


def by_path(tree):
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


@pytest.mark.parametrize("name", MODELS)
def test_every_layer_has_the_factors_of_its_kind(name):
    found = multipliers(*(shapes(MODELS[name], width) for width in (WIDTH, BASE)))
    tables = [by_path(tree) for tree in found]
    for path, wanted in WANTED[name].items():
        np.testing.assert_allclose([table[path] for table in tables], wanted, rtol=1e-12, err_msg=path)


def test_readouts_that_are_vectors_and_glorots_rule_are_known():
    """The attention of the LSTM is drawn by Glorot's rule with one output, its inputs with four gates."""
    found = multipliers(*(shapes(MODELS["lstm"], width) for width in (WIDTH, BASE)))
    assert by_path(found.sgd)[".attention"] == 1 / GROWN
    initial = (1 / GROWN) / np.sqrt((1 + BASE) / (1 + WIDTH))
    np.testing.assert_allclose(by_path(found.initial)[".attention"], initial, rtol=1e-12)
    given = {
        width: BiLSTM(width, words=4, embeddings=np.ones((4, 6)), key=jax.random.key(0)) for width in (WIDTH, BASE)
    }
    inputs = by_path(multipliers(given[WIDTH], given[BASE]).initial)[".forward.inputs"]
    np.testing.assert_allclose(inputs, np.sqrt((4 * WIDTH + 6) / (4 * BASE + 6)), rtol=1e-12)


@pytest.mark.parametrize(
    ("build", "wanted"),
    [
        (
            lambda width, key: eqx.nn.ConvTranspose(2, width, width, 3, key=key),
            {".weight": HIDDEN, ".bias": BIAS},
        ),
        (
            lambda width, key: eqx.nn.LSTMCell(6, width, key=key),
            {".weight_ih": (ROOT, GROWN, 1, GROWN, ROOT, 1), ".weight_hh": HIDDEN, ".bias": BIAS},
        ),
        (lambda width, key: eqx.nn.GRUCell(width, width, key=key), {".weight_ih": HIDDEN, ".bias_n": BIAS}),
    ],
    ids=["transposed convolution", "LSTM", "GRU"],
)
def test_layers_of_equinox_are_known(build, wanted):
    found = [by_path(tree) for tree in multipliers(*(shapes(build, width) for width in (WIDTH, BASE)))]
    for path, factors in wanted.items():
        np.testing.assert_allclose([table[path] for table in found], factors, rtol=1e-12, err_msg=path)


@pytest.mark.parametrize("name", [name for name, one in WORKLOADS.items() if one.has_layers and len(one.widths) > 1])
def test_every_workload_has_factors_which_are_1_at_the_base_width(name):
    workload = WORKLOADS[name]
    try:
        small, large = (workload.structure(width) for width in (workload.widths[0], workload.widths[-1]))
    except DataError as error:
        pytest.skip(str(error))
    assert set(map(float, jax.tree.leaves(multipliers(small, small)))) == {1.0}
    sgd = set(map(float, jax.tree.leaves(multipliers(large, small).sgd)))
    assert min(sgd) < 1
    assert max(sgd) > 1 or name == "least-squares"
    assert all(np.isfinite(leaf) and leaf > 0 for leaf in sgd)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40))
def test_factors_compose(small, middle, large):
    """From the base to the middle, then on: the product."""

    def of(width, base):
        weights = {w: {"in": jnp.ones((3, w)), "hidden": jnp.ones((w, w)), "bias": jnp.ones(w)} for w in (width, base)}
        return multipliers(weights[width], weights[base])

    once, first, second = of(large, small), of(middle, small), of(large, middle)
    for name in ("sgd", "adam", "norm", "size"):
        product = jax.tree.map(lambda a, b: a * b, getattr(first, name), getattr(second, name))
        jax.tree.map(
            lambda found, wanted: np.testing.assert_allclose(found, wanted, rtol=1e-9), getattr(once, name), product
        )


def test_a_pytree_of_arrays_has_the_outputs_last_as_in_flax():
    def of(width):
        return {
            "first": {"kernel": jnp.ones((5, width)), "bias": jnp.ones(width)},
            "convolution": {"kernel": jnp.ones((3, 3, width, width))},
            "query": {"kernel": jnp.ones((width, 2, width // 2))},
            "last": {"kernel": jnp.ones((width, 3)), "bias": jnp.ones(3)},
        }

    found = multipliers(of(WIDTH), of(BASE))
    assert found.sgd == {
        "first": {"kernel": GROWN, "bias": GROWN},
        "convolution": {"kernel": 1},
        "query": {"kernel": 1},
        "last": {"kernel": 1 / GROWN, "bias": 1},
    }
    assert found.adam["query"]["kernel"] == 1 / GROWN


def test_initial_sizes_follow_the_width_as_the_table_says():
    """Standard deviations of what is drawn, at two widths of which the larger is 16 times the base."""
    build, base, width = MODELS["mlp"], 64, 1024
    factors = multipliers(shapes(build, width), shapes(build, base))
    small, drawn = build(base, jax.random.key(0)), build(width, jax.random.key(1))
    large = initialized(drawn, factors)
    for layer, grows in enumerate((1, 1 / 4, 1 / 16)):
        assert float(large.weights[layer].std() / small.weights[layer].std()) == pytest.approx(grows, rel=0.12)
    assert factors.size.weights == [1, 1 / 4, 1 / 16]
    assert eqx.tree_equal(initialized(drawn, multipliers(shapes(build, width), shapes(build, width))), drawn)


def test_perturbation_scales_are_those_of_the_table():
    factors = multipliers(*(shapes(MODELS["mlp"], width) for width in (WIDTH, BASE)))
    scales = perturbation(factors)(factors.norm)
    assert (scales.numerator, scales.norm) == (factors.ascent, factors.norm)


def test_what_is_left_to_scale_of_an_adaptive_ascent_is_the_same_for_all_layers():
    factors = multipliers(*(shapes(MODELS["mlp"], width) for width in (WIDTH, BASE)))
    scales = perturbation(factors, adaptive=True)(factors.norm)
    assert scales.numerator.weights == pytest.approx([GROWN] * 3)
    assert scales.norm.weights == pytest.approx([ROOT] * 3)


class Permuted(eqx.Module):
    """Layers beside arrays that are no parameters, whose sizes may be anything."""

    layer: eqx.nn.Linear
    order: jax.Array
    kept: jax.Array
    key: jax.Array

    def __init__(self, width, key):
        self.layer, self.key = eqx.nn.Linear(4, width, key=key), key
        self.order, self.kept = jnp.arange(width)[::-1], jnp.ones(4, bool)


def test_integers_booleans_and_keys_are_no_parameters():
    model, base = (Permuted(width, jax.random.key(0)) for width in (WIDTH, BASE))
    factors = multipliers(model, base)
    assert {factors.sgd.order, factors.sgd.kept, factors.sgd.key} == {None}
    drawn = initialized(model, factors)
    assert eqx.tree_equal((drawn.order, drawn.kept, drawn.key), (model.order, model.kept, model.key))
    np.testing.assert_allclose(drawn.layer.weight, model.layer.weight * factors.initial.layer.weight)
    gradients = eqx.filter(model, eqx.is_inexact_array)
    for tree in (model, gradients):
        assert perturbation(factors)(tree).numerator.layer.weight == GROWN


def test_normalization_over_several_axes_is_input():
    found = multipliers(*(eqx.nn.LayerNorm((width, 3, 3)) for width in (WIDTH, BASE)))
    assert by_path(found.sgd)[".weight"] == GROWN


class Bare(eqx.Module):
    """Weights of its own, outputs first, as in ``W x``."""

    first: jax.Array
    hidden: jax.Array

    def __init__(self, width, key):
        self.first, self.hidden = jnp.ones((width, 5)), jnp.ones((width, width))


class Declared(Bare):
    INPUT_AXES: ClassVar[dict[str, int]] = {"first": 1}


def test_which_axis_is_of_the_inputs_is_never_guessed_in_a_module():
    wanted = r"which axis of \.first \(32, 5\) is that of its inputs is not known: say so in its class, Bare"
    with pytest.raises(ValueError, match=wanted):
        multipliers(*(shapes(Bare, width) for width in (WIDTH, BASE)))
    assert multipliers(*(shapes(Declared, width) for width in (WIDTH, BASE))).sgd.first == GROWN


@pytest.mark.parametrize(
    ("method", "layers_differ"),
    [(sam.SAM(0.1), True), (sam.ASAM(0.1), False), (sam.GSAM(0.1, adaptive=True), False), (sam.LookSAM(0.1), True)],
    ids=lambda value: type(value).__name__,
)
def test_a_method_gets_the_scales_of_its_kind(method, layers_differ):
    factors = multipliers(*(shapes(MODELS["mlp"], width) for width in (WIDTH, BASE)))
    scales = with_perturbation(method, factors).scales(factors.norm)
    assert (len(set(scales.numerator.weights)) > 1) == layers_differ


def test_methods_without_a_rule_are_refused():
    factors = multipliers(*(shapes(MODELS["mlp"], width) for width in (WIDTH, BASE)))
    with pytest.raises(ValueError, match="a random perturbation has no rule"):
        with_perturbation(sam.RandomPerturbation(0.1), factors)
    with pytest.raises(ValueError, match="only if all parameters are adaptive"):
        with_perturbation(sam.ASAM(0.1, adaptive=sam.by_dimensions(2)), factors)


def test_factors_of_another_model_are_refused():
    factors = multipliers({"a": jnp.ones(4)}, {"a": jnp.ones(2)})
    other = {"a": jnp.ones(4), "b": jnp.ones(4)}
    for use in (lambda: initialized(other, factors), lambda: perturbation(factors)(other)):
        with pytest.raises(ValueError, match="factors are those of another model: it has 1 arrays, and this one 2"):
            use()


def test_models_with_other_parameters_are_refused():
    two, three = ({"w": jnp.ones((4, 4)), **more} for more in ({}, {"extra": jnp.ones(3)}))
    with pytest.raises(ValueError, match=r"must have the same parameters, but \['extra'\] are in one of them only"):
        growth(two, three)
    with pytest.raises(ValueError, match=r"\['w'\] must have as many axes as at the base width, got shape \(4,\)"):
        growth({"w": jnp.ones(4)}, two)


def test_heads_whose_number_grows_are_refused_in_dictionaries():
    """The outputs of a kernel of attention in Flax, ``[inputs, heads, size]``, are not in the last axis alone."""
    large, small = {"kernel": jnp.zeros((256, 16, 16))}, {"kernel": jnp.zeros((64, 4, 16))}
    for build in (dict, lambda params: Applied(params, lambda params, x: x)):
        with pytest.raises(ValueError, match="number of heads of attention grows"):
            multipliers(build(large), build(small))
    sizes = multipliers({"kernel": jnp.zeros((256, 4, 64))}, {"kernel": jnp.zeros((64, 4, 16))})
    assert (sizes.sgd["kernel"], sizes.adam["kernel"], sizes.initial["kernel"]) == (1, 1 / 4, 1)


def test_a_method_without_a_perturbation_stays_as_it_is():
    factors = multipliers({"kernel": jnp.zeros((8, 8))}, {"kernel": jnp.zeros((4, 4))})
    assert with_perturbation(sam.SGD(), factors) == sam.SGD()
