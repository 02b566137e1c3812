import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from together import together

from widebasin import sam

NUMBERS = st.floats(0, 10, width=32, allow_subnormal=False)


@given(low=NUMBERS, high=NUMBERS, rate=st.floats(-0.5, 1.5, width=32))
def test_the_radius_is_linear_in_the_learning_rate_and_stays_between_the_two(low, high, rate):
    """rho_low + (rho_high - rho_low) (lr - lr_low) / (lr_high - lr_low), for rates from .1 to .6."""
    share = min(max((rate - 0.1) / 0.5, 0.0), 1.0)
    found = sam.radius_schedule(lambda step: rate, (low, high), (0.1, 0.6))(0)
    np.testing.assert_allclose(found, low + (high - low) * share, rtol=1e-5, atol=1e-5)


def test_it_follows_a_schedule_of_the_learning_rate_step_by_step():
    """Warmup to .4 in 4 steps, then a cosine to 0 in 8."""
    learning_rate = optax.warmup_cosine_decay_schedule(0.0, 0.4, 4, 12)
    rho = sam.radius_schedule(learning_rate, (0.02, 0.1), (0.0, 0.4))
    rates = [0.1 * t if t < 4 else 0.2 * (1 + np.cos(np.pi * (t - 4) / 8)) for t in range(13)]
    expected = [0.02 + 0.08 * rate / 0.4 for rate in rates]
    np.testing.assert_allclose([float(rho(t)) for t in range(13)], expected, rtol=1e-5)
    np.testing.assert_allclose(jax.jit(jax.vmap(rho))(jnp.arange(13)), expected, rtol=1e-5)


def test_from_zero_to_zero_the_radius_is_proportional_to_the_learning_rate():
    learning_rate = optax.linear_schedule(0.1, 0.0, 10)
    rho = sam.radius_schedule(learning_rate, (0.0, 0.5), (0.0, 0.1))
    for t in range(12):
        np.testing.assert_allclose(rho(t), 5 * learning_rate(t), rtol=1e-6)
    assert float(rho(10)) == 0.0


def test_a_radius_may_rise_while_the_learning_rate_falls():
    rho = sam.radius_schedule(optax.linear_schedule(1.0, 0.0, 4), (0.5, 0.1), (0.0, 1.0))
    np.testing.assert_allclose([float(rho(t)) for t in range(5)], [0.1, 0.2, 0.3, 0.4, 0.5], rtol=1e-6)


@together(
    ("rho", "rates", "message"),
    [
        ((-0.1, 0.5), (0.0, 1.0), r"rho must be two radii >= 0, got \(-0.1, 0.5\)"),
        (
            (0.0, 0.5),
            (1.0, 1.0),
            r"the lowest and highest of the schedule, got \(1.0, 1.0\)",
        ),
        (
            (0.0, 0.5),
            (1.0, 0.0),
            r"the lowest and highest of the schedule, got \(1.0, 0.0\)",
        ),
    ],
)
def test_what_is_no_range_is_refused(rho, rates, message):
    with pytest.raises(ValueError, match=message):
        sam.radius_schedule(lambda step: 0.1, rho, rates)
