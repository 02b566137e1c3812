"""CartPole: keep a pole upright on a cart that is pushed to the left or to the right."""

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from widebasin.environments.environment import Environment, Step

GRAVITY = 9.8  # m / s^2
CART_MASS, POLE_MASS = 1.0, 0.1  # kg
HALF_LENGTH = 0.5  # of the pole, m
FORCE = 10.0  # N
SECONDS = 0.02  # of a step
# Beyond these the episode ends.
LARGEST_POSITION, LARGEST_ANGLE = 2.4, 12 * math.pi / 180
# The four numbers of the first state are uniform between minus this and this.
FIRST = 0.05


class CartPoleState(NamedTuple):
    """Positions and velocities, and the number of steps taken.

    Attributes:
        physics: position of the cart in m, its velocity, angle of the pole from upright in rad, its velocity.
        steps: taken in this episode.
    """

    physics: Float[Array, "4"]
    steps: Int[Array, ""]


@dataclass(frozen=True)
class CartPole(Environment):
    """CartPole-v1: a reward of 1 for every step, at most 500, until the pole leans by 12 degrees or the cart leaves.

    The cart leaves where it is more than 2.4 m from the middle. Action 1 pushes to the right with 10 N, action 0 to the
    left; steps of .02 s by Euler's method.

    Attributes:
        longest: number of steps after which an episode is truncated.

    Source: Barto, Sutton and Anderson 1983, "Neuronlike adaptive elements that can solve difficult learning control
        problems"; constants as in Gymnasium's CartPole-v1.
    """

    actions: ClassVar[int] = 2
    longest: int = 500

    def reset(self, key: Key[Array, ""]) -> CartPoleState:
        """See ``Environment``."""
        return CartPoleState(jax.random.uniform(key, (4,), minval=-FIRST, maxval=FIRST), jnp.zeros((), jnp.int32))

    def observe(self, state: CartPoleState) -> Float[Array, "4"]:
        """See ``Environment``: positions and velocities."""
        return state.physics

    def step(self, state: CartPoleState, action: Int[Array, ""], key: Key[Array, ""]) -> Step:
        """See ``Environment``; nothing is random.

        With the masses ``M`` of cart and pole together and ``m`` of the pole, half its length ``l``, force ``F`` and
        angle ``a`` from upright::

            u   = (F + m l a'^2 sin a) / M
            a'' = (g sin a - u cos a) / (l (4/3 - m cos^2 a / M))
            x'' = u - m l a'' cos a / M
        """
        del key
        _, velocity, angle, turning = state.physics
        force = jnp.where(action == 1, FORCE, -FORCE)
        sine, cosine = jnp.sin(angle), jnp.cos(angle)
        mass = CART_MASS + POLE_MASS
        pushed = (force + POLE_MASS * HALF_LENGTH * turning**2 * sine) / mass
        turned = (GRAVITY * sine - cosine * pushed) / (HALF_LENGTH * (4 / 3 - POLE_MASS * cosine**2 / mass))
        moved = pushed - POLE_MASS * HALF_LENGTH * turned * cosine / mass
        physics = state.physics + SECONDS * jnp.stack([velocity, moved, turning, turned])
        steps = state.steps + 1
        terminated = (jnp.abs(physics[0]) > LARGEST_POSITION) | (jnp.abs(physics[2]) > LARGEST_ANGLE)
        truncated = (steps >= self.longest) & ~terminated
        return Step(CartPoleState(physics, steps), jnp.ones(()), terminated, truncated)
