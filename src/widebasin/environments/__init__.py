"""Environments in which agents act, as functions in JAX: they know nothing of networks."""

from widebasin.environments.atari import Atari
from widebasin.environments.cartpole import CartPole
from widebasin.environments.environment import Environment, Step
from widebasin.environments.minatar import MinAtar

__all__ = ["Atari", "CartPole", "Environment", "MinAtar", "Step"]
