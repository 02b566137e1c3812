import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from together import together

from widebasin.data import Buckets

SIZES = st.lists(st.integers(0, 9), min_size=1, max_size=12)


def work(sizes, lengths, power):
    """What the examples cost, each at the least length that holds it."""
    return sum(min(length for length in lengths if length >= size) ** power for size in sizes)


@given(SIZES, st.integers(1, 4), st.sampled_from([0.5, 1.0, 1.5, 2.0]), st.none() | st.integers(9, 13))
def test_no_other_lengths_waste_less_than_fitted_ones(sizes, number, power, longest):
    found = Buckets.fitted(np.array(sizes), number, power, longest)
    last = longest or max(*sizes, 1)
    assert found.lengths[-1] == last
    assert len(found.lengths) <= number
    others = (
        (*chosen, last) for k in range(number) for chosen in itertools.combinations(range(1, last), min(k, last - 1))
    )
    least = min(work(sizes, lengths, power) for lengths in others)
    assert work(sizes, found.lengths, power) == pytest.approx(least)


@st.composite
def dealt(draw):
    """Buckets, some of their examples, and how many columns and rows they are dealt into."""
    sizes = np.array(draw(st.lists(st.integers(0, 30), min_size=1, max_size=60)))
    longest = max(int(sizes.max()), 1)
    lengths = sorted(draw(st.sets(st.integers(1, longest), max_size=5)) | {longest})
    pool = np.array(draw(st.permutations(range(len(sizes)))))[: draw(st.integers(1, len(sizes)))]
    chosen = pool[: draw(st.integers(1, len(pool)))]
    rows = draw(st.integers(1, len(chosen)))
    return sizes, lengths, pool, chosen, rows


@given(dealt())
def test_no_example_is_in_a_column_that_is_too_short(case):
    """Whichever examples of the pool are dealt, in whatever order they were before they were sorted by bucket."""
    sizes, lengths, pool, chosen, rows = case
    buckets, columns = Buckets.of(sizes, lengths), len(chosen) // rows
    chosen = chosen[: rows * columns]
    ordered = chosen[np.argsort(buckets.of_example[chosen], kind="stable")].reshape(columns, rows)
    found = buckets.columns(buckets.beyond(pool), columns, rows)
    numbers, lengths = zip(*found, strict=True)
    assert sum(numbers) == columns
    assert min(numbers) > 0
    assert list(lengths) == sorted(set(lengths))
    for column, length in zip(ordered, np.repeat(lengths, numbers), strict=True):
        assert sizes[column].max() <= length


@given(dealt())
def test_columns_are_no_longer_than_need_be(case):
    """With all of the pool dealt, a column is as long as the bucket of its largest example."""
    sizes, lengths, pool, _, rows = case
    buckets = Buckets.of(sizes, lengths)
    pool = pool[: len(pool) // rows * rows]
    columns = len(pool) // rows
    ordered = pool[np.argsort(buckets.of_example[pool], kind="stable")].reshape(columns, rows)
    found = buckets.columns(buckets.beyond(pool), columns, rows)
    numbers, long = zip(*found, strict=True)
    for column, length in zip(ordered, np.repeat(long, numbers), strict=True):
        assert buckets.lengths[buckets.of_example[column].max()] == length


@given(st.lists(st.integers(0, 30), min_size=1), st.sets(st.integers(1, 30)))
def test_an_example_is_in_the_first_bucket_that_holds_it(sizes, lengths):
    lengths = sorted(lengths | {30})
    found = Buckets.of(np.array(sizes), lengths)
    for size, bucket in zip(sizes, found.of_example, strict=True):
        assert lengths[bucket] >= size
        assert bucket == 0 or lengths[bucket - 1] < size
    assert found.beyond(slice(None)) == [int((found.of_example > b).sum()) for b in range(len(lengths))]


@given(st.integers(1, 120).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_more_long_examples_than_the_bound_are_drawn_once_in_a_trillion_times_at_most(case):
    """In whole numbers: how many of all draws have more."""
    size, long, number = case
    buckets = Buckets.of(np.repeat([9, 1], [long, size - long]), (1, 9))
    bound, last = buckets.most_beyond(slice(None), number)

    def more_than(count):
        return sum(math.comb(long, k) * math.comb(size - long, number - k) for k in range(count + 1, number + 1))

    assert last == 0
    assert more_than(bound) * 10**12 <= math.comb(size, number) * (1 + 1e-6)
    assert bound == 0 or more_than(bound - 1) * 10**12 > math.comb(size, number) * (1 - 1e-6)


def test_there_may_be_hundreds_of_buckets():
    sizes = np.arange(1, 301)
    assert Buckets.of(sizes, sizes.tolist()).of_example.tolist() == list(range(300))


def test_one_bucket_and_sizes_of_nothing():
    for found in (Buckets.fitted(np.zeros(4, int)), Buckets.fitted(np.array([0, 1, 1, 0]), number=1)):
        assert found.lengths == (1,)
        assert found.of_example.tolist() == [0, 0, 0, 0]
        assert found.columns(found.beyond(slice(None)), 4, 1) == ((4, 1),)
    assert Buckets.fitted(np.zeros(2, int), longest=7).lengths == (1, 7)
    assert Buckets.of(np.zeros(0, int), (3,)).beyond(slice(None)) == [0]


def test_what_is_left_over_goes_to_the_longest_columns():
    """7 of 20 examples are beyond the first bucket and 1 beyond the second: in 2 and 1 of 4 columns of 5 rows."""
    buckets = Buckets.of(np.repeat([2, 5, 9], [13, 6, 1]), (3, 6, 9))
    assert buckets.beyond(slice(None)) == [7, 1, 0]
    assert buckets.columns([7, 1, 0], 4, 5) == ((2, 3), (1, 6), (1, 9))
    assert buckets.columns([20, 20, 0], 4, 5) == ((4, 9),)
    assert buckets.columns([0, 0, 0], 4, 5) == ((4, 3),)


@together(
    ("made", "message"),
    [
        (
            lambda: Buckets.of(np.array([3, 8]), (4, 7)),
            r"the last length must be at least the largest size, 8, got \(4, 7\)",
        ),
        (lambda: Buckets.of(np.array([3]), (4, 4)), r"lengths must be ascending numbers of at least 1, got \(4, 4\)"),
        (lambda: Buckets.of(np.array([3]), (7, 4)), r"ascending numbers of at least 1"),
        (lambda: Buckets.of(np.array([0]), (0, 4)), r"ascending numbers of at least 1, got \(0, 4\)"),
        (lambda: Buckets.of(np.array([3]), ()), r"ascending numbers of at least 1, got \(\)"),
        (lambda: Buckets.fitted(np.zeros(0, int)), "ascending numbers"),
        (lambda: Buckets.fitted(np.array([3]), number=0), "number must be at least 1, got 0"),
        (lambda: Buckets.fitted(np.array([3, 9]), longest=8), "longest must be at least the largest size, 9, got 8"),
    ],
    ids=["short", "equal", "falling", "zero", "none", "nothing to fit", "no bucket", "longest"],
)
def test_lengths_that_cannot_be_are_refused(made, message):
    with pytest.raises(ValueError, match=message):
        made()
