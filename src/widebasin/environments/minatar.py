"""MinAtar: five Atari games on a grid of 10 x 10 cells, by pgx."""

import functools
import importlib
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PyTree

from widebasin.environments.environment import Environment, Step

GAMES = ("asterix", "breakout", "freeway", "seaquest", "space_invaders")


class MinAtarState(NamedTuple):
    """The game of pgx, and the number of steps taken.

    Attributes:
        game: the arrays of pgx's own state, without empty ones, which no checkpoint can hold.
        steps: taken in this episode.
    """

    game: tuple[Array, ...]
    steps: Int[Array, ""]


@dataclass(frozen=True)
class MinAtar(Environment):
    """A game of MinAtar with its smallest set of actions. Observations are 10 x 10 cells with one channel per object.

    Attributes:
        game: one of ``GAMES``.
        sticky: probability with which the game repeats the previous action instead of the one given.
        longest: number of steps after which an episode is truncated. Of the games only Freeway has a limit of its own,
            2,500, which counts as truncation, too.

    Source: Young and Tian 2019, "MinAtar: an Atari-inspired testbed" (arXiv 1903.03176); the games in JAX: Koyamada et
        al. 2023, "Pgx" (arXiv 2303.17503). The limit of 1,000 steps is ours.
    """

    # pgx mixes types of 32 and 64 bits there.
    in_double: ClassVar[bool] = False

    game: str = "breakout"
    sticky: float = 0.1
    longest: int = 1_000

    def __post_init__(self) -> None:
        """Raises ``ValueError`` for an unknown game."""
        if self.game not in GAMES:
            raise ValueError(f"game must be one of {', '.join(GAMES)}, got {self.game!r}")

    @functools.cached_property
    def _played(self) -> Any:
        # The module has arrays of its own, which must not be traced along with a function that is the first to need it.
        with jax.ensure_compile_time_eval():
            try:
                module = importlib.import_module(f"pgx.minatar.{self.game}")
            except ImportError as error:
                raise ImportError('MinAtar needs pgx, which is not installed: pip install "widebasin[rl]"') from error
            named = "MinAtar" + self.game.title().replace("_", "")
            return getattr(module, named)(sticky_action_prob=self.sticky)

    @functools.cached_property
    def _shapes(self) -> PyTree:
        return jax.eval_shape(self._played.init, jax.random.key(0))

    def _stripped(self, game: PyTree) -> tuple[Array, ...]:
        return tuple(leaf for leaf in jax.tree.leaves(game) if leaf.size)

    def _whole(self, kept: tuple[Array, ...]) -> Any:
        leaves, structure = jax.tree.flatten(self._shapes)
        given = iter(kept)
        return structure.unflatten([next(given) if one.size else jnp.zeros(one.shape, one.dtype) for one in leaves])

    @property
    def actions(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Number of actions of the game.

        Raises:
            ImportError: if pgx is not installed.
        """
        return int(self._played.num_actions)

    @property
    def record(self) -> str:
        """See ``Environment``: with pgx's version of the game."""
        return f"{super().record}, pgx's {self._played.version}"

    def reset(self, key: Key[Array, ""]) -> MinAtarState:
        """See ``Environment``."""
        return MinAtarState(self._stripped(self._played.init(key)), jnp.zeros((), jnp.int32))

    def observe(self, state: MinAtarState) -> Float[Array, "10 10 channels"]:
        """See ``Environment``: 1 where an object is."""
        return self._whole(state.game).observation.astype(jnp.float32)

    def step(self, state: MinAtarState, action: Int[Array, ""], key: Key[Array, ""]) -> Step:
        """See ``Environment``; the key decides whether the previous action is repeated, and what appears."""
        game = self._played.step(self._whole(state.game), action, key)
        steps = state.steps + 1
        timed = self.game == "freeway"  # it ends by its timer only
        terminated = jnp.zeros((), bool) if timed else game.terminated
        truncated = (steps >= self.longest) & ~terminated | (game.terminated if timed else False)
        return Step(MinAtarState(self._stripped(game), steps), game.rewards[0], terminated, truncated)
