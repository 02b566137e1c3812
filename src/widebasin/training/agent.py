"""Training an agent by proximal policy optimization (PPO)."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, PyTree, Shaped

from widebasin.data import key_for
from widebasin.environments import Environment
from widebasin.statistics import LOSS, MEAN_RETURN, RETURN, Metric
from widebasin.training.network import Network
from widebasin.training.problem import PARTS, Model, Problem, Totals, means
from widebasin.training.recipe import Recipe

METRICS = (RETURN, MEAN_RETURN)
# Name of the total of the policy's part of the loss.
POLICY = "policy_loss"
# What an ascent can follow.
ASCENTS = ("loss", "policy")
# Added to the standard deviation that advantages are divided by.
SMALL = 1e-8


class Trajectory(NamedTuple):
    """Steps of environments under one policy; leading axes over time and environments.

    Attributes:
        observations: before the action.
        actions: drawn from the policy.
        log_probabilities: of these actions.
        values: what the critic expected before the action.
        rewards: for the action.
        terminated: whether the task ended with the action.
        ended: whether the episode ended with it, also because it was cut off.
        next_values: what the critic expected after the action, before a new episode started.
    """

    observations: Shaped[Array, "time environments ..."]
    actions: Int[Array, "time environments"]
    log_probabilities: Float[Array, "time environments"]
    values: Float[Array, "time environments"]
    rewards: Float[Array, "time environments"]
    terminated: Bool[Array, "time environments"]
    ended: Bool[Array, "time environments"]
    next_values: Float[Array, "time environments"]


class Decisions(NamedTuple):
    """A minibatch of PPO: actions and what is known of them; leading axis over examples.

    Attributes:
        observations: before the action.
        actions: as drawn.
        log_probabilities: under the policy that drew them.
        values: what the critic expected then.
        advantages: normalized within the minibatch.
        targets: of the critic, advantage plus value.
        returns: of the episodes that ended in the rollout, their mean, the same for all; see ``Acting.last_return``.
    """

    observations: Shaped[Array, "examples ..."]
    actions: Int[Array, " examples"]
    log_probabilities: Float[Array, " examples"]
    values: Float[Array, " examples"]
    advantages: Float[Array, " examples"]
    targets: Float[Array, " examples"]
    returns: Float[Array, " examples"]


class Episodes(NamedTuple):
    """Episodes to evaluate by.

    Attributes:
        numbers: of the episodes; they decide how an episode starts, and which actions are drawn.
    """

    numbers: Int[Array, " episodes"] | Int[np.ndarray, " episodes"]


class Acting(NamedTuple):
    """What goes on from one rollout to the next.

    Attributes:
        states: of the environments.
        so_far: the sums of the rewards in their episodes.
        last_return: mean return of the episodes that ended in the last rollout in which any did; NaN before.
    """

    states: PyTree
    so_far: Float[Array, " environments"]
    last_return: Float[Array, ""]


def advantages(
    trajectory: Trajectory, discount: float | Float[Array, ""], trace: float | Float[Array, ""]
) -> Float[Array, "time environments"]:
    """Generalized advantages: ``A_t = d_t + discount * trace * A_{t+1}``, where ``A_{t+1}`` is 0 if the episode ended.

    ``d_t = r_t + discount * V(s_{t+1}) - V(s_t)``, with ``V(s_{t+1}) = 0`` if the task ended, but not if the episode
    was only cut off.

    Source: Schulman et al. 2016, "High-dimensional continuous control using generalized advantage estimation".
    """
    following = jnp.where(trajectory.terminated, 0, trajectory.next_values)
    differences = trajectory.rewards + discount * following - trajectory.values

    def back(later: Array, row: tuple[Array, Array]) -> tuple[Array, Array]:
        difference, ended = row
        now = difference + jnp.where(ended, 0, discount * trace * later)
        return now, now

    _, found = jax.lax.scan(back, jnp.zeros_like(differences[0]), (differences, trajectory.ended), reverse=True)
    return found


@dataclass(frozen=True)
class PPO:
    """The settings of proximal policy optimization.

    The learning rate, its schedule and the norm that gradients are clipped to are the recipe's.

    Attributes:
        environments: how many the agent acts in at once.
        rollout: number of steps of each in a rollout.
        rollouts: number of rollouts in an epoch, so between two evaluations.
        passes: how often training goes over the decisions of a rollout.
        discount: of rewards, per step.
        trace: lambda of the generalized advantages.
        ratio_range: ``c``, by which a ratio may differ from 1 without being clipped.
        clip_values: whether the critic's new value is also clipped, to ``c`` from the old one.
        entropy_weight: weight of the policy's entropy in the loss.
        value_weight: weight of the critic in the loss.
        episodes: number of episodes that an evaluation plays, the same for all networks and epochs.
        longest: number of steps after which an evaluation gives up on an episode that does not end.
    """

    environments: int = 8
    rollout: int = 128
    rollouts: int = 1
    passes: int = 4
    discount: float = 0.99
    trace: float = 0.95
    ratio_range: float = 0.2
    clip_values: bool = True
    entropy_weight: float = 0.01
    value_weight: float = 0.5
    episodes: int = 16
    longest: int = 10_000

    def __post_init__(self) -> None:
        """Raises ``ValueError`` for a setting that makes no sense."""
        for name in ("environments", "rollout", "rollouts", "passes", "episodes", "longest"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} of PPO must be at least 1, got {getattr(self, name)}")
        for name in ("discount", "trace"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} of PPO must be in [0, 1], got {getattr(self, name)}")
        if self.ratio_range <= 0:
            raise ValueError(f"ratio_range of PPO must be above 0, got {self.ratio_range}")

    @property
    def decisions(self) -> int:
        """Number of decisions in a rollout."""
        return self.environments * self.rollout


DEFAULTS = PPO()


@dataclass(frozen=True, eq=False)
class ProximalPolicy(Problem):
    """An agent with a policy and a critic, trained by PPO: rollouts, and some passes over each.

    The loss of a decision is::

        max(-A r, -A clip(r, 1 - c, 1 + c)) + value_weight v / 2 - entropy_weight H

    with the advantage ``A``, normalized within the minibatch, the ratio ``r`` of the action's new probability to that
    when it was drawn, and the entropy ``H`` of the policy. The critic's part is ``v = (V - T)^2`` with its value ``V``
    and its target ``T``; with ``clip_values`` the larger of this and ``(V_0 + clip(V - V_0, -c, c) - T)^2``, where
    ``V_0`` is the value when the action was drawn.

    An episode that is cut off goes on for the critic: the value of its last state stands for the rewards to come.
    (CleanRL takes it for ended.)

    Attributes:
        build: key -> model of one observation that returns (logits of the actions, value).
        environment: what the agent acts in.
        recipe: the recipe; ``batch_size`` is the number of decisions per step.
        ppo: the settings.
        ascent: what a method's ascent follows, ``loss``, or ``policy``, the loss without the critic's part.

    Source: Schulman et al. 2017, "Proximal policy optimization algorithms" (arXiv 1707.06347).
    """

    build: Callable[[Key[Array, ""]], eqx.Module]
    environment: Environment
    recipe: Recipe
    ppo: PPO = DEFAULTS
    ascent: str = "loss"

    def __post_init__(self) -> None:
        """Raises ``ValueError`` unless minibatches divide a rollout, and for an unknown ascent."""
        if self.ppo.decisions % self.recipe.batch_size:
            raise ValueError(
                f"batch_size must divide the {self.ppo.decisions:,} decisions of a rollout ({self.ppo.environments} "
                f"environments x {self.ppo.rollout} steps), got {self.recipe.batch_size}"
            )
        if self.ascent not in ASCENTS:
            raise ValueError(f"ascent must be {' or '.join(ASCENTS)}, got {self.ascent!r}")

    @functools.cached_property
    def network(self) -> Network:
        """The model as a function of parameters, state and batch.

        Raises:
            ValueError: if it has a state or draws random numbers in training.
        """
        network = Network(self.build, self.recipe.precision)
        if network.stateful or network.takes_key:
            raise ValueError("the model of an agent must have no state (batch normalization) and no dropout")
        return network

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The return of an episode, the sum of its rewards; and its mean over training, the area under the curve."""
        return METRICS

    @property
    def finite(self) -> tuple[str, ...]:
        """See ``Problem``: episodes have no loss."""
        return ("train_loss", "valid_return", "gradient_norm")

    @property
    def steps_per_epoch(self) -> int:
        """See ``Problem``."""
        return self.rounds * self.ppo.passes * self.ppo.decisions // self.recipe.batch_size

    @property
    def rounds(self) -> int:
        """See ``Problem``: the rollouts of an epoch."""
        return self.ppo.rollouts

    @property
    def on_host(self) -> bool:
        """See ``Problem``: as the environment is."""
        return self.environment.on_host

    @property
    def bytes_of_epoch(self) -> int:
        """See ``Problem``: observations of a rollout, before and after the action, and once for every pass."""
        seen = jax.eval_shape(lambda: self.environment.observe(self.environment.reset(jax.random.key(0))))
        return self.ppo.decisions * seen.size * ((self.ppo.passes + 3) * seen.dtype.itemsize + 4)

    def init(self, key: Key[Array, ""]) -> Model:
        """See ``Problem``."""
        return Model(*self.network.initialize(key))

    @property
    def structure(self) -> PyTree:
        """The model as it is built, with shapes for arrays."""
        return self.network.structure

    # Acting -----------------------------------------------------------------------------------------------------------
    def carry(self, source: PyTree, key: Key[Array, ""]) -> Acting:
        """Environments at the start of their first episodes."""
        del source
        states = jax.vmap(self.environment.reset)(jax.random.split(key_for(key, "environments"), self.ppo.environments))
        return Acting(states, jnp.zeros(self.ppo.environments), jnp.full((), jnp.nan))

    def policy(self, model: Model, observations: Shaped[Array, "examples ..."]) -> tuple[Array, Array]:
        """Logits of the actions, and values."""
        (logits, values), _ = self.network.outputs(model.params, model.state, observations, training=False)
        return logits, values.reshape(len(observations))

    def act(self, model: Model, carry: Acting, key: Key[Array, ""]) -> tuple[Acting, Trajectory]:
        """One rollout: ``rollout`` steps of every environment; a new episode starts where one ends."""

        def step(carry: tuple[PyTree, Array], key: Key[Array, ""]) -> tuple[Any, Any]:
            states, so_far = carry
            draw, move, start = jax.random.split(key, 3)
            observations = jax.vmap(self.environment.observe)(states)
            logits, values = self.policy(model, observations)
            actions = jax.random.categorical(draw, logits)
            found = jax.vmap(self.environment.step)(states, actions, jax.random.split(move, self.ppo.environments))
            ended = found.terminated | found.truncated
            starts = jax.random.split(start, self.ppo.environments)
            states = jax.vmap(self.environment.restart)(found.state, ended, starts)
            reached = so_far + found.reward
            row = (observations, actions, _log_probability(logits, actions), values, found.reward, found.terminated)
            after = jax.vmap(self.environment.observe)(found.state)
            return (states, jnp.where(ended, 0, reached)), (*row, ended, after, reached)

        keys = jax.random.split(key, self.ppo.rollout)
        (states, so_far), (*rows, after, reached) = jax.lax.scan(step, (carry.states, carry.so_far), keys)
        # In one batch: of most steps it is the value of the next row, but not where an episode was cut off.
        _, next_values = self.policy(model, after.reshape(-1, *after.shape[2:]))
        trajectory = Trajectory._make((*rows, next_values.reshape(self.ppo.rollout, self.ppo.environments)))
        count = trajectory.ended.sum()
        mean = jnp.where(trajectory.ended, reached, 0).sum() / jnp.maximum(count, 1)
        return Acting(states, so_far, jnp.where(count > 0, mean, carry.last_return)), trajectory

    def epoch(
        self, data: PyTree, source: Any, carry: PyTree, model: Model, key: Key[Array, ""], number: Int[Array, ""]
    ) -> tuple[PyTree, Decisions]:
        """A rollout, and its decisions in ``passes`` random orders, cut into minibatches."""
        del data, source
        own = jax.random.fold_in(key_for(key, "rollout"), number)
        carry, trajectory = self.act(model, carry, key_for(own, "actions"))
        found = advantages(trajectory, self.ppo.discount, self.ppo.trace)
        decisions = Decisions(
            trajectory.observations,
            trajectory.actions,
            trajectory.log_probabilities,
            trajectory.values,
            found,
            found + trajectory.values,
            jnp.broadcast_to(carry.last_return, found.shape),
        )
        flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), decisions)
        size = self.ppo.decisions
        orders = jax.vmap(lambda one: jax.random.permutation(one, size))(
            jax.random.split(key_for(own, "batch order"), self.ppo.passes)
        )
        positions = orders.reshape(self.steps_per_round, self.recipe.batch_size)
        batches = jax.tree.map(lambda leaf: leaf[positions], flat)
        mean = batches.advantages.mean(axis=1, keepdims=True)
        # Of a single one, which has no deviation, nothing is left.
        deviation = batches.advantages.std(axis=1, keepdims=True, ddof=min(1, self.recipe.batch_size - 1))
        return carry, batches._replace(advantages=(batches.advantages - mean) / (deviation + SMALL))

    # Learning ---------------------------------------------------------------------------------------------------------
    def losses(
        self,
        model: Model,
        source: Any,
        batch: Decisions | Episodes,
        keys: Key[Array, " examples"] | None,
        *,
        training: bool,
    ) -> tuple[Totals, PyTree]:
        """See ``Problem``: of decisions the loss, of episodes the return; what is not known has no weight."""
        del source, keys, training
        if isinstance(batch, Episodes):
            returns = self.returns(model, batch)
            nothing = jnp.zeros(())
            found = {LOSS.name: (nothing, nothing), RETURN.name: (returns.sum(), float(len(returns)))}
        else:
            policy, critic = self.decision_losses(model, batch)
            weight = float(len(policy))
            found = {
                LOSS.name: ((policy + critic).sum(), weight),
                RETURN.name: (batch.returns.sum(), weight),
                POLICY: (policy.sum(), weight),
            }
        return found, model.state

    @property
    def climbs(self) -> bool:
        """See ``Problem``: as ``ascent`` says."""
        return self.ascent == "policy"

    def climbed(self, totals: Totals, source: Any) -> Float[Array, ""]:
        """See ``Problem``: the policy's part of the loss."""
        del source
        return means({POLICY: totals[POLICY]})[POLICY]

    def example_losses(
        self, model: Model, source: Any, batch: Decisions, keys: Key[Array, " examples"] | None
    ) -> Float[Array, " examples"]:
        """See ``Problem``."""
        del source, keys
        policy, critic = self.decision_losses(model, batch)
        return policy + critic

    def decision_losses(
        self, model: Model, batch: Decisions
    ) -> tuple[Float[Array, " examples"], Float[Array, " examples"]]:
        """The losses of the decisions: the policy's part with the entropy, and the critic's part."""
        logits, values = self.policy(model, batch.observations)
        ratios = jnp.exp(_log_probability(logits, batch.actions) - batch.log_probabilities)
        near = self.ppo.ratio_range
        policy = jnp.maximum(-batch.advantages * ratios, -batch.advantages * jnp.clip(ratios, 1 - near, 1 + near))
        logs = jax.nn.log_softmax(logits)
        entropy = -jnp.sum(jnp.exp(logs) * logs, axis=-1)
        errors = (values - batch.targets) ** 2
        if self.ppo.clip_values:
            clipped = batch.values + jnp.clip(values - batch.values, -near, near)
            errors = jnp.maximum(errors, (clipped - batch.targets) ** 2)
        return policy - self.ppo.entropy_weight * entropy, 0.5 * self.ppo.value_weight * errors

    # Evaluation -------------------------------------------------------------------------------------------------------
    def blocks(self, part: str) -> Episodes:
        """Episodes of their own for every part, in one block."""
        first = PARTS.index(part) * self.ppo.episodes
        return Episodes(np.arange(first, first + self.ppo.episodes, dtype=np.int32)[None])

    def returns(self, model: Model, batch: Episodes) -> Float[Array, " episodes"]:
        """The returns of episodes, played to their end; their numbers decide all that is random."""
        keys = jax.vmap(lambda number: jax.random.fold_in(key_for(jax.random.key(0), "episodes"), number))(
            jnp.asarray(batch.numbers)
        )

        environment = self.environment.judged

        def play(playing: tuple[PyTree, Array, Array, Array]) -> tuple[PyTree, Array, Array, Array]:
            states, so_far, over, number = playing
            draw, move = jax.vmap(lambda key: jax.random.split(jax.random.fold_in(key, number + 1)), out_axes=1)(keys)
            logits, _ = self.policy(model, jax.vmap(environment.observe)(states))
            actions = jax.vmap(jax.random.categorical)(draw, logits)
            found = jax.vmap(environment.step)(states, actions, move)
            ended = over | found.terminated | found.truncated
            # An agent without numbers does not act.
            reward = jnp.where(jnp.isfinite(logits).all(axis=1), found.reward, jnp.nan)
            return _where(over, states, found.state), so_far + jnp.where(over, 0, reward), ended, number + 1

        states = jax.vmap(environment.reset)(jax.vmap(lambda key: jax.random.fold_in(key, 0))(keys))
        nothing = jnp.zeros(len(keys))
        start = (states, nothing, nothing > 0, jnp.zeros((), jnp.int32))
        return jax.lax.while_loop(lambda playing: ~playing[2].all() & (playing[3] < self.ppo.longest), play, start)[1]


def _log_probability(logits: Float[Array, "examples actions"], actions: Int[Array, " examples"]) -> Array:
    return jnp.take_along_axis(jax.nn.log_softmax(logits), actions[:, None], axis=1)[:, 0]


def _where(condition: Bool[Array, " n"], one: PyTree, other: PyTree) -> PyTree:
    """Row by row one pytree or the other."""
    return jax.tree.map(
        lambda a, b: jnp.where(condition.reshape(condition.shape + (1,) * (a.ndim - 1)), a, b), one, other
    )
