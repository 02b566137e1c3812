"""Games of MinAtar, actor and critic of width h, PPO."""

import functools

import jax
from jaxtyping import Array, Key

from widebasin.environments import MinAtar
from widebasin.environments.minatar import GAMES
from widebasin.models import ActorCritic
from widebasin.training import PPO
from widebasin.workloads.agent import AgentWorkload, ppo_recipe
from widebasin.workloads.family import Family

SETTINGS = PPO(environments=64, rollout=128, episodes=64)


@functools.cache
def _of(game: str) -> AgentWorkload:
    """The workload of a game."""
    environment = MinAtar(game)

    def build(width: int, key: Key[Array, ""]) -> ActorCritic:
        start = jax.eval_shape(environment.reset, jax.random.key(0))
        features = jax.eval_shape(environment.observe, start).size
        return ActorCritic(features, environment.actions, width, key=key)

    return AgentWorkload(
        name="minatar-ppo" if game == "breakout" else f"minatar-ppo:{game}",
        model="actor-critic",
        description=f"MinAtar {game} (needs pgx), an agent of width h, PPO, 64 x 128 steps per rollout",
        environment=environment,
        build=build,
        ppo=SETTINGS,
        # 31 rollouts are 253,952 steps.
        recipe=ppo_recipe(epochs=31, batch_size=1024, learning_rate=0.005),
        widths=(8, 32, 128),
        rhos=(0.01, 0.05, 0.2),
        quick={"widths": (8, 32), "rhos": (0.05,), "seeds": 2, "epochs": 12},
    )


MINATAR_PPO = _of("breakout")
GAMES_OF_MINATAR = Family("minatar-ppo", f"a game of MinAtar: {', '.join(GAMES)}", _of)
