"""CartPole, actor and critic of width h, PPO."""

from widebasin.environments import CartPole
from widebasin.models import ActorCritic
from widebasin.training import PPO
from widebasin.workloads.agent import AgentWorkload, ppo_recipe

CARTPOLE_PPO = AgentWorkload(
    name="cartpole-ppo",
    model="actor-critic",
    description="CartPole (embedded), an agent of width h, PPO, 8 x 128 steps per rollout",
    environment=CartPole(),
    build=lambda width, key: ActorCritic(4, CartPole.actions, width, key=key),
    ppo=PPO(rollouts=7),
    # 98 rollouts are 100,352 steps.
    recipe=ppo_recipe(epochs=14, batch_size=256, learning_rate=0.0025),
    widths=(4, 16, 64),
    rhos=(0.01, 0.05, 0.2),
    quick={"widths": (8, 32), "rhos": (0.05,), "seeds": 2, "epochs": 7},
)
