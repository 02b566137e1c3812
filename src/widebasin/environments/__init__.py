"""Environments in which agents act, written in JAX: they know nothing of networks."""

from widebasin.environments.cartpole import CartPole
from widebasin.environments.environment import Environment, Step
from widebasin.environments.minatar import MinAtar

__all__ = ["CartPole", "Environment", "MinAtar", "Step"]
