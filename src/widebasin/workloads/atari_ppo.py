"""Atari games, Nature's convolutional network with h filters, PPO.

Recipe (published, after CleanRL): 10 million steps, 8 environments x 128 steps per rollout, 4 passes, batch 256, Adam
at 2.5e-4 falling to 0, clip .1; 424,533, 1,686,693, 3,786,485 and 6,723,909 parameters. arXiv 2311.17539 reports gains
of 29, 18, 163 and 122 points of a game that it does not name; Breakout and the radii are our guess. Measured on 2 CPU
cores (AMD EPYC): 196,608 steps, see docs/results.
"""

import contextlib
import functools

from jaxtyping import Array, Key

from widebasin.environments import Atari
from widebasin.models import NatureActorCritic
from widebasin.training import PPO
from widebasin.workloads.agent import AgentWorkload, ppo_recipe
from widebasin.workloads.family import Family

# 4,500 steps are five minutes of play, as in Mnih et al. 2015.
SETTINGS = PPO(rollouts=16, ratio_range=0.1, episodes=8, longest=4_500)


@functools.cache
def _of(game: str) -> AgentWorkload:
    """The workload of a game."""
    environment = Atari(game)

    def build(width: int, key: Key[Array, ""]) -> NatureActorCritic:
        return NatureActorCritic(environment.actions, width, key=key)

    return AgentWorkload(
        name="atari-ppo" if game == "breakout" else f"atari-ppo:{game}",
        model="nature-actor-critic",
        description=f"Atari {game} (needs ale-py), Nature's network with h filters, PPO, 8 x 128 steps per rollout",
        environment=environment,
        build=build,
        ppo=SETTINGS,
        # 9,776 rollouts are 10,010,624 steps.
        recipe=ppo_recipe(epochs=611, batch_size=256, learning_rate=0.00025),
        widths=(16, 32, 48, 64),
        rhos=(0.01, 0.05, 0.2),
        quick={"widths": (8, 16), "rhos": (0.05,), "seeds": 2, "epochs": 12},
    )


def _named(game: str) -> AgentWorkload:
    """The workload of a game, which is looked up if ale-py is there."""
    with contextlib.suppress(ImportError):
        _ = Atari(game).actions
    return _of(game)


ATARI_PPO = _of("breakout")
GAMES_OF_ATARI = Family("atari-ppo", "a game of Atari as ale-py names it, such as pong or space_invaders", _named)
