"""Workloads of agents: an environment, an agent of every width, and PPO."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from widebasin.axis import Axis
from widebasin.data import DataError
from widebasin.environments import Environment
from widebasin.sam import method_named
from widebasin.statistics import MEAN_RETURN, RETURN, Metric
from widebasin.training import ASCENTS, PPO, ProximalPolicy, Recipe, computing_in
from widebasin.training.agent import CLEANRL
from widebasin.workloads.workload import Settings, Workload

ASCENT = Axis(
    name="ascent",
    flag="ascent",
    kind=str,
    wanted=" or ".join(ASCENTS),
    holds=lambda value: value in ASCENTS,
    default=ASCENTS[:1],
    traced=False,
    phrase="ascent along the {}",
    help="What the ascent follows: the whole loss, or the policy's part of it, without the critic's.",
    names=lambda: ASCENTS,
)


@dataclass(frozen=True, eq=False, kw_only=True)
class AgentWorkload(Workload):
    """Agents that are trained by PPO; they are judged by the return of episodes with fixed seeds.

    An epoch is a rollout and the passes over its decisions. The parts ``valid`` and ``test`` are episodes of their own,
    the same for all networks and epochs.

    Attributes:
        environment: what the agent acts in.
        build: ``(width, key) -> model`` of one observation, see ``training.ProximalPolicy``.
        ppo: settings besides the recipe.
    """

    environment: Environment
    build: Callable[[int, Key[Array, ""]], eqx.Module]
    ppo: PPO = CLEANRL
    axes: tuple[Axis, ...] = (ASCENT,)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The return of an episode, and its mean over training."""
        return RETURN, MEAN_RETURN

    @property
    def train_examples(self) -> int:
        """Decisions of a rollout."""
        return self.ppo.decisions

    def new_problem(self, width: int, recipe: Recipe, settings: Settings) -> ProximalPolicy:
        """See ``Workload``."""
        try:
            _ = self.environment.actions
        except ImportError as error:
            raise DataError(str(error)) from error
        ascent = dict(settings.own).get(ASCENT.name, ASCENTS[0])
        return ProximalPolicy(lambda key: self.build(width, key), self.environment, recipe, self.ppo, ascent)

    def refusals(self, spec: Any) -> Iterator[tuple[str, str]]:
        """See ``Workload``: a rollout is trained on as a whole."""
        if spec.train_examples != self.ppo.decisions:
            yield "train_examples", f"left out for {self.name}: a rollout has {self.ppo.decisions:,} decisions"
        if self.ppo.decisions % spec.batch_size:
            yield "batch_size", f"a divisor of {self.ppo.decisions:,}, the decisions of a rollout of {self.name}"
        if "policy" in spec.ascent:
            unfit = [name for name in spec.methods if not method_named(name).with_radius(0.0).takes_ascent_loss]
            if unfit:
                can = "sgd, sam, unnormalized-sam, asam, random-perturbation"
                yield "methods", f"of {can} with --ascent policy; leave {', '.join(unfit)} or the policy out"

    def data_record(self) -> dict[str, str]:
        """See ``Workload``: the environment with its settings."""
        said = self.environment.record
        return {"name": said, "sha256": hashlib.sha256(said.encode()).hexdigest()}


class _Indifferent(eqx.Module):
    """A policy without preferences."""

    logits: Float[Array, " actions"]

    def __call__(self, observation: Array) -> tuple[Float[Array, " actions"], Float[Array, ""]]:
        del observation
        return self.logits, jnp.zeros(())


def random_actions(environment: Environment, ppo: PPO = CLEANRL) -> dict[str, float]:
    """The mean return of the test episodes if every action is as likely as any other."""
    recipe = Recipe(epochs=1, batch_size=ppo.decisions, learning_rate=0.0)
    problem = ProximalPolicy(lambda key: _Indifferent(jnp.zeros(environment.actions)), environment, recipe, ppo)
    with computing_in(recipe.precision):
        model = problem.init(jax.random.key(0))
        episodes = jax.tree.map(lambda leaf: leaf[0], problem.blocks("test"))
        return {"random actions": float(jax.jit(problem.returns)(model, episodes).mean())}
