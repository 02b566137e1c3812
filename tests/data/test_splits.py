import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from widebasin.data import SplitSizes, split_examples

SIZES = st.integers(1, 12)


def as_sets(split):
    return [set(np.asarray(part).tolist()) for part in split]


@given(seed=st.integers(0, 2**31 - 1), train=SIZES, valid=SIZES, test=SIZES, unused=st.sampled_from([0, 7]))
def test_parts_are_disjoint_and_of_the_asked_sizes(seed, train, valid, test, unused):
    examples = 36 + unused
    split = split_examples(jax.random.key(seed), examples, SplitSizes(train, valid, test))
    assert [len(part) for part in split] == [train, valid, test]
    together = set().union(*as_sets(split))
    assert len(together) == train + valid + test
    assert together <= set(range(examples))


@pytest.mark.parametrize("seed", range(3))
def test_sizes_that_add_up_to_the_data_cover_it(seed):
    split = split_examples(jax.random.key(seed), 100, SplitSizes(70, 10, 20))
    assert set().union(*as_sets(split)) == set(range(100))


@pytest.mark.slow
@given(seed=st.integers(0, 2**31 - 1), test=st.integers(1, 10))
def test_a_fixed_test_set_is_the_same_for_every_key_and_never_trains(seed, test):
    split = split_examples(jax.random.key(seed), 30, SplitSizes(15, 5, test), fixed_test=10)
    np.testing.assert_array_equal(split.test, [20 + 10 * k // test for k in range(test)])
    assert set.union(*as_sets(split)[:2]) == set(range(20))


def test_a_part_of_a_fixed_test_set_has_all_classes_where_these_are_sorted():
    """500 of 3,925 images in 10 classes one after the other, as Imagenette's are; 50,000 of 50,000 are all of them."""
    classes = np.arange(3_925) * 10 // 3_925
    split = split_examples(jax.random.key(0), 4_925, SplitSizes(900, 100, 500), fixed_test=3_925)
    np.testing.assert_allclose(np.bincount(classes[np.asarray(split.test) - 1_000]), np.full(10, 50), atol=1)
    whole = split_examples(jax.random.key(0), 50_010, SplitSizes(5, 5, 50_000), fixed_test=50_000)
    np.testing.assert_array_equal(whole.test, np.arange(10, 50_010))


def test_the_key_decides():
    sizes = SplitSizes(50, 20, 30)
    first, again, other = (split_examples(jax.random.key(seed), 100, sizes) for seed in (0, 0, 1))
    for part, same, different in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(part, same)
        assert set(np.asarray(part).tolist()) != set(np.asarray(different).tolist())


@settings(max_examples=20)
@given(seed=st.integers(0, 2**31 - 1), train=SIZES, valid=SIZES, test=SIZES, fixed_test=st.sampled_from([0, 12]))
def test_unshuffled_examples_are_taken_in_their_order_whatever_the_key(seed, train, valid, test, fixed_test):
    sizes = SplitSizes(train, valid, test)
    split = split_examples(jax.random.key(seed), 50, sizes, fixed_test, shuffled=False)
    np.testing.assert_array_equal(split.train, np.arange(train))
    np.testing.assert_array_equal(split.valid, np.arange(train, train + valid))
    start = 50 - fixed_test if fixed_test else train + valid
    np.testing.assert_array_equal(split.test, np.arange(start, start + test))


@pytest.mark.slow
@settings(max_examples=8)
@given(seed=st.integers(0, 2**31 - 1), train=SIZES, valid=SIZES, fixed_test=st.sampled_from([0, 12]))
def test_an_official_validation_set_is_before_the_test_set_and_never_trained_on(seed, train, valid, fixed_test):
    sizes = SplitSizes(train, valid, 5)
    split = split_examples(jax.random.key(seed), 80, sizes, fixed_test, fixed_valid=20)
    pool = 60 - fixed_test
    assert len(set(np.asarray(split.train).tolist())) == train
    assert np.max(split.train, initial=0) < pool
    np.testing.assert_array_equal(split.valid, pool + np.arange(valid) * 20 // valid)
    assert np.min(split.test) >= pool + 20 if fixed_test else np.max(split.test) < pool
    assert not set(np.asarray(split.test).tolist()) & set(np.asarray(split.train).tolist())


def test_every_example_is_as_likely_in_every_part():
    """Over 600 keys an example trains in Binomial(600, 1/2) of them: within 5 standard deviations of 300."""
    draw = jax.vmap(lambda key: split_examples(key, 20, SplitSizes(10, 5, 5)))
    counts = np.bincount(np.asarray(draw(jax.random.split(jax.random.key(0), 600)).train).ravel(), minlength=20)
    assert np.abs(counts - 300).max() < 5 * np.sqrt(600 / 4)


@pytest.mark.parametrize("shuffled", [True, False])
@pytest.mark.parametrize(
    ("sizes", "fixed_test"),
    [
        (SplitSizes(70, 10, 21), 0),
        (SplitSizes(81, 10, 5), 10),
        (SplitSizes(50, 10, 11), 10),
        (SplitSizes(0, 10, 10), 0),
        (SplitSizes(50, 0, 10), 0),
        (SplitSizes(50, 10, 0), 10),
        (SplitSizes(50, -1, 10), 0),
    ],
)
def test_sizes_that_do_not_fit_are_refused_with_all_numbers(sizes, fixed_test, shuffled):
    with pytest.raises(ValueError, match="does not fit a data set of 100 examples") as error:
        split_examples(jax.random.key(0), 100, sizes, fixed_test, shuffled)
    assert str(sizes) in str(error.value)
    assert f"test set of {fixed_test}" in str(error.value)


def test_more_than_the_official_validation_set_has_is_refused():
    with pytest.raises(ValueError, match="and a validation set of 20"):
        split_examples(jax.random.key(0), 100, SplitSizes(10, 21, 10), fixed_valid=20)
