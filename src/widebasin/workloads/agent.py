"""Workloads of agents: an environment, an agent of every width, and PPO."""

import functools
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from widebasin.axis import Axis
from widebasin.data import DataError
from widebasin.environments import Environment, Step
from widebasin.sam import METHODS, method_named
from widebasin.shown import first_line
from widebasin.statistics import Metric
from widebasin.training import ASCENTS, PPO, ProximalPolicy, Recipe, computing_in
from widebasin.training.agent import DEFAULTS, METRICS
from widebasin.workloads.workload import Settings, Workload, refuse_unless, takes

ASCENT = Axis(
    name="ascent",
    flag="ascent",
    kind=str,
    wanted=" or ".join(ASCENTS),
    holds=lambda value: value in ASCENTS,
    default=ASCENTS[:1],
    traced=False,
    phrase="ascent: {}",
    help="What the ascent follows: the whole loss, or the policy's part of it, without the critic's.",
    names=lambda: ASCENTS,
)


def ppo_recipe(epochs: int, batch_size: int, learning_rate: float) -> Recipe:
    """CleanRL's optimizer: Adam with a learning rate that falls linearly to 0, gradients clipped to norm .5."""
    return Recipe(
        epochs=epochs,
        batch_size=batch_size,
        optimizer="adam",
        learning_rate=learning_rate,
        schedule="linear",
        epsilon=1e-5,
        clip=0.5,
    )


@dataclass(frozen=True, eq=False, kw_only=True)
class AgentWorkload(Workload):
    """Agents that are trained by PPO; they are judged by the return of episodes with fixed seeds.

    An epoch is some rollouts, each with the passes over its decisions. The parts ``valid`` and ``test`` are episodes
    of their own, the same for all networks and epochs.

    Attributes:
        references: by default what random actions reach.
        environment: what the agent acts in.
        build: ``(width, key, **values) -> model`` of one observation, see ``training.ProximalPolicy``; with the values
            of own axes besides ``ascent``, which must not be traced.
        ppo: settings besides the recipe.
    """

    environment: Environment
    build: Callable[..., eqx.Module]
    ppo: PPO = DEFAULTS
    axes: tuple[Axis, ...] = (ASCENT,)

    def __post_init__(self) -> None:
        """Raises ``ValueError`` for an attribute that is not as it must be, or an axis whose values reach no model."""
        super().__post_init__()
        wanted = "an Environment, such as CartPole()"
        refuse_unless("environment", self.environment, isinstance(self.environment, Environment), wanted)
        if self.ppo.decisions % self.recipe.batch_size:
            raise ValueError(
                f"recipe of {self.name}: batch_size must divide the {self.ppo.decisions:,} decisions of a rollout, got "
                f"{self.recipe.batch_size}"
            )
        if self.references is dict or isinstance(self.references, RandomActions):
            object.__setattr__(self, "references", RandomActions(self.environment, self.ppo))
        own = {axis.name: None for axis in self.axes if axis.name != ASCENT.name}
        wanted = f"a function of {', '.join(('width', 'key', *own))} that returns a model"
        refuse_unless("build", self.build, takes(self.build, 1, None, **own), wanted)
        if traced := [axis.name for axis in self.axes if axis.traced]:
            raise ValueError(
                f"axis {traced[0]} of {self.name}: take Axis(traced=False), which hands its values to build"
            )

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The return of an episode, and its mean over training."""
        return METRICS

    @property
    def train_examples(self) -> int:
        """Decisions of an epoch."""
        return self.ppo.rollouts * self.ppo.decisions

    def new_problem(self, width: int, recipe: Recipe, settings: Settings) -> ProximalPolicy:
        """See ``Workload``."""
        try:
            _ = self.environment.actions
        except ImportError as error:
            raise DataError(str(error)) from error
        own = {axis.name: axis.single_value(self) for axis in self.axes} | dict(settings.standard.own)
        ascent = own.pop(ASCENT.name, ASCENTS[0])
        problem = ProximalPolicy(lambda key: self.build(width, key, **own), self.environment, recipe, self.ppo, ascent)
        self._check_environment(recipe.precision)
        self._check_model(problem, width)
        return problem

    @functools.lru_cache  # noqa: B019 (a workload lives as long as the process)
    def _check_environment(self, precision: str) -> None:
        """Raises ``DataError`` if a step of the environment leads to something else than it must."""
        environment, which = self.environment, type(self.environment).__name__

        def trace(function: Callable[..., Any], name: str, *arguments: Any) -> Any:
            try:
                return jax.eval_shape(function, *arguments)
            except Exception as error:  # whatever the user's code raises
                raise DataError(f"{name} of {which} fails: {first_line(error)}") from error

        with computing_in(precision):
            key = jax.eval_shape(lambda: jax.random.key(0))
            state = trace(environment.reset, "reset", key)
            seen = trace(environment.observe, "observe", state)
            # Its type depends on whether training enables JAX's 64-bit types.
            action = jax.eval_shape(lambda key: jax.random.categorical(key, jnp.zeros(environment.actions)), key)
            found = trace(environment.step, "step", state, action, key)
        if not isinstance(seen, jax.ShapeDtypeStruct):
            raise DataError(f"observe of {which} must return one array, got {type(seen).__name__}")
        if not isinstance(found, Step):
            raise DataError(f"step of {which} must return an environments.Step, got {type(found).__name__}")
        if _shapes(state) != _shapes(found.state):
            states = f"({_shapes(state)}), got {_shapes(found.state)}"
            raise DataError(f"step of {which} must return a state like that of reset {states}")
        for name, wanted, kinds in (
            ("reward", "a number", (jnp.floating, jnp.integer, jnp.bool_)),
            ("terminated", "True or False", (jnp.bool_,)),
            ("truncated", "True or False", (jnp.bool_,)),
        ):
            value = getattr(found, name)
            scalar = isinstance(value, jax.ShapeDtypeStruct) and value.shape == ()
            if not (scalar and any(jnp.issubdtype(value.dtype, kind) for kind in kinds)):
                raise DataError(f"{name} of a step of {which} must be {wanted}, got {_shapes(value)}")

    def _check_model(self, problem: ProximalPolicy, width: int) -> None:
        """Raises ``DataError`` if the model does not take an observation, or returns something else than it must."""
        environment, network = self.environment, problem.network

        def observed() -> Array:
            return environment.observe(environment.reset(jax.random.key(0)))[None]

        def outputs(params: Any, observations: Array) -> Any:
            return network.outputs(params, [], observations, training=False)[0]

        which = f"the model of width {width} of {self.name}"
        with computing_in(problem.recipe.precision):
            seen = jax.eval_shape(observed)
            try:
                found = jax.eval_shape(outputs, network.shapes, seen)
            except (TypeError, ValueError) as error:
                reason = first_line(error)
                raise DataError(f"{which} fails on an observation of shape {seen.shape[1:]}: {reason}") from error
        actions = environment.actions
        shapes = [leaf.shape[1:] for leaf in found] if isinstance(found, tuple) and len(found) == 2 else []
        if shapes not in ([(actions,), ()], [(actions,), (1,)]):
            raise DataError(f"{which} must return logits of shape ({actions},) and a value of shape ()")

    def refusals(self, spec: Any) -> Iterator[tuple[str, str]]:
        """See ``Workload``: all decisions of a rollout are trained on."""
        if spec.train_examples != self.train_examples:
            yield "train_examples", f"left out for {self.name}: an epoch has {self.train_examples:,} decisions"
        if self.ppo.decisions % spec.batch_size:
            yield "batch_size", f"a divisor of {self.ppo.decisions:,}, the decisions of a rollout of {self.name}"
        if spec.precision == "float64" and not self.environment.in_double:
            yield "precision", f"float32 or bfloat16 for {self.name}"
        if "policy" in getattr(spec, ASCENT.flag, ()):
            unfit = [name for name in spec.methods if not _takes_ascent_loss(name)]
            if unfit:
                fit = ", ".join(filter(_takes_ascent_loss, METHODS))
                yield "methods", f"of {fit} with --ascent policy; leave {', '.join(unfit)} or the policy out"

    def data_record(self) -> dict[str, str]:
        """See ``Workload``: the environment and PPO with their settings."""
        said = f"{self.environment.record}, {self.ppo}"
        return {"name": said, "sha256": hashlib.sha256(said.encode()).hexdigest()}


def _shapes(tree: Any) -> str:
    return str(jax.tree.map(lambda leaf: f"{leaf.dtype}{list(leaf.shape)}", tree)).replace("'", "")


def _takes_ascent_loss(method: str) -> bool:
    return method_named(method).with_radius(0.0).takes_ascent_loss


class _Indifferent(eqx.Module):
    """A policy without preferences."""

    logits: Float[Array, " actions"]

    def __call__(self, observation: Array) -> tuple[Float[Array, " actions"], Float[Array, ""]]:
        del observation
        return self.logits, jnp.zeros(())


def random_actions(environment: Environment, ppo: PPO = DEFAULTS) -> dict[str, float]:
    """The mean return of the test episodes if every action is as likely as any other."""
    recipe = Recipe(epochs=1, batch_size=ppo.decisions, learning_rate=0.0)
    problem = ProximalPolicy(lambda key: _Indifferent(jnp.zeros(environment.actions)), environment, recipe, ppo)
    with computing_in(recipe.precision):
        model = problem.init(jax.random.key(0))
        episodes = jax.tree.map(lambda leaf: leaf[0], problem.blocks("test"))
        return {"random actions": float(jax.jit(problem.returns)(model, episodes).mean())}


@dataclass(frozen=True, eq=False)
class RandomActions:
    """The references of an agent's workload: what random actions reach, played when it is first asked."""

    environment: Environment
    ppo: PPO

    @functools.cached_property
    def _found(self) -> dict[str, float]:
        return random_actions(self.environment, self.ppo)

    def __call__(self) -> dict[str, float]:
        """Name -> test return."""
        return self._found
