"""Agents as workloads: what a spec may ask of them, and what they reach."""

import math
from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from together import together

from widebasin import environments, sam
from widebasin.axis import Axis
from widebasin.data import DataError
from widebasin.environments import CartPole, Environment, Step
from widebasin.models import ActorCritic
from widebasin.studies import STUDIES
from widebasin.sweep import UsageError, resolve
from widebasin.sweep.cells import cells
from widebasin.sweep.execution import Execution
from widebasin.sweep.networks import load_network
from widebasin.sweep.run import run
from widebasin.sweep.spec import spec_type
from widebasin.training import PPO, Checkpoints, Model, Plan, Point, Program, ProximalPolicy, Recipe, train
from widebasin.workloads import WORKLOADS, Settings
from widebasin.workloads.agent import random_actions

DEPTH = Axis("depth", "depth", int, "at least 1", lambda depth: depth >= 1, (2,), traced=False)
NAME = "cartpole-ppo"
WORKLOAD = WORKLOADS[NAME]


def resolved(**given):
    return resolve(spec_type(WORKLOAD.axes)(**{"workload": NAME} | given))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"train_examples": 512}, "must be left out for cartpole-ppo: an epoch has 7,168 decisions"),
        ({"batch_size": 300}, "must be a divisor of 1,024"),
        ({"label_noise": (0.2,)}, "which has no classes"),
        ({"output_scale": (10.0,)}, "agents and models with batch normalization cannot be centered"),
        ({"ascent": ("actor",)}, "unknown"),
        ({"workload": "minatar-ppo", "precision": "float64"}, "must be float32 or bfloat16 for minatar-ppo"),
        (
            {"ascent": ("policy",), "methods": ("sgd", "gsam", "sam")},
            "policy; leave gsam or the policy out",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_agents_cannot_do_is_said_before_training(given, message):
    with pytest.raises(UsageError, match=message):
        resolved(**given)


@pytest.mark.parametrize("name", [name for name, study in STUDIES.items() if study.needs_examples])
def test_studies_of_examples_refuse_agents(name):
    with pytest.raises(UsageError, match="workload = 'cartpole-ppo': must be a data set of examples, such as"):
        STUDIES[name].check(resolved())


class Corridor(Environment):
    """A class without a description of its own."""

    actions = 2

    def __init__(self, length):
        self.length = length
        self._cache = object()

    def reset(self, key):
        return jnp.zeros(2, int)

    def observe(self, state):
        return jax.nn.one_hot(state[0], self.length)

    def step(self, state, action, key):
        state = jnp.stack([jnp.clip(state[0] + 2 * action - 1, 0, self.length - 1), state[1] + 1])
        there = state[0] == self.length - 1
        return Step(state, -jnp.ones(()), there, (state[1] >= 40) & ~there)


class Silent(ActorCritic):
    """An agent without a critic."""

    def __call__(self, observation):
        return super().__call__(observation)[0]


def test_environments_are_recorded_by_class_and_settings():
    records = [replace(WORKLOAD, environment=Corridor(length)).data_record() for length in (5, 5, 6)]
    assert records[0] == records[1] != records[2]
    mazes = [np.zeros(2_000), np.zeros(2_000), np.where(np.arange(2_000) == 1_000, 1e-9, 0)]
    keys = [jax.random.key(seed) for seed in (0, 0, 1)]

    class Rule:
        pass

    for values in (mazes, keys, [[one] for one in mazes], [{"a", "b"}, {"b", "a"}, {"a", "c"}], [Rule(), Rule(), Rule]):
        drawn = [Corridor(5) for _ in values]
        for environment, value in zip(drawn, values, strict=True):
            environment.more = value
        assert drawn[0].record == drawn[1].record != drawn[2].record
    assert records[0]["name"].startswith("Corridor(length=5), PPO(")
    assert WORKLOAD.data_record()["name"].startswith("CartPole(longest=500), PPO(environments=8")
    assert replace(WORKLOAD, ppo=PPO(trace=0.9)).data_record()["sha256"] != WORKLOAD.data_record()["sha256"]


@pytest.mark.slow
def test_the_return_is_unknown_until_an_episode_ends():
    """With -1 for every step, 0 would be the best return of all; the mean over training leaves such epochs out."""
    ppo = PPO(environments=2, rollout=4, episodes=2)
    build = lambda key: ActorCritic(200, 2, 2, key=key)  # noqa: E731
    problem = ProximalPolicy(build, Corridor(200), Recipe(12, 8, 1e-3), ppo)
    points = [Point.of(0, rho=0.0, learning_rate=1e-3, weight_decay=0.0)]
    found = train(Program(problem, sam.METHODS["sgd"].with_radius, Plan(1, "scan", "cpu")), points)
    returns, means = (found.history[f"train_{name}"][0] for name in ("return", "mean_return"))
    assert np.isnan(returns[:9]).all()
    assert np.isnan(means[:9]).all()
    assert returns[9:].tolist() == means[9:].tolist() == [-40.0] * 3
    several = replace(problem, recipe=Recipe(3, 8, 1e-3), ppo=replace(ppo, rollouts=4))
    for loop in ("scan", "step"):  # the first episodes end in the second of the third epoch's rollouts
        epochs = train(Program(several, sam.METHODS["sgd"].with_radius, Plan(1, loop, "cpu")), points)
        np.testing.assert_array_equal(epochs.history["train_return"][0], [np.nan, np.nan, -40.0])
    assert not found.diverged_epoch.any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"recipe": replace(WORKLOAD.recipe, batch_size=24)},
            "batch_size must divide the 1,024 decisions",
        ),
        ({"environment": "CartPole"}, "environment of a workload must be an Environment"),
        ({"build": lambda width: None}, "build of a workload must be a function of width, key that returns a model"),
        ({"axes": (DEPTH,)}, "build of a workload must be a function of width, key, depth"),
        ({"axes": (replace(DEPTH, traced=True),), "build": lambda width, key, depth: None}, r"Axis\(traced=False\)"),
    ],
)
def test_a_workload_that_does_not_fit_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(WORKLOAD, **change)


def test_axes_of_a_workload_reach_its_model():
    built = []

    def build(width, key, depth):
        built.append(depth)
        return ActorCritic(4, 2, width, key=key)

    workload = replace(WORKLOAD, axes=(DEPTH,), build=build)
    workload.num_params(4, settings=Settings(own=(("depth", 7),)))
    assert set(built) == {7}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"episodes": 0}, "episodes of PPO must be at least 1"),
        ({"trace": 1.5}, "trace of PPO must be in"),
        ({"ratio_range": 0.0}, "ratio_range of PPO must be above 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        PPO(**settings)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda width, key: ActorCritic(5, 2, width, key=key), r"fails on an observation of shape \(4,\): .*\(5,\)"),
        (
            lambda width, key: ActorCritic(4, 3, width, key=key),
            r"must return logits of shape \(2,\) and a value",
        ),
        (lambda width, key: Silent(4, 2, width, key=key), r"must return logits of shape \(2,\)"),
    ],
)
def test_models_that_do_not_fit_the_environment_are_found_before_training(build, message):
    workload = replace(WORKLOAD, build=build)
    with pytest.raises(DataError, match=message):
        workload.problem(4, workload.recipe)


@together(
    "change, message",
    [
        ({"reward": jnp.zeros(1)}, r"reward of a step of Wrong must be a number, got float32\[1\]"),
        ({"reward": jnp.zeros((), complex)}, r"reward of a step of Wrong must be a number, got complex64\[\]"),
        ({"terminated": jnp.zeros(())}, r"terminated of a step of Wrong must be True or False, got float32\[\]"),
        ({"state": jnp.zeros(2)}, r"a state like that of reset \(int32\[2\]\), got float32\[2\]"),
        ({"state": (jnp.zeros(2, int),)}, r"a state like that of reset \(int32\[2\]\), got \(int32\[2\],\)"),
        (tuple, r"step of Wrong must return an environments\.Step, got tuple"),
    ],
)
def test_environments_that_return_something_else_are_found_before_training(change, message):
    class Wrong(Corridor):
        def step(self, state, action, key):
            found = super().step(state, action, key)
            return tuple(found) if change is tuple else found._replace(**change)

    workload = replace(WORKLOAD, environment=Wrong(5), build=lambda width, key: ActorCritic(5, 2, 2, key=key))
    with pytest.raises(DataError, match=message):
        workload.problem(4, workload.recipe)


def test_rewards_may_be_whole_numbers_and_states_keep_the_action_in_double_precision():
    class Counting(Corridor):
        def reset(self, key):
            return jnp.zeros((), int)

        def observe(self, state):
            return jax.nn.one_hot(state, self.length)

        def step(self, state, action, key):
            return Step(action, jnp.ones((), int), action == 0, jnp.zeros((), bool))

    workload = replace(WORKLOAD, environment=Counting(5), build=lambda width, key: ActorCritic(5, 2, 2, key=key))
    for precision in ("float32", "float64"):
        workload.problem(4, replace(workload.recipe, precision=precision))


def test_models_with_dropout_are_refused():
    class Dropping(ActorCritic):
        def __call__(self, observation, key=None):
            return super().__call__(observation)

    workload = replace(WORKLOAD, build=lambda width, key: Dropping(4, 2, width, key=key))
    with pytest.raises(ValueError, match="no state \\(batch normalization\\) and no dropout"):
        workload.num_params(4)


def test_what_the_ascent_follows_is_an_axis_for_methods_that_can():
    spec = resolved(
        ascent=("loss", "policy"), methods=("sgd", "sam", "asam", "unnormalized-sam", "random-perturbation")
    )
    problems = [cell.problem() for cell in cells(spec) if (cell.width, cell.method) == (4, "asam")]
    assert [problem.ascent for problem in problems] == ["loss", "policy"]


def test_random_actions_keep_the_pole_up_for_22_steps():
    """Gymnasium's documentation and many papers: about 22."""
    assert random_actions(CartPole(), PPO(episodes=2_000))["random actions"] == pytest.approx(22.3, abs=1.0)


def test_references_are_those_of_the_environment_that_is_there():
    short = replace(WORKLOAD, environment=CartPole(longest=3))
    assert short.references() == {"random actions": 3.0}
    assert short.references() is short.references()


@pytest.mark.slow
def test_a_sweep_of_agents_keeps_networks_that_act_as_they_were_judged(tmp_path):
    spec = spec_type(WORKLOAD.axes)(
        workload=NAME, widths=(4,), methods=("sgd", "sam"), rhos=(0.05,), seeds=1, epochs=3, ascent=("policy",)
    )
    run(spec, tmp_path / "out", execution=Execution(keep_parameters=True))
    network = load_network(tmp_path / "out", method="sam")
    assert network.examples is None
    assert isinstance(network.problem.environment, CartPole)
    logits, value = network.model(jnp.zeros(4))
    assert (logits.shape, value.shape) == ((2,), ())
    first, _ = network.initial_model()(jnp.ones(4))
    assert not np.allclose(first, network.model(jnp.ones(4))[0])
    problem = network.cell.problem()
    params = jax.tree.map(jnp.asarray, eqx.filter(network.model, eqx.is_array))
    episodes = jax.tree.map(lambda leaf: leaf[0], problem.blocks("test"))
    reached = float(problem.returns(Model(params, []), episodes).mean())
    row = pd.read_parquet(tmp_path / "out" / "results.parquet").query("method == 'sam'").iloc[0]
    assert reached == pytest.approx(row["test_return"], rel=1e-6)
    assert math.isnan(row["valid_loss"])
    assert not row["diverged"]


@pytest.mark.slow
def test_agents_balance_the_pole_within_100_000_steps():
    """Looked at after every rollout: an agent that has learnt it loses and regains the balance."""
    workload = replace(WORKLOAD, ppo=replace(WORKLOAD.ppo, rollouts=1))
    recipe = replace(workload.recipe, epochs=WORKLOAD.ppo.rollouts * WORKLOAD.recipe.epochs)
    assert recipe.epochs * workload.train_examples < 100_500
    problem = workload.problem(64, recipe)
    rates = {"learning_rate": recipe.learning_rate, "weight_decay": 0.0}
    points = [Point.of(seed, rho=0.0, **rates) for seed in range(4)]
    found = train(Program(problem, sam.METHODS["sgd"].with_radius, Plan(4, "scan", "cpu")), points)
    reached = np.nanmax(found.history["valid_return"], axis=1)
    assert (reached >= 475).all(), reached
    assert not found.diverged_epoch.any()
    for part in ("train", "valid", "test"):
        returns = found.history[f"{part}_return"].astype(float)
        so_far = returns.cumsum(axis=1) / np.arange(1, recipe.epochs + 1)
        np.testing.assert_allclose(found.history[f"{part}_mean_return"], so_far, rtol=1e-5)


@pytest.mark.slow
def test_an_agent_learns_to_play_breakout():
    pytest.importorskip("pgx")
    workload = WORKLOADS["minatar-ppo"]
    assert workload.references()["random actions"] < 0.6
    assert WORKLOADS["minatar-ppo:breakout"].environment == workload.environment
    points = [Point.of(0, rho=0.0, learning_rate=workload.recipe.learning_rate, weight_decay=0.0)]
    recipe = replace(workload.recipe, epochs=workload.quick["epochs"])
    program = Program(workload.problem(64, recipe), sam.METHODS["sgd"].with_radius, Plan(1, "scan", "cpu"))
    assert train(program, points).history["test_return"][0, -1] >= 2.5


def atari_agents():
    """Small agents of Atari: two rollouts per epoch, in the middle of games."""
    pytest.importorskip("ale_py")
    ppo = PPO(environments=2, rollout=6, rollouts=2, passes=1, episodes=2, longest=8)
    workload = replace(WORKLOADS["atari-ppo"], ppo=ppo, recipe=replace(WORKLOADS["atari-ppo"].recipe, batch_size=6))
    problem = workload.problem(2, replace(workload.recipe, epochs=3))
    return problem, [Point.of(seed, rho=0.05, learning_rate=1e-3, weight_decay=0.0) for seed in range(2)]


@pytest.mark.slow
def test_agents_of_atari_continue_bit_for_bit_from_a_checkpoint(tmp_path):
    problem, points = atari_agents()
    program = Program(problem, sam.METHODS["sam"].with_radius, Plan(2, "scan", "cpu"))
    whole = train(program, points)

    class Stopped(Exception):
        pass

    def stop(report):
        if report.epoch == 2:
            raise Stopped

    saved = Checkpoints(tmp_path / "saved")
    with pytest.raises(Stopped):
        train(program, points, checkpoints=saved, checkpoint_seconds=0.0, on_epoch=stop)
    environments.atari._console.cache_clear()  # a new process has an emulator that has played nothing
    jax.clear_caches()
    again = Program(problem, sam.METHODS["sam"].with_radius, Plan(2, "scan", "cpu"))
    continued = train(again, points, checkpoints=saved)
    for one, other in zip(jax.tree.leaves(whole.params), jax.tree.leaves(continued.params), strict=True):
        np.testing.assert_array_equal(one, other)
    for name, values in whole.history.items():
        np.testing.assert_array_equal(values, continued.history[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cartpole", "atari"])
def test_agents_are_the_same_on_two_devices(name):
    """Each device calls the host for its own consoles."""
    problem, points = atari_agents()
    if name == "cartpole":
        ppo = PPO(environments=3, rollout=16, rollouts=2, episodes=2)
        problem = ProximalPolicy(lambda key: ActorCritic(4, 2, 8, key=key), CartPole(), problem.recipe, ppo)
    found = [
        train(Program(problem, sam.METHODS["sam"].with_radius, Plan(2, "scan", "cpu", devices)), points)
        for devices in (1, 2)
    ]
    for one, other in zip(*(jax.tree.leaves(one.params) for one in found), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    for part in ("train", "valid", "test"):
        np.testing.assert_array_equal(*(one.history[f"{part}_return"] for one in found))
