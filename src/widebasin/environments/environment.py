"""What an environment is."""

import abc
import hashlib
import re
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, PyTree, Shaped


class Step(NamedTuple):
    """What follows from an action.

    Attributes:
        state: of the environment after the action.
        reward: for the action.
        terminated: whether the task has ended, as when the pole has fallen: no reward can follow.
        truncated: whether the episode is cut off though rewards could follow, as at the largest number of steps.
    """

    state: PyTree
    reward: Float[Array, ""]
    terminated: Bool[Array, ""]
    truncated: Bool[Array, ""]


class Environment(abc.ABC):
    """A task of decisions, as pure functions of one environment: use ``jax.vmap`` for many.

    Attributes:
        actions: number of actions, 0 to ``actions - 1``.
        in_double: whether it can be computed while JAX's 64-bit types are enabled.
        on_host: whether the host computes it, which takes long.
    """

    actions: int
    in_double: ClassVar[bool] = True
    on_host: ClassVar[bool] = False

    @property
    def record(self) -> str:
        """Class and settings, for the record of a run: its attributes without those that begin with an underscore.

        Arrays are recorded by a digest, functions by their name: of a file of your own, the code is recorded anyway.
        """
        settings = ", ".join(f"{name}={_written(one)}" for name, one in sorted(vars(self).items()) if name[:1] != "_")
        return f"{type(self).__qualname__}({settings})"

    @abc.abstractmethod
    def reset(self, key: Key[Array, ""]) -> PyTree:
        """The state at the start of an episode that the key draws."""

    @abc.abstractmethod
    def observe(self, state: PyTree) -> Shaped[Array, "..."]:
        """What the agent sees in a state."""

    @abc.abstractmethod
    def step(self, state: PyTree, action: Int[Array, ""], key: Key[Array, ""]) -> Step:
        """The state after an action. The key decides what is random in it.

        Every episode must end, or be cut off, at some time. One that has ended is not started anew here; what follows
        from a further action means nothing.
        """

    def restart(self, state: PyTree, ended: Bool[Array, ""], key: Key[Array, ""]) -> PyTree:
        """The state for the next action: where the episode has ended, that at the start of another one."""
        fresh = self.reset(key)
        return jax.tree.map(lambda new, old: jnp.where(ended, new, old), fresh, state)

    @property
    def judged(self) -> "Environment":
        """The environment of evaluations, with the same observations and actions; by default this one."""
        return self


def _written(value: Any) -> str:
    """An attribute in words that are the same in every process: digests of arrays, of functions only the name."""
    leaves, structure = jax.tree.flatten(value)
    # Where an object lies in memory says nothing of it.
    return re.sub(r" at 0x[0-9a-f]+", "", repr(structure.unflatten(map(_Written, leaves))))


class _Written:
    """A leaf that is written as ``_written`` says."""

    def __init__(self, leaf: Any) -> None:
        if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        self.leaf = leaf

    def __repr__(self) -> str:
        leaf = self.leaf
        if isinstance(leaf, (np.ndarray, jax.Array)):
            array = np.asarray(leaf)
            return f"{array.dtype}{list(array.shape)} {hashlib.sha256(array.tobytes()).hexdigest()[:16]}"
        if callable(leaf) and hasattr(leaf, "__qualname__"):
            return f"{leaf.__module__}.{leaf.__qualname__}"
        if isinstance(leaf, (set, frozenset)):
            return repr(sorted(leaf, key=repr))
        return repr(leaf)
