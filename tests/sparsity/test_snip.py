import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from widebasin.models import MLP
from widebasin.sparsity import apply_mask, pruned_in_total, remaining, snip_mask, snip_scores

LEVELS = (0.0, 0.5, 0.75, 0.9375, 0.984, 0.996, 1.0)


def loss(model, inputs, targets):
    return jnp.mean((jnp.tanh(jax.vmap(model)(inputs)) - targets) ** 2)


@jax.jit
def made():
    """A network of 450 weights, inputs, targets and gradients."""
    model = MLP((20, 15, 10), key=jax.random.key(0))
    inputs, targets = jax.random.normal(jax.random.key(1), (8, 20)), jax.random.normal(jax.random.key(2), (8, 10))
    return model, inputs, targets, jax.grad(loss)(model, inputs, targets)


NETWORK, INPUTS, TARGETS, GRADIENTS = made()
at_count = jax.jit(snip_mask)


def entries(mask):
    """The masks of the kernels, one after the other."""
    return np.concatenate([np.asarray(weight).ravel() for weight in mask.weights])


def test_scores_of_complex_weights_are_derivatives_by_a_real_factor():
    """Of ``|c w - t|^2`` by ``c`` at 1: ``2 Re(w conj(w - t))``."""
    w, t = jnp.array([[1 + 2j, 3 - 1j]]), jnp.array([[2j, 1 + 1j]])
    scores = snip_scores(lambda w: jnp.sum(jnp.abs(w - t) ** 2), w)
    np.testing.assert_allclose(scores, np.abs(2 * np.real(w * np.conj(w - t))), rtol=1e-6)
    mask = snip_mask(w, jax.grad(lambda w: jnp.sum(jnp.abs(w - t) ** 2))(w), 1)
    np.testing.assert_array_equal(mask, scores > scores.min())


def test_scores_are_the_derivative_by_a_factor_on_every_weight():
    """Central differences of L(c w) in every c around 1, in double precision."""
    with jax.enable_x64(True):
        widened = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf), jnp.float64), (NETWORK, INPUTS, TARGETS))
        model, inputs, targets = widened
        scores = snip_scores(loss, model, inputs, targets)
        structure = jax.tree.structure(model)
        h = 1e-5

        @jax.jit
        @jax.vmap
        def slopes(where):
            def moved(sign):
                factors = structure.unflatten(
                    1 + sign * h * part.reshape(leaf.shape)
                    for part, leaf in zip(jnp.split(where, ends), jax.tree.leaves(model), strict=True)
                )
                return loss(jax.tree.map(jnp.multiply, model, factors), inputs, targets)

            return (moved(1) - moved(-1)) / (2 * h)

        sizes = [leaf.size for leaf in jax.tree.leaves(model)]
        ends = np.cumsum(sizes)[:-1]
        expected = np.abs(slopes(jnp.eye(sum(sizes))))
        found = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(scores)])
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-10)
        assert found.max() > 1e-3


@pytest.mark.parametrize("level", LEVELS)
def test_the_lowest_scores_of_all_layers_together_go(level):
    count = pruned_in_total(NETWORK, level)
    mask = at_count(NETWORK, GRADIENTS, count)
    scores = snip_scores(loss, NETWORK, INPUTS, TARGETS)
    flat = np.concatenate([np.ravel(weight) for weight in scores.weights])
    expected = np.ones(450, bool)
    expected[np.argsort(flat, kind="stable")[:count]] = False
    np.testing.assert_array_equal(entries(mask), expected)
    assert int(remaining(NETWORK, mask)) == 475 - round(level * 450)
    assert np.all(mask.biases[0])


def test_all_levels_are_one_program_and_nested():
    traces = []

    @jax.jit
    def mask_at(count):
        traces.append(count)
        return snip_mask(NETWORK, GRADIENTS, count)

    masks = [entries(mask_at(pruned_in_total(NETWORK, level))) for level in LEVELS]
    assert len(traces) == 1
    for low, high in itertools.pairwise(masks):
        assert not (high & ~low).any()


@given(zeros=st.integers(0, 450), count=st.integers(0, 450), value=st.sampled_from([1.0, 1e-38, 1e-42, 3e38]))
def test_counts_are_exact_however_many_scores_are_equal(zeros, count, value):
    """Dead units: the first ``zeros`` scores are 0, all others the same."""
    gradients = jnp.where(jnp.arange(450) < zeros, 0.0, value)
    first, second = gradients[:300].reshape(15, 20), gradients[300:].reshape(10, 15)
    params = [jnp.ones((15, 20)), -jnp.ones((10, 15))]
    mask = at_count(params, [first, second], count)
    kept = np.concatenate([np.ravel(layer) for layer in mask])
    np.testing.assert_array_equal(kept, np.arange(450) >= count)


@pytest.mark.slow
def test_networks_in_one_program_are_those_one_by_one():
    keys = jax.random.split(jax.random.key(5), 3)
    models = jax.vmap(lambda key: MLP((20, 15, 10), key=key))(keys)
    counts = jnp.array([0, 225, 443])

    def one(model, count):
        return snip_mask(model, jax.grad(loss)(model, INPUTS, TARGETS), count)

    together = jax.jit(jax.vmap(one))(models, counts)
    for i in range(3):
        alone = jax.jit(one)(jax.tree.map(lambda leaf, i=i: leaf[i], models), counts[i])
        np.testing.assert_array_equal(entries(jax.tree.map(lambda leaf, i=i: leaf[i], together)), entries(alone))
        assert entries(alone).sum() == 450 - counts[i]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_not_finite_is_refused_by_name(bad):
    gradients = {"dense": jnp.array([[1.0, bad]]), "bias": jnp.array([np.nan])}
    with pytest.raises(ValueError, match=r"SNIP scores of \['dense'\] are not finite"):
        snip_mask({"dense": jnp.ones((1, 2)), "bias": jnp.ones(1)}, gradients, 1)


def test_within_a_program_scores_that_are_not_finite_go_last():
    gradients = [jnp.array([[np.nan, 3.0, np.inf, 2.0, -np.inf, -np.nan]])]
    order = [at_count([jnp.ones((1, 6))], gradients, count)[0][0].tolist() for count in (2, 6)]
    assert order == [[True, False, True, False, True, True], [False] * 6]


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_half_precision_does_not_lose_small_scores(dtype):
    """Products below the range of float16 are still told apart."""
    weights, slopes = jnp.array([[2.0, 1.0, 3.0]], dtype) * 1e-4, jnp.array([[1.0, 1.0, 1.0]], dtype) * 1e-4
    scores = snip_scores(lambda w: jnp.sum(w * slopes).astype(jnp.float32), weights)
    assert scores.dtype == jnp.float32
    assert snip_mask([weights], [slopes], 2)[0].tolist() == [[False, False, True]]


def test_layers_of_different_precision_are_compared():
    params = [jnp.array([[1.0, 4.0]], jnp.bfloat16), jnp.array([[2.0, 3.0]])]
    mask = snip_mask(params, [jnp.ones((1, 2), jnp.bfloat16), jnp.ones((1, 2))], 2)
    assert [layer.tolist() for layer in mask] == [[[False, True]], [[False, True]]]


def test_what_is_not_differentiated_may_be_none_unless_it_is_pruned():
    params = {"kernel": jnp.ones((2, 2)), "mean": jnp.ones(2)}
    mask = snip_mask(params, {"kernel": jnp.arange(4.0).reshape(2, 2), "mean": None}, 2)
    assert mask["kernel"].tolist() == [[False, False], [True, True]]
    with pytest.raises(ValueError, match=r"None at \['kernel'\], which would be pruned"):
        snip_mask(params, {"kernel": None, "mean": None}, 2)


def test_gradients_of_other_parameters_are_refused():
    with pytest.raises(ValueError, match="gradients must have the structure of params"):
        snip_mask([jnp.ones((2, 2)), jnp.ones(2)], [jnp.ones((2, 2))], 1)


@pytest.mark.slow
def test_the_pruned_loss_is_the_loss_where_scores_are_zero():
    """Weights behind a unit that is never active have score 0; without them the network is the same."""
    model = jax.tree.map(lambda leaf: leaf, NETWORK)
    model.biases[0] = model.biases[0].at[:7].set(-1e3)
    mask = snip_mask(model, jax.grad(loss)(model, INPUTS, TARGETS), 7 * 20 + 7 * 10)
    assert not mask.weights[0][:7].any()
    assert not mask.weights[1][:, :7].any()
    assert loss(apply_mask(model, mask), INPUTS, TARGETS) == loss(model, INPUTS, TARGETS)
