"""CartPole against the physics of its equations of motion, and against gymnasium where it is installed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from widebasin.environments import CartPole
from widebasin.environments.cartpole import FORCE, GRAVITY, HALF_LENGTH, POLE_MASS, SECONDS, CartPoleState

KEY = jax.random.key(0)
MASS = 1.1


def after(physics, action, steps=0):
    return CartPole().step(CartPoleState(jnp.asarray(physics), jnp.asarray(steps)), jnp.asarray(action), KEY)


def energy(x, v, a, w):
    """Of the cart, and of a thin pole of twice the half length that turns about its foot."""
    rod = 0.5 * POLE_MASS * (v**2 + 2 * v * HALF_LENGTH * w * np.cos(a) + 4 / 3 * HALF_LENGTH**2 * w**2)
    return 0.5 * (MASS - POLE_MASS) * v**2 + rod + POLE_MASS * GRAVITY * HALF_LENGTH * np.cos(a)


@pytest.mark.parametrize("action", [0, 1])
def test_the_work_of_the_push_is_the_energy_gained(action):
    """Of a solution of the same equations, whose derivative is what a step adds per second: F times the way."""

    def slope(t, physics):
        with jax.enable_x64(True):
            return (np.asarray(after(physics, action).state.physics) - physics) / SECONDS

    first = np.array([0.1, -0.3, 0.2, 0.5])
    last = solve_ivp(slope, (0, 0.3), first, rtol=1e-9, atol=1e-11).y[:, -1]
    work = (FORCE if action else -FORCE) * (last[0] - first[0])
    assert energy(*last) - energy(*first) == pytest.approx(work, rel=1e-6)


@pytest.mark.parametrize(
    ("physics", "steps", "terminated", "truncated"),
    [
        ([0.0, 0.0, 0.0, 0.0], 0, False, False),
        ([2.39, 1.0, 0.0, 0.0], 0, True, False),
        ([-2.39, -1.0, 0.0, 0.0], 0, True, False),
        ([0.0, 0.0, 0.2, 1.0], 0, True, False),
        ([0.0, 0.0, 0.0, 0.0], 498, False, False),
        ([0.0, 0.0, 0.0, 0.0], 499, False, True),
        ([2.39, 1.0, 0.0, 0.0], 499, True, False),
    ],
)
def test_an_episode_ends_where_the_pole_falls_or_the_cart_leaves_or_after_500_steps(
    physics, steps, terminated, truncated
):
    found = after(physics, 1, steps)
    assert (bool(found.terminated), bool(found.truncated), float(found.reward)) == (terminated, truncated, 1.0)
    assert int(found.state.steps) == steps + 1


def test_first_states_are_uniform():
    states = jax.vmap(CartPole().reset)(jax.random.split(KEY, 4_000))
    values = np.asarray(states.physics)
    assert np.abs(values).max() <= 0.05
    np.testing.assert_allclose(values.mean(0), 0, atol=4 * 0.1 / np.sqrt(12 * 4_000))
    np.testing.assert_allclose(values.std(0), 0.1 / np.sqrt(12), rtol=0.05)
    assert not np.asarray(states.steps).any()


def test_episodes_are_those_of_gymnasium():
    gymnasium = pytest.importorskip("gymnasium")
    theirs = gymnasium.make("CartPole-v1").unwrapped
    random = np.random.default_rng(0)
    step = jax.jit(CartPole().step)
    for _ in range(20):
        theirs.reset(seed=int(random.integers(1_000)))
        state, over = CartPoleState(jnp.asarray(theirs.state, jnp.float32), jnp.asarray(0)), False
        while not over:
            action = int(random.integers(2))
            observation, reward, over, _, _ = theirs.step(action)
            found = step(state, action, KEY)
            np.testing.assert_allclose(found.state.physics, observation, rtol=1e-4, atol=1e-5)
            assert (float(found.reward), bool(found.terminated)) == (reward, over)
            state = found.state
