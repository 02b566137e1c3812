"""Models of Flax linen, Flax NNX, Haiku and plain functions, compared with what the libraries compute themselves."""

import equinox as eqx
import flax.linen
import haiku
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from together import together

from widebasin import sam
from widebasin.data import Dataset, SplitSizes
from widebasin.models import BATCH_AXIS, Applied, from_haiku, from_linen, from_nnx, is_convolutional
from widebasin.training import CLASSIFICATION, Network, Plan, Point, Program, Recipe, Supervised, train

INPUTS = np.random.default_rng(0).normal(2.0, 3.0, (12, 4)).astype(np.float32)
KEYS = jax.random.split(jax.random.key(7), 12)
MOMENTUM = 0.9


class Linen(flax.linen.Module):
    """Dense, batch normalization, dropout, dense."""

    drop: float = 0.0
    normalized: bool = True

    @flax.linen.compact
    def __call__(self, inputs, train):
        hidden = flax.linen.Dense(5)(inputs)
        if self.normalized:
            hidden = flax.linen.BatchNorm(use_running_average=not train, momentum=MOMENTUM)(hidden)
        hidden = flax.linen.Dropout(self.drop, deterministic=not train)(hidden)
        return flax.linen.Dense(3)(hidden)


class Nnx(nnx.Module):
    def __init__(self, drop, normalized, rngs):
        self.layers = nnx.List([nnx.Linear(4, 5, rngs=rngs), nnx.Linear(5, 3, rngs=rngs)])
        self.norm = nnx.BatchNorm(5, momentum=MOMENTUM, rngs=rngs) if normalized else lambda hidden: hidden
        self.drop = nnx.Dropout(drop, rngs=rngs)

    def __call__(self, inputs):
        return self.layers[1](self.drop(self.norm(self.layers[0](inputs))))


def haiku_function(drop, normalized):
    def function(inputs, is_training):
        hidden = haiku.Linear(5)(inputs)
        if normalized:
            hidden = haiku.BatchNorm(True, True, MOMENTUM)(hidden, is_training)
        if is_training and drop:
            hidden = haiku.dropout(haiku.next_rng_key(), drop, hidden)
        return haiku.Linear(3)(hidden)

    return function


def plain(drop, normalized):
    def apply(params, state, inputs, *, training, key):
        hidden = inputs @ params["first"]
        if normalized:
            mean, variance = (hidden.mean(0), hidden.var(0)) if training else (state["mean"], state["variance"])
            state = {
                "mean": MOMENTUM * state["mean"] + (1 - MOMENTUM) * mean,
                "variance": MOMENTUM * state["variance"] + (1 - MOMENTUM) * variance,
            }
            hidden = (hidden - mean) / jnp.sqrt(variance + 1e-5)
        if training and drop:
            hidden = hidden * jax.random.bernoulli(key, 1 - drop, hidden.shape) / (1 - drop)
        return hidden @ params["last"], state

    def without_state(params, inputs, *, training, key):
        return apply(params, None, inputs, training=training, key=key)[0]

    def build(key):
        first, last = (
            jax.random.normal(one, shape) for one, shape in zip(jax.random.split(key), ((4, 5), (5, 3)), strict=True)
        )
        state = {"mean": jnp.zeros(5), "variance": jnp.ones(5)} if normalized else None
        return Applied({"first": first, "last": last}, apply if normalized else without_state, state)

    return build


def built(library, key, drop=0.0, normalized=True):
    if library == "linen":
        return from_linen(Linen(drop, normalized), key, INPUTS[:1])
    if library == "nnx":
        return from_nnx(Nnx(drop, normalized, nnx.Rngs(key)))
    if library == "haiku":
        transform = haiku.transform_with_state if normalized else haiku.transform
        return from_haiku(transform(haiku_function(drop, normalized)), key, INPUTS[:1])
    return plain(drop, normalized)(key)


LIBRARIES = ["linen", "nnx", "haiku", "plain"]


def by_the_library(library, key, training):
    """The outputs for the batch of a network with batch normalization, and the means that it keeps afterwards."""
    if library == "linen":
        module = Linen()
        variables = module.init(key, INPUTS, train=False)
        outputs, moved = module.apply(variables, INPUTS, train=training, mutable=["batch_stats"])
        return outputs, moved["batch_stats"]["BatchNorm_0"]["mean"]
    if library == "nnx":
        module = Nnx(0.0, True, nnx.Rngs(key))
        (module.train if training else module.eval)()
        return module(INPUTS), module.norm.mean[...]
    if library == "haiku":
        transformed = haiku.transform_with_state(haiku_function(0.0, True))
        variables = transformed.init(key, INPUTS, True)
        if not training:
            return None, None  # Haiku's averages begin with the first batch
        outputs, state = transformed.apply(*variables, None, INPUTS, training)
        return outputs, state["batch_norm/~/mean_ema"]["average"]
    model = plain(0.0, True)(key)
    state = {"mean": jnp.zeros(5), "variance": jnp.ones(5)}
    outputs, after = model.apply(model.params, state, INPUTS, training=training, key=None)
    return outputs, after["mean"]


@pytest.mark.slow
@together("library", LIBRARIES)
def test_batch_normalization_is_that_of_the_library_over_the_whole_batch(library):
    network = Network(lambda key: built(library, key))
    params, state = network.initialize(jax.random.key(1))
    assert network.stateful
    assert network.num_params == 4 * 5 + 5 * 3 + (5 + 3 + 5 + 5) * (library != "plain")
    outputs, after = network.outputs(params, state, INPUTS, training=True, keys=KEYS)
    expected, mean = by_the_library(library, jax.random.key(1), True)
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-5)
    assert any(leaf.shape == mean.shape and np.allclose(leaf, mean, atol=1e-5) for leaf in after)
    judged, still = network.outputs(params, state, INPUTS, training=False)
    assert still is state
    expected, _ = by_the_library(library, jax.random.key(1), False)
    if expected is not None:
        np.testing.assert_allclose(judged, expected, rtol=1e-4, atol=1e-5)
    # The trained network by itself judges by the averages that it was left with.
    judged, _ = network.outputs(params, after, INPUTS, training=False)
    alone = network.inference_model(params, after)
    np.testing.assert_allclose(jax.vmap(alone)(INPUTS), judged, rtol=1e-5, atol=1e-5)
    floating = sum(leaf.size for leaf in jax.tree.leaves(eqx.filter(alone, eqx.is_inexact_array)))
    assert floating == network.num_params


@pytest.mark.slow
@together("library", LIBRARIES)
def test_what_dropout_drops_is_the_examples_own_and_no_state(library):
    """Without a state an example has its own key: half of the batch drops what it drops in the whole."""
    network = Network(lambda key: built(library, key, drop=0.5, normalized=False))
    params, state = network.initialize(jax.random.key(1))
    assert not network.stateful

    def outputs(training=True, keys=KEYS, inputs=INPUTS):
        return np.asarray(network.outputs(params, state, inputs, training=training, keys=keys)[0])

    np.testing.assert_array_equal(outputs(), outputs())
    np.testing.assert_allclose(outputs()[6:], outputs(keys=KEYS[6:], inputs=INPUTS[6:]), rtol=1e-5, atol=1e-6)
    assert not np.allclose(outputs(), outputs(keys=KEYS[::-1]))
    judged = outputs(training=False, keys=None)
    assert not np.allclose(outputs(), judged)


@pytest.mark.slow
@together("library", LIBRARIES)
def test_with_a_state_dropout_takes_the_steps_key(library):
    network = Network(lambda key: built(library, key, drop=0.5))
    params, state = network.initialize(jax.random.key(1))
    first = [network.outputs(params, state, INPUTS, training=True, keys=keys)[0] for keys in (KEYS, KEYS, KEYS[::-1])]
    np.testing.assert_array_equal(first[0], first[1])
    assert not np.allclose(first[0], first[2])


EXAMPLES = Dataset("sums", np.tile(INPUTS, (5, 1)), np.tile(INPUTS.sum(1) > 8, 5).astype(np.int32), 2)


def trained(library, method, microbatch=None):
    problem = Supervised(
        build=lambda key: built(library, key, drop=0.3),
        dataset=EXAMPLES,
        sizes=SplitSizes(40, 10, 10),
        objective=CLASSIFICATION,
        recipe=Recipe(epochs=2, batch_size=20, learning_rate=0.1),
    )
    points = [Point.of(seed, rho=0.0, weight_decay=0.0, learning_rate=0.1) for seed in (0, 1)]
    return train(Program(problem, lambda rho: method, Plan(2, "scan", "cpu", microbatch=microbatch)), points)


@pytest.mark.slow
@together("library", LIBRARIES)
def test_at_radius_0_sam_is_sgd_to_the_bit(library):
    """Which it is not where the second pass draws another mask, or its statistics count as well."""
    network = Network(lambda key: built(library, key, drop=0.3))
    params, state = network.initialize(jax.random.key(1))

    def loss_fn(params, inputs, keys):
        outputs, after = network.outputs(params, state, inputs, training=True, keys=keys)
        return jnp.mean(outputs**2), after

    def step(method):
        found = method.value_and_grad(loss_fn, has_aux=True)(params, method.init(params), INPUTS, KEYS)
        return jax.tree.leaves(found[:2])

    for ours, theirs in zip(step(sam.SGD()), step(sam.SAM(rho=0.0)), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.slow
def test_groups_merge_averages_and_counts():
    """Haiku's state counts the batches that it has seen: two epochs of two steps, whatever they are cut into."""
    for method, microbatch in ((sam.SAM(rho=0.1, m=5), None), (sam.SAM(rho=0.1), 10)):
        found = trained("haiku", method, microbatch)
        counts = [leaf for leaf in found.model if leaf.dtype == np.int32]
        assert [leaf.tolist() for leaf in counts] == [[4, 4], [4, 4]]
        assert np.isfinite(found.history["train_loss"]).all()


def test_a_function_may_be_made_anew_whenever_a_network_is_built():
    """As the methods of a module of Flax, and the closures of Haiku, are."""

    def build(key):
        module = flax.linen.Dense(3)
        return Applied(module.init(key, np.zeros((1, 4), np.float32)), lambda params, x: module.apply(params, x))

    network = Network(build)
    params, state = network.initialize(jax.random.key(1))
    outputs, _ = network.outputs(params, state, INPUTS, training=True)
    np.testing.assert_allclose(outputs, jax.vmap(build(jax.random.key(1)))(INPUTS), rtol=1e-6)


def test_inputs_and_outputs_may_be_trees():
    pair = Applied({"scale": np.float32(2.0)}, lambda params, x: {"twice": params["scale"] * x["a"] + x["b"]})
    outputs = jax.vmap(pair)({"a": INPUTS, "b": 1 + INPUTS})
    np.testing.assert_allclose(outputs["twice"], 3 * INPUTS + 1, rtol=1e-5)


def test_float64_is_float64_of_libraries_that_make_float32():
    def build(key):
        single = jnp.float32(jax.random.normal(key, (4, 3)))
        return Applied(single, lambda params, state, inputs: (inputs @ params, state), {"mean": single[0]})

    network = Network(build, "float64")
    with jax.enable_x64(True):
        params, state = network.initialize(jax.random.key(1))
        outputs, after = network.outputs(params, state, INPUTS.astype(float), training=True, keys=KEYS)
    assert {leaf.dtype for leaf in jax.tree.leaves((params, state, outputs, after))} == {np.dtype(np.float64)}


def test_what_convolves_is_found_in_any_library():
    images = np.zeros((1, 8, 8, 1), np.float32)
    conv = flax.linen.Conv(3, (3, 3))
    assert is_convolutional(from_linen(conv, jax.random.key(0), images))
    assert not is_convolutional(built("linen", jax.random.key(0)))


@together(
    ("made", "message"),
    [
        (lambda: Applied(lambda params, x: x, {"w": INPUTS}), "apply must be a function .* got dict; it comes second"),
        (lambda: Applied({"w": INPUTS}, flax.linen.Dense(3)), "got Dense; give its apply, as Applied"),
        (
            lambda: Applied({"params": INPUTS, "batch_stats": INPUTS}, len),
            "batch_stats besides params, .* use from_linen",
        ),
        (lambda: Network(lambda key: {"w": jnp.zeros(3)}), "build must return a model .* got one of type dict"),
        (lambda: Network(lambda key: None), "build must return a model .* got None: end it with return"),
    ],
)
def test_what_is_no_model_is_refused(made, message):
    with pytest.raises(ValueError, match=message):
        made()


@together(
    ("returned", "message"),
    [
        (lambda params, state, inputs: inputs, r"apply must return \(outputs, state\), as it takes a state; got"),
        (
            lambda params, state, inputs: (inputs, {}),
            r"apply must return \(outputs, state\) with the state's structure",
        ),
    ],
)
def test_a_state_that_does_not_come_back_is_refused(returned, message):
    network = Network(lambda key: Applied({"w": jnp.zeros(3)}, returned, {"mean": jnp.zeros(3)}))
    params, state = network.initialize(jax.random.key(0))
    with pytest.raises(ValueError, match=message):
        network.outputs(params, state, INPUTS, training=True)


def test_a_state_needs_the_batch():
    model, state = eqx.nn.make_with_state(plain(0.0, True))(jax.random.key(0))
    with pytest.raises(ValueError, match=f"axis_name='{BATCH_AXIS}'"):
        model(INPUTS[0], state)
    eqx.nn.inference_mode(model)(INPUTS[0], state)
