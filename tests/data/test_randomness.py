import itertools
import zlib

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from widebasin.data import key_for, permutation

PURPOSES = ["split", "initialization", "batches", "label noise", "augmentation", "pruning", "dropout", "method", ""]


def bits(key):
    return tuple(np.asarray(jax.random.key_data(key)).tolist())


def test_purposes_have_distinct_keys_and_none_is_the_key_itself():
    key = jax.random.key(0)
    assert len({bits(key), *(bits(key_for(key, purpose)) for purpose in PURPOSES)}) == len(PURPOSES) + 1


def test_seeds_have_distinct_keys_for_one_purpose():
    assert len({bits(key_for(jax.random.key(seed), "split")) for seed in range(50)}) == 50


@given(order=st.permutations(PURPOSES))
def test_a_key_does_not_depend_on_what_was_asked_before(order):
    key = jax.random.key(3)
    keys = {purpose: bits(key_for(key, purpose)) for purpose in order}
    assert keys == {purpose: bits(key_for(key, purpose)) for purpose in PURPOSES}


@given(purpose=st.text(max_size=20))
def test_is_the_checksum_of_the_name_folded_in(purpose):
    key = jax.random.key(1)
    assert bits(key_for(key, purpose)) == bits(jax.random.fold_in(key, zlib.crc32(purpose.encode("utf-8"))))


def test_draws_for_two_purposes_are_uncorrelated():
    """|r| of 10,000 pairs is below 5 / sqrt(10,000)."""
    draws = [jax.random.normal(key_for(jax.random.key(0), purpose), (10_000,)) for purpose in PURPOSES]
    for x, y in itertools.combinations(draws, 2):
        assert abs(np.corrcoef(x, y)[0, 1]) < 0.05


@pytest.mark.parametrize("count", [0, 1, 1625, 1626, 200_000])
def test_a_permutation_sorts_by_random_bits_as_numpy_does(count):
    """From 1,626 on twice; among 200,000 there are equal bits, which keep their order."""
    key = jax.random.key(count)
    order = np.arange(count)
    for _ in range((count > 1) + (count > 1625)):
        key, drawn = jax.random.split(key)
        order = order[np.argsort(np.asarray(jax.random.bits(drawn, (count,))), kind="stable")]
    found = permutation(jax.random.key(count), count)
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, order)
    np.testing.assert_array_equal(jax.jit(permutation, static_argnums=1)(jax.random.key(count), count), order)
