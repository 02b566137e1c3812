"""Environments in which agents act, written in JAX: they know nothing of networks."""

from widebasin.environments.cartpole import CartPole
from widebasin.environments.environment import Environment, Step

__all__ = ["CartPole", "Environment", "Step"]
