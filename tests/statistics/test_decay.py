import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from widebasin.statistics.decay import geometric_decay


@given(st.floats(0.5, 1.5), st.floats(-5, 5), st.integers(6, 40), st.integers(1, 500))
def test_a_geometric_sequence_gives_its_factor(factor, log_start, count, spacing):
    times = spacing * np.arange(1, count + 1)
    decay = geometric_decay(times, np.exp(log_start + np.log(factor) * times / spacing), floor=0.0)
    np.testing.assert_allclose(decay.factor, factor ** (1 / spacing), rtol=1e-9)
    assert decay.r_squared == pytest.approx(1.0, abs=1e-6) or abs(factor - 1) < 1e-6
    assert (decay.first, decay.last) == (times[count // 2], times[-1])


@pytest.mark.parametrize("loss", [1.0, 0.1, 0.017])
@pytest.mark.parametrize("count", [6, 19, 26])
def test_a_loss_that_stays_is_a_straight_line(loss, count):
    decay = geometric_decay(np.arange(count), np.full(count, loss), floor=0.0)
    assert decay.factor == pytest.approx(1.0, abs=1e-12)
    assert decay.r_squared == 1.0


def test_the_first_half_is_left_out():
    times = np.arange(20)
    losses = np.where(times < 10, 0.3**times, 0.3**10 * 0.9 ** (times - 10))
    decay = geometric_decay(times, losses, floor=0.0)
    assert decay.factor == pytest.approx(0.9)
    assert decay.r_squared == pytest.approx(1.0)
    assert (decay.first, decay.last) == (10, 19)


@pytest.mark.parametrize("after", [1e-12, 1e-10, np.nan, np.inf, -np.inf, -1.0])
def test_the_fit_ends_before_the_floor_and_before_what_is_not_finite(after):
    """Once below, what comes above the floor again is left out too."""
    losses = np.concatenate([0.5 ** np.arange(20), [after], 10.0 ** np.arange(5)])
    decay = geometric_decay(np.arange(26), losses, floor=1e-10)
    assert decay.factor == pytest.approx(0.5)
    assert (decay.first, decay.last) == (10, 19)


@pytest.mark.parametrize("losses", [[], [1.0], [1.0] * 4, [np.nan] * 9, [0.0] * 9, [1.0, 1.0, 0.0, 1.0, 1.0, 1.0]])
def test_fewer_than_three_losses_have_no_decay(losses):
    decay = geometric_decay(np.arange(len(losses)), losses, floor=1e-10)
    assert all(math.isnan(value) for value in dataclasses.astuple(decay))


def test_a_floor_that_is_no_number_leaves_nothing():
    assert math.isnan(geometric_decay(np.arange(9), np.full(9, np.nan), floor=float("nan")).factor)


def test_r_squared_is_the_squared_correlation():
    generator = np.random.default_rng(0)
    times, logarithms = np.arange(40), -0.1 * np.arange(40) + generator.standard_normal(40)
    decay = geometric_decay(times, np.exp(logarithms), floor=0.0)
    line = stats.linregress(times[20:], logarithms[20:])
    assert decay.r_squared == pytest.approx(line.rvalue**2)
    assert decay.factor == pytest.approx(np.exp(line.slope))


@given(factor=st.floats(0.9, 0.999), power=st.floats(0.5, 5.0))
def test_a_power_law_is_not_taken_for_linear_convergence(factor, power):
    times = np.arange(1, 401)
    geometric = geometric_decay(times, factor**times, floor=0.0)
    sublinear = geometric_decay(times, times**-power, floor=0.0)
    assert geometric.is_linear
    assert sublinear.r_squared > 0.98  # over a factor of two in time it looks straight
    assert sublinear.power_r_squared == pytest.approx(1.0)
    assert not sublinear.is_linear
