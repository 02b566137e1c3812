import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from widebasin.models.dropout import bernoulli, dropped, words_dropped
from widebasin.training.network import computing_in

KEY = jax.random.key(0)
drop = jax.jit(dropped)
drop_words = jax.jit(words_dropped, static_argnums=3)
X = jnp.asarray(np.random.default_rng(0).normal(size=(40, 500)), jnp.float32)


def test_entries_are_dropped_at_the_rate_and_others_make_up_for_them():
    """Traced rates share a program."""
    for rate in (0.1, 0.5, 0.9):
        found = np.asarray(drop(KEY, X, jnp.float32(rate)))
        gone = found == 0
        assert scipy.stats.binomtest(int(gone.sum()), gone.size, rate).pvalue > 1e-3
        np.testing.assert_allclose(found[~gone], np.asarray(X)[~gone] / (1 - rate), rtol=1e-5)
        # Of many draws the mean is x: here of rows that are alike.
        ones = np.asarray(drop(KEY, jnp.ones_like(X), jnp.float32(rate)))
        assert abs(ones.mean() - 1) < 5 * np.sqrt(rate / (1 - rate) / X.size)
    assert drop._cache_size() == 1


def test_rate_zero_and_no_key_change_no_bit():
    odd = X.at[0, :5].set(jnp.array([0.0, -0.0, jnp.inf, jnp.nan, 1e-30]))
    for found in (drop(KEY, odd, jnp.float32(0)), drop(None, odd, jnp.float32(0.7)), dropped(None, odd, 0.7)):
        np.testing.assert_array_equal(np.asarray(found).view(np.int32), np.asarray(odd).view(np.int32))


def test_a_rate_may_be_a_whole_number():
    np.testing.assert_array_equal(dropped(KEY, X, 0), X)
    words, present = jnp.arange(5), jnp.ones(5, bool)
    np.testing.assert_array_equal(words_dropped(KEY, words, 0, 1, present), words)


def test_lower_rates_drop_some_of_what_higher_ones_do():
    low, high = (np.asarray(drop(KEY, X, jnp.float32(rate))) == 0 for rate in (0.2, 0.6))
    assert (high[low]).all()
    other = np.asarray(drop(jax.random.key(1), X, jnp.float32(0.2))) == 0
    assert (other != low).any()


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_types_stay(dtype):
    assert drop(KEY, X.astype(dtype), jnp.float32(0.3)).dtype == dtype


def test_the_gradient_is_what_is_kept():
    gradient = np.asarray(jax.jit(jax.grad(lambda x: dropped(KEY, x, 0.25).sum()))(X))
    kept = np.asarray(drop(KEY, X, jnp.float32(0.25))) != 0
    np.testing.assert_allclose(gradient, kept / 0.75, rtol=1e-6)


def test_words_become_the_unknown_word_and_padding_stays():
    words = jnp.asarray(np.random.default_rng(1).integers(2, 50, 20_000), jnp.int32).at[12_000:].set(0)
    present = words != 0
    for rate in (0.0, 0.1, 0.8):
        found = np.asarray(drop_words(KEY, words, jnp.float32(rate), 1, present))
        changed = found != np.asarray(words)
        assert not changed[12_000:].any()
        assert set(found[changed].tolist()) <= {1}
        assert scipy.stats.binomtest(int(changed.sum()), 12_000, rate).pvalue > 1e-3
    np.testing.assert_array_equal(drop_words(None, words, jnp.float32(0.5), 1, present), words)
    assert drop_words._cache_size() == 2  # with a key and without


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("probability", [0.0, 0.1, 0.5, 1.0])
def test_bernoulli_is_that_of_jax(precision, probability):
    with computing_in(precision):
        keys = jax.random.split(jax.random.fold_in(jax.random.key(3), 1), 4)
        for shape in ((), (7,), (3, 5, 2)):
            own = jax.vmap(lambda key, shape=shape: bernoulli(key, probability, shape))(keys)
            its = jax.vmap(lambda key, shape=shape: jax.random.bernoulli(key, probability, shape))(keys)
            assert own.dtype == bool
            assert (own == its).all()


def test_bernoulli_of_other_keys_and_settings_is_that_of_jax():
    keys = [jax.random.key(3, impl="rbg"), jax.random.key(3)]
    for partitionable in (True, False):
        with jax.threefry_partitionable(partitionable):
            for key in keys:
                assert (bernoulli(key, jnp.float32(0.4), (50,)) == jax.random.bernoulli(key, 0.4, (50,))).all()
