import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from widebasin.models import MLP
from widebasin.sparsity import pruned_per_layer, random_mask, remaining

KEY = jax.random.key(3)
LEVELS = (0.0, 0.5, 0.75, 0.9375, 0.984, 0.996, 1.0)
NETWORK = jax.jit(lambda key: MLP((40, 30, 20, 10), key=key))(jax.random.key(0))
SIZES = (1200, 600, 200)


def counts(levels):
    return jnp.array([pruned_per_layer(NETWORK, level) for level in levels])


@pytest.fixture(scope="module")
def masks():
    """One for every level, of one key, in one program."""
    return jax.jit(jax.vmap(random_mask, in_axes=(None, None, 0)))(KEY, NETWORK, counts(LEVELS))


def test_every_layer_loses_exactly_its_share(masks):
    pruned = np.stack([np.sum(~np.asarray(weight), axis=(1, 2)) for weight in masks.weights], axis=1)
    exact = [[round(level * size) for size in SIZES] for level in LEVELS]
    assert pruned.tolist() == exact


def test_biases_stay(masks):
    assert all(bias.all() for bias in masks.biases)
    assert random_mask(KEY, NETWORK, pruned_per_layer(NETWORK, 1.0)).biases == [True, True, True]


def test_a_higher_level_prunes_a_superset(masks):
    for weight in masks.weights:
        assert not (np.asarray(weight)[1:] & ~np.asarray(weight)[:-1]).any()


def test_several_levels_in_one_program_are_those_one_by_one(masks):
    for i, level in enumerate(LEVELS):
        alone = random_mask(KEY, NETWORK, pruned_per_layer(NETWORK, level))
        for together, single in zip(masks.weights, alone.weights, strict=True):
            np.testing.assert_array_equal(together[i], single)


def test_networks_of_different_seeds_in_one_program_are_those_one_by_one():
    keys = jax.random.split(KEY, 3)
    levels = counts((0.5, 0.9375, 0.0))
    together = jax.vmap(random_mask, in_axes=(0, None, 0))(keys, NETWORK, levels)
    for i in range(3):
        alone = random_mask(keys[i], NETWORK, levels[i])
        for many, single in zip(together.weights, alone.weights, strict=True):
            np.testing.assert_array_equal(many[i], single)


def test_shapes_are_enough():
    shapes = jax.eval_shape(lambda: NETWORK)
    pruned = pruned_per_layer(NETWORK, 0.5)
    masks = [random_mask(KEY, params, pruned).weights for params in (shapes, NETWORK)]
    for left, right in zip(*masks, strict=True):
        np.testing.assert_array_equal(left, right)


def test_every_weight_is_as_likely_and_layers_are_independent():
    """4000 masks of two layers of 3 x 4 at one half: chi-square of every weight, and of pairs across layers."""
    params = [jnp.zeros((3, 4)), jnp.zeros((4, 3))]
    keys = jax.random.split(jax.random.key(0), 4000)
    first, second = jax.vmap(lambda key: random_mask(key, params, (6, 6)))(keys)
    first, second = (~np.asarray(mask).reshape(4000, 12) for mask in (first, second))
    for layer in (first, second):
        # Weights of one layer exclude each other, which divides the variance of the counts' sum of squares by 11/6.
        statistic = np.sum((layer.sum(0) - 2000) ** 2 / (4000 * 0.25)) * 11 / 12
        assert 1e-3 < scipy.stats.chi2.sf(statistic, 11) < 1 - 1e-3
    both = first.T.astype(int) @ second
    assert abs(both - 1000).max() < 5 * np.sqrt(4000 * 0.25 * 0.75)
    assert len({tuple(row) for row in first.tolist()}) > 900 * 0.95  # of 924 ways to prune 6 of 12


def test_remaining_counts_kernels_and_biases(masks):
    left = jax.vmap(remaining, in_axes=(None, 0))(NETWORK, masks)
    assert left.tolist() == [2060 - sum(round(level * size) for size in SIZES) for level in LEVELS]


def test_counts_for_other_layers_are_refused():
    with pytest.raises(ValueError, match=r"one count for each of the 3 pruned layers, got shape \(2,\)"):
        random_mask(KEY, NETWORK, (5, 5))
