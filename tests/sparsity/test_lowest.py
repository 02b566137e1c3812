import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from widebasin.sparsity._lowest import lowest

ENTRIES = 24
at_every_count = jax.jit(jax.vmap(lowest, in_axes=(None, 0)))
LARGEST = 2**32 - 1


@given(
    numbers=st.one_of(
        st.lists(st.integers(0, LARGEST), min_size=ENTRIES, max_size=ENTRIES),
        st.lists(st.sampled_from([0, 1, 2**31, LARGEST]), min_size=ENTRIES, max_size=ENTRIES),
    )
)
def test_are_the_first_of_a_stable_sort(numbers):
    """Also among many that are equal, and for every count from none to all."""
    order = np.argsort(np.array(numbers, np.uint32), kind="stable")
    expected = np.argsort(order, kind="stable")[None] < np.arange(ENTRIES + 1)[:, None]
    found = at_every_count(jnp.array(numbers, jnp.uint32), jnp.arange(ENTRIES + 1))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("value", [0, 7, LARGEST])
def test_of_equal_numbers_the_first(value):
    found = at_every_count(jnp.full(ENTRIES, value, jnp.uint32), jnp.arange(ENTRIES + 1))
    np.testing.assert_array_equal(found, np.arange(ENTRIES)[None] < np.arange(ENTRIES + 1)[:, None])


def test_double_width():
    with jax.enable_x64(True):
        numbers = jnp.array([2**40 + 1, 5, 2**63, 2**40, 5], jnp.uint64)
        assert jax.jit(lowest)(numbers, jnp.int64(3)).tolist() == [False, True, False, True, True]


def test_of_no_numbers_none():
    assert lowest(jnp.zeros(0, jnp.uint32), jnp.int32(0)).shape == (0,)
