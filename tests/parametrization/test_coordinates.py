"""Sizes of activations and effects of single layers, against closed forms; and how they follow the width."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from training.sized import PLAIN

from widebasin import sam
from widebasin.models import MLP, ActorCritic, LinearNetwork, ResNet
from widebasin.parametrization import (
    activation_sizes,
    initialized,
    layer_effects,
    layer_names,
    layer_roles,
    multipliers,
    perturbation,
)
from widebasin.training import Network


def rms(*arrays):
    return np.sqrt(np.mean(np.concatenate([np.asarray(one, np.float64).ravel() for one in arrays]) ** 2))


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def agrees(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, err_msg=name)


# Closed forms ---------------------------------------------------------------------------------------------------------


def test_of_two_linear_layers_all_sizes_have_closed_forms():
    x = normal(0, 7, 4)
    model = LinearNetwork((4, 5, 3), key=jax.random.key(0))
    first, second = (np.asarray(one, np.float64) for one in model.weights)
    moves = np.random.default_rng(1).normal(size=first.shape), np.random.default_rng(2).normal(size=second.shape)
    moved = jax.tree.unflatten(
        jax.tree.structure(model),
        [jnp.asarray(w + d, jnp.float32) for w, d in zip((first, second), moves, strict=True)],
    )

    def outputs(model):
        return jax.vmap(model)(x)

    agrees(
        activation_sizes(outputs, model), {"weights[0]": rms(x @ first.T), "weights[1]": rms(x @ first.T @ second.T)}
    )
    agrees(
        layer_effects(outputs, model, moved),
        {"weights[0]": rms(x @ moves[0].T @ second.T), "weights[1]": rms(x @ first.T @ moves[1].T)},
    )
    agrees(
        jax.jit(lambda model, moved: layer_effects(outputs, model, moved))(model, moved),
        layer_effects(outputs, model, moved),
    )


def test_activations_of_a_perceptron_are_the_products_without_the_biases():
    x = normal(0, 9, 6)
    model = jax.tree.map(lambda leaf: leaf + 0.3, MLP((6, 8, 5, 2), key=jax.random.key(1)))
    expected, hidden = {}, np.asarray(x)
    for number, (weight, bias) in enumerate(zip(model.weights, model.biases, strict=True)):
        product = hidden @ np.asarray(weight).T
        expected[f"weights[{number}]"] = rms(product)
        hidden = np.maximum(product + np.asarray(bias), 0)
    agrees(activation_sizes(lambda model: jax.vmap(model)(x), model), expected)


def test_a_layer_is_moved_with_its_bias_and_the_others_stay():
    x = normal(0, 9, 6)
    model, moved = (MLP((6, 8, 2), key=jax.random.key(seed)) for seed in (0, 1))
    moved = jax.tree.map(lambda leaf: leaf + 0.1, moved)
    before = jax.vmap(model)(x)
    expected = {}
    for number in (0, 1):
        mixed = eqx.tree_at(
            lambda m, n=number: (m.weights[n], m.biases[n]), model, (moved.weights[number], moved.biases[number])
        )
        expected[f"weights[{number}]"] = rms(jax.vmap(mixed)(x) - before)
    agrees(layer_effects(lambda model: jax.vmap(model)(x), model, moved), expected)


def test_layers_of_equinox_under_vmap():
    x = normal(0, 9, 6)
    model = eqx.nn.Linear(6, 4, key=jax.random.key(0))
    product = x @ model.weight.T
    agrees(activation_sizes(lambda model: jax.vmap(model)(x), model), {"weight": rms(product)})
    moved = eqx.tree_at(lambda m: m.bias, model, model.bias + 2.0)
    agrees(layer_effects(lambda model: jax.vmap(model)(x), model, moved), {"weight": 0.0, "bias": 2.0})


def test_effects_on_integers_are_their_differences():
    effects = layer_effects(lambda w: w["a"].astype(jnp.uint8), {"a": jnp.array([5.0])}, {"a": jnp.array([2.0])})
    agrees(effects, {"['a']": 3.0})


@pytest.mark.slow
def test_activations_of_orthogonal_layers_stay_as_the_network_widens():
    """The last is smaller by the root of the width, as muP has it."""
    x, sizes = normal(0, 16, 4), []
    for width in (32, 512):
        shapes = [eqx.filter_eval_shape(ActorCritic, 4, 20, w, key=jax.random.key(0)) for w in (width, 32)]
        model = initialized(ActorCritic(4, 20, width, key=jax.random.key(0)), multipliers(*shapes))
        found = activation_sizes(lambda model: jax.vmap(model)(x)[0], model)
        sizes.append([float(found[f"actor[{layer}].weight"]) for layer in range(3)])
    np.testing.assert_allclose(np.divide(*sizes[::-1]), [1, 1, 1 / 4], rtol=0.15)


def test_convolutions_and_lookups_are_products():
    images, words = normal(0, 3, 2, 6, 6), jnp.array([[0, 2, 2], [1, 0, 2]])
    model = {"conv": eqx.nn.Conv2d(2, 3, 3, key=jax.random.key(0)), "words": normal(1, 3, 4)}
    params, rest = eqx.partition(model, eqx.is_inexact_array)

    def outputs(params):
        model = eqx.combine(params, rest)
        return jax.vmap(model["conv"])(images), model["words"][words]

    convolved = jax.vmap(model["conv"])(images) - model["conv"].bias
    expected = {"['conv'].weight": rms(convolved), "['words']": rms(np.asarray(model["words"])[words])}
    agrees(activation_sizes(outputs, params), expected)
    assert set(layer_effects(outputs, params, jax.tree.map(jnp.zeros_like, params))) == {"['conv']", "['words']"}


@jax.custom_vjp
def doubled(x):
    return 2 * x


def in_custom_jvp(function):
    wrapped = jax.custom_jvp(function)
    wrapped.defjvp(lambda primals, tangents: (function(*primals), function(*tangents)))
    return wrapped


doubled.defvjp(lambda x: (2 * x, None), lambda _, g: (2 * g,))


@pytest.mark.parametrize(
    "around",
    [
        jax.jit,
        jax.checkpoint,
        lambda f: lambda w, x: doubled(jax.nn.relu(f(w, x))) / 2,
        lambda f: jax.jit(jax.checkpoint(f)),
        lambda f: lambda w, x: jax.vmap(f, (None, 0))(w, x),
        in_custom_jvp,
        lambda f: lambda w, x: f(jax.jit(jnp.transpose)(w).T.reshape(4, 5), x),
        lambda f: lambda w, x: jnp.concatenate([f(one, x) for one in jnp.split(w, 5, axis=1)], axis=1),
    ],
    ids=[
        "jit",
        "checkpoint",
        "custom_vjp",
        "jit of checkpoint",
        "vmap",
        "custom_jvp",
        "rearranged",
        "split",
    ],
)
def test_functions_within_are_followed(around):
    x, w = normal(0, 6, 4), normal(1, 4, 5)
    found = activation_sizes(lambda w: around(lambda w, x: x @ w)(w["w"], x), {"w": w})
    agrees(found, {"['w']": rms(x @ w)})
    agrees(jax.jit(lambda w: activation_sizes(lambda w: around(lambda w, x: x @ w)(w["w"], x), {"w": w}))(w), found)


def test_several_products_of_a_parameter_are_averaged():
    x, w = normal(0, 6, 4), normal(1, 4, 4)
    agrees(activation_sizes(lambda w: (x @ w["w"]) @ w["w"], {"w": w}), {"['w']": rms(x @ w, x @ w @ w)})


def test_products_in_loops_and_of_two_parameters_are_missing():
    x, params = normal(0, 6, 4), {"a": normal(1, 4, 4), "b": normal(2, 4, 4), "c": normal(3, 4)}

    def outputs(params):
        product = x @ (params["a"] @ params["b"])
        looped, _ = jax.lax.scan(lambda h, _: (h @ params["a"], None), x, length=2)
        branched = jax.lax.cond(x[0, 0] > 0, lambda: x @ params["a"], lambda: x)
        return product + looped + branched + params["c"] * (x @ params["b"])

    agrees(activation_sizes(outputs, params), {"['b']": rms(x @ params["b"])})


def test_sizes_of_half_precision_are_found_in_single_precision():
    x, w = normal(0, 6, 4).astype(jnp.float16), jnp.full((4, 5), 300, jnp.float16)
    (size,) = activation_sizes(lambda w: x @ w["w"], {"w": w}).values()
    assert size.dtype == jnp.float32
    np.testing.assert_allclose(size, rms(np.asarray(x) @ np.asarray(w, np.float32)), rtol=1e-2)
    effects = layer_effects(lambda w: x @ w["w"], {"w": w}, {"w": 2 * w})
    np.testing.assert_allclose(effects["['w']"], size, rtol=1e-2)


def test_other_structures_are_refused():
    with pytest.raises(ValueError, match="moved must have the structure of params"):
        layer_effects(lambda w: w["a"], {"a": jnp.ones(2)}, {"b": jnp.ones(2)})


# Which arrays are a layer ---------------------------------------------------------------------------------------------


def one():
    return jnp.ones((2, 2)), jnp.ones(2)


@pytest.mark.parametrize(
    ("params", "names"),
    [
        (jnp.ones(2), ("",)),
        (list(one()), ("[0]", "[1]")),
        ([one(), one()], ("[0]", "[0]", "[1]", "[1]")),
        (
            {"weights": [jnp.ones((2, 2))] * 2, "biases": [jnp.ones(2)]},
            ("['weights'][0]", "['weights'][0]", "['weights'][1]"),
        ),
        (
            {"one": dict(zip("wb", one(), strict=True)), "two": {"w": jnp.ones(1)}},
            ("['one']", "['one']", "['two']"),
        ),
        ({"params": dict(zip("wb", one(), strict=True))}, ("['params']['b']", "['params']['w']")),
        (eqx.nn.Linear(2, 3, key=jax.random.key(0)), ("weight", "bias")),
        (
            eqx.filter(eqx.nn.MLP(2, 3, 4, 1, key=jax.random.key(0)), eqx.is_array),
            ("layers[0]", "layers[0]", "layers[1]", "layers[1]"),
        ),
    ],
)
def test_arrays_beside_each_other_are_a_layer(params, names):
    assert layer_names(params) == names


LAYERS = {
    "averaged": "words last",
    "sentences": "words forward backward keys attention hidden last",
    "tagged": "words blocks[0].attention_norm blocks[0].attention.query_proj blocks[0].attention.key_proj "
    "blocks[0].attention.value_proj blocks[0].attention.output_proj blocks[0].mlp_norm blocks[0].expand "
    "blocks[0].contract norm last",
    "graphs": "first hidden[0][0] hidden[0][1] hidden[1][0] hidden[1][1] norms[0] norms[1] last",
}
# Layers without a product that is recorded: normalizations.
WITHOUT = {"blocks[0].attention_norm", "blocks[0].mlp_norm", "norm", "norms[0]", "norms[1]"}


@pytest.mark.slow
@pytest.mark.parametrize("name", LAYERS)
def test_layers_of_sentences_and_graphs_are_found(name):
    problem = PLAIN[name]
    model = problem.initial_model(0)
    inputs = problem.dataset.prepared(jax.tree.map(lambda leaf: leaf[:5], problem.dataset.inputs))
    given = dict.fromkeys(problem.given, jnp.zeros(()))

    def outputs(params):
        return problem.network.outputs(params, model.state, inputs, training=True, given=given)[0]

    names = layer_names(model.params)
    assert set(names) == set(LAYERS[name].split())
    paths = [jax.tree_util.keystr(path).lstrip(".") for path, _ in jax.tree.leaves_with_path(model.params)]
    sizes = jax.jit(lambda params: activation_sizes(outputs, params))(model.params)
    layer_of = dict(zip(paths, names, strict=True))
    assert {layer_of[path] for path in sizes} == set(names) - WITHOUT
    assert all(size > 0 for size in sizes.values())
    # Layers one by one are all that there is to move.
    moved = jax.tree.map(lambda leaf: 1.1 * leaf + 0.01, model.params)
    effects = jax.jit(lambda params, moved: layer_effects(outputs, params, moved))(model.params, moved)
    before = outputs(model.params)
    for layer, effect in effects.items():
        leaves = zip(names, jax.tree.leaves(moved), jax.tree.leaves(model.params), strict=True)
        mixed = jax.tree.unflatten(jax.tree.structure(model.params), [m if n == layer else w for n, m, w in leaves])
        np.testing.assert_allclose(effect, rms(outputs(mixed) - before), rtol=1e-3, atol=1e-6)


@pytest.mark.slow
def test_layers_of_a_residual_network_are_found_in_training():
    small, large = (
        Network(lambda key, width=width: ResNet.cifar(width, channels=1, stages=(1, 1), key=key)) for width in (2, 4)
    )
    params, state = small.initialize(jax.random.key(0))
    images = normal(0, 5, 8, 8, 1)
    sizes = activation_sizes(lambda params: small.outputs(params, state, images, training=True)[0], params)
    roles = layer_roles(large.structure, small.structure)
    convolutions = {name for name in roles if name.endswith("convolution")}
    assert {path.rpartition(".")[0] for path in sizes} == convolutions | {"last"}
    assert len(convolutions) == 6
    normalizations = {name.replace("convolution", "normalization"): "input" for name in convolutions}
    hidden = dict.fromkeys(convolutions - {"stem.convolution"}, "hidden")
    assert roles == hidden | normalizations | {"stem.convolution": "input", "last": "output"}


def test_the_state_of_a_model_is_not_initialized_otherwise():
    """Of batch normalization: its arrays are none of the parameters."""

    def build(key, width):
        return ResNet.cifar(width, channels=1, stages=(1,), key=key)

    small, large = (Network(lambda key, w=w: build(key, w)) for w in (2, 4))
    factors = multipliers(large.structure, small.structure)
    layered = Network(lambda key: initialized(build(key, 4), factors))
    (params, state), (plain, same) = (one.initialize(jax.random.key(0)) for one in (layered, large))
    assert all(map(np.array_equal, state, same))
    np.testing.assert_allclose(params.last.weight, plain.last.weight * factors.initial.last.weight, rtol=1e-6)
    assert factors.initial.last.weight == pytest.approx(0.5**0.5)


def test_roles_are_those_of_the_array_with_most_axes():
    def of(width):
        return eqx.filter_eval_shape(MLP, (4, width, width, 3), key=jax.random.key(0))

    assert layer_roles(of(8), of(2)) == {"weights[0]": "input", "weights[1]": "hidden", "weights[2]": "output"}
    assert set(layer_roles(of(8), of(8)).values()) == {"fixed"}


# How sizes follow the width -------------------------------------------------------------------------------------------

WIDTHS, RHO, LEARNING_RATE = (64, 128, 256, 512), 0.05, 0.05
# Of the last layer: random outputs at initialization shrink with the width, and hide in narrow networks what is learnt.
SMALL = 0.2
INPUTS, LABELS = normal(0, 48, 16), jnp.asarray(np.random.default_rng(1).integers(0, 4, 48))


def coordinates(parametrization, width, seed, steps):
    """Activations, effects of the update and effects of the ascent by layer, after a few steps of SAM."""

    def build(width):
        model = MLP((16, width, width, 4), key=jax.random.key(seed))
        return eqx.tree_at(lambda model: model.weights[-1], model, replace_fn=lambda weight: SMALL * weight)

    model, factors = build(width), multipliers(eqx.filter_eval_shape(build, width), eqx.filter_eval_shape(build, 64))
    rates = jax.tree.map(lambda factor: factor if parametrization != "standard" else 1.0, factors.sgd)
    model = initialized(model, factors) if parametrization != "standard" else model
    scales = perturbation(factors) if parametrization == "mup2" else None

    def outputs(model):
        return jax.vmap(model)(INPUTS)

    def gradient(model):
        return jax.grad(lambda m: optax.softmax_cross_entropy_with_integer_labels(outputs(m), LABELS).mean())(model)

    def ascended(model):
        return sam.ascent_point(model, gradient(model), RHO, scales=scales)

    def step(_, model):
        move = gradient(ascended(model))
        return jax.tree.map(lambda w, rate, g: w - LEARNING_RATE * rate * g, model, rates, move)

    @jax.jit
    def measured(model):
        trained = jax.lax.fori_loop(0, steps, step, model)
        return (
            activation_sizes(outputs, trained),
            layer_effects(outputs, model, trained),
            layer_effects(outputs, trained, ascended(trained)),
        )

    return [[float(found[f"weights[{layer}]"]) for layer in range(3)] for found in measured(model)]


def exponents(parametrization, steps=20, seeds=3):
    """[quantity, layer]: least-squares slopes in logarithms, of geometric means over seeds."""
    sizes = np.array([[coordinates(parametrization, w, seed, steps) for seed in range(seeds)] for w in WIDTHS])
    logs = np.log(sizes).mean(1)
    return np.polyfit(np.log(WIDTHS), logs.reshape(len(WIDTHS), -1), 1)[0].reshape(3, 3)


@pytest.mark.slow
def test_with_muP2_all_sizes_stay_as_the_network_widens():
    assert np.abs(exponents("mup2")).max() < 0.15


@pytest.mark.slow
def test_with_muP_only_the_perturbation_of_the_last_layer_stays_effective():
    """As in the limit of infinite width of Haas et al. 2024."""
    activations, updates, (first, hidden, last) = exponents("mup")
    assert np.abs([activations, updates]).max() < 0.15
    assert first == pytest.approx(-1.5, abs=0.2)
    assert hidden == pytest.approx(-0.5, abs=0.2)
    assert last > 0.2


@pytest.mark.slow
def test_with_the_standard_parametrization_first_steps_grow_with_the_width():
    (first, hidden, last), updates, ascents = exponents("standard", steps=2)
    assert np.abs([first, hidden]).max() < 0.15
    assert last == pytest.approx(1.0, abs=0.2)
    assert updates[1:] == pytest.approx([1.0, 1.0], abs=0.2)
    assert updates[0] < 0.1
    assert np.all(ascents[1:] > 0.5)
    assert ascents[0] < -0.1
