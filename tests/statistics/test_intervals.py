import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from widebasin.statistics.intervals import NO_INTERVAL, Interval, interval_columns, interval_of, rounding_of, t_interval

# Thousandths: scipy refuses a scale that underflows.
numbers = st.integers(-(10**6), 10**6).map(lambda n: n / 1000)
samples = st.lists(numbers, min_size=2, max_size=8)


@given(st.lists(numbers, min_size=2, max_size=8, unique=True), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_interval_is_scipys(values, confidence):
    interval = t_interval(values, confidence)
    low, high = stats.t.interval(confidence, len(values) - 1, np.mean(values), stats.sem(values))
    np.testing.assert_allclose((interval.low, interval.high), (low, high), rtol=1e-9, atol=1e-9)


def test_interval_by_hand():
    interval = t_interval([1.0, 2.0, 3.0])
    # s = 1, n = 3, and the table's 97.5% point of Student's t with 2 degrees of freedom is 4.303.
    assert interval.mean == 2.0
    assert interval.count == 3
    np.testing.assert_allclose(interval.standard_error, 1 / math.sqrt(3))
    np.testing.assert_allclose(interval.high - 2.0, 4.303 / math.sqrt(3), rtol=1e-4)
    np.testing.assert_allclose(2.0 - interval.low, 4.303 / math.sqrt(3), rtol=1e-4)


@given(samples, numbers, st.floats(-5, 5).filter(lambda scale: abs(scale) > 1e-3))
def test_interval_moves_and_scales_with_its_values(values, shift, scale):
    plain = t_interval(values)
    moved = t_interval(scale * np.asarray(values) + shift)
    ends = sorted((scale * plain.low + shift, scale * plain.high + shift))
    np.testing.assert_allclose((moved.low, moved.high), ends, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(moved.standard_error, abs(scale) * plain.standard_error, rtol=1e-6, atol=1e-6)


@given(numbers)
def test_one_value_has_a_mean_and_no_interval(value):
    interval = t_interval([value])
    assert interval.mean == value
    assert interval.count == 1
    assert all(math.isnan(v) for v in (interval.standard_error, interval.low, interval.high))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_value_that_is_not_finite_is_not_left_out(bad):
    interval = t_interval([1.0, bad, 2.0])
    assert not np.isfinite(interval.mean)
    assert math.isnan(interval.low)
    assert interval.count == 3


def test_interval_of_nothing_is_an_error():
    with pytest.raises(ValueError, match="at least one value"):
        t_interval([])


# What an interval says of itself -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("interval", "words", "ends", "with_error"),
    [
        (Interval(4.0, 1.0, 1.0, 7.0, 3), "95% interval 1.0 to 7.0", "1.0 to 7.0", "+4.0 ± 1.0"),
        (Interval(4.0, 1.0, 1.0, 7.0, 3, confidence=0.9), "90% interval 1.0 to 7.0", "1.0 to 7.0", "+4.0 ± 1.0"),
        (t_interval([4.0]), "one seed, no interval", "—", "+4.0"),
        (t_interval([4.0, math.nan]), "no interval", "—", "—"),
    ],
)
def test_an_interval_carries_its_label(interval, words, ends, with_error):
    assert (interval.words(".1f"), interval.ends(".1f"), interval.with_error(1)) == (words, ends, with_error)


def test_an_interval_lies_above_or_below_a_value_only_whole():
    interval = Interval(4.0, 1.0, 1.0, 7.0, 3)
    assert interval.above() and not interval.above(1.0) and not interval.below()  # noqa: PT018
    assert interval.below(8.0) and not interval.below(7.0)  # noqa: PT018
    assert not any((t_interval([4.0]).above(), t_interval([4.0]).below(), NO_INTERVAL.above(), NO_INTERVAL.below()))


@given(samples)
def test_a_rising_function_of_an_interval_keeps_what_it_covers(values):
    interval = t_interval(values)
    mapped = interval.mapped(lambda value: 10 ** (value / 1000))
    ends = (mapped.mean, mapped.low, mapped.high)
    np.testing.assert_allclose(np.log10(ends) * 1000, (interval.mean, interval.low, interval.high), atol=1e-6)
    assert (mapped.count, mapped.confidence) == (interval.count, interval.confidence)


def test_an_interval_survives_a_row_of_a_table():
    interval = t_interval([1.0, 2.0, 4.0])
    row = {"networks": 3, **interval_columns("x", interval)}
    assert interval_of(row, "x") == interval
    row = {"pairs": 4, "x_pairs": 1, "x": 2.0, "x_low": math.nan, "x_high": math.nan}
    assert interval_of(row, "x").words(".1f") == "one seed, no interval"


def test_equal_values_say_nothing_of_their_spread():
    for count in (2, 3, 9):
        one = t_interval([0.1 + 0.2, *[0.3] * (count - 1)])
        assert (one.mean, one.standard_error, one.count) == (pytest.approx(0.3), 0.0, count)
        assert not one.certain
        assert not one.above()
        assert one.words("+.1f") == "equal values, no interval"
    # But for the rounding of accuracies in 32 bits, of which these are differences in points.
    accuracies = np.array([[0.8666667, 0.8], [0.7666667, 0.7]], np.float32).astype(float)
    points = 100 * np.subtract(*accuracies.T)
    assert points[0] != points[1]
    assert t_interval(points, rounding=rounding_of(100 * accuracies)).words("+.1f") == "equal values, no interval"
    for examples, more in itertools.product((600, 1_000, 10_000), (1, 2, 5)):
        base = np.arange(examples // 2, examples - more, examples // 50)
        gains = 100 * (
            ((base + more) / examples).astype(np.float32).astype(float) - (base / examples).astype(np.float32)
        )
        rounding = rounding_of([100.0, np.nan])
        assert not any(t_interval(pair, rounding=rounding).certain for pair in itertools.pairwise(gains))
    # One test example more of a million, or hundredths of a point, are no rounding.
    assert t_interval([15.0, 15.02]).standard_error == pytest.approx(0.01)
    assert t_interval([98.1, 98.1001]).certain
