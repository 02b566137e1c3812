"""Agents as workloads: what a spec may ask of them, and what they reach."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from widebasin import sam
from widebasin.environments import CartPole
from widebasin.studies import STUDIES
from widebasin.sweep import UsageError, resolve
from widebasin.sweep.cells import cells
from widebasin.sweep.execution import Execution
from widebasin.sweep.networks import load_network
from widebasin.sweep.run import run
from widebasin.sweep.spec import spec_type
from widebasin.training import PPO, Model, Plan, Point, Program, train
from widebasin.workloads import WORKLOADS
from widebasin.workloads.agent import random_actions

NAME = "cartpole-ppo"
WORKLOAD = WORKLOADS[NAME]


def resolved(**given):
    return resolve(spec_type(WORKLOAD.axes)(workload=NAME, **given))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"train_examples": 512}, "must be left out for cartpole-ppo: a rollout has 1,024 decisions"),
        ({"batch_size": 300}, "must be a divisor of 1,024"),
        ({"label_noise": (0.2,)}, "which has no classes"),
        ({"output_scale": (10.0,)}, "agents and models with batch normalization cannot be centered"),
        ({"ascent": ("actor",)}, "unknown"),
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


@pytest.mark.parametrize("study", [study for study in STUDIES.values() if study.measures], ids=lambda study: study.name)
def test_studies_that_measure_on_examples_refuse_agents(study):
    with pytest.raises(UsageError):
        study.check(resolved(methods=study.spec.methods or ("sgd", "sam"), schedule="constant"))


def test_what_the_ascent_follows_is_an_axis_for_methods_that_can():
    spec = resolved(
        ascent=("loss", "policy"), methods=("sgd", "sam", "asam", "unnormalized-sam", "random-perturbation")
    )
    problems = [cell.problem() for cell in cells(spec) if (cell.width, cell.method) == (4, "asam")]
    assert [problem.ascent for problem in problems] == ["loss", "policy"]


def test_random_actions_keep_the_pole_up_for_22_steps():
    """Gymnasium's documentation and many papers: about 22."""
    assert random_actions(CartPole(), PPO(episodes=2_000))["random actions"] == pytest.approx(22.3, abs=1.0)


@pytest.mark.slow
def test_a_sweep_of_agents_keeps_networks_that_act_as_they_were_judged(tmp_path):
    spec = spec_type(WORKLOAD.axes)(
        workload=NAME, widths=(4,), methods=("sgd", "sam"), rhos=(0.05,), seeds=1, epochs=3, ascent=("policy",)
    )
    run(spec, tmp_path / "out", execution=Execution(keep_parameters=True))
    network = load_network(tmp_path / "out", method="sam")
    assert network.examples is None
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
def test_nine_of_ten_agents_balance_the_pole_within_100_000_steps():
    recipe = WORKLOAD.recipe
    assert recipe.epochs * WORKLOAD.ppo.decisions < 100_500
    problem = WORKLOAD.problem(64, recipe)
    rates = {"learning_rate": recipe.learning_rate, "weight_decay": 0.0}
    points = [Point.of(seed, rho=0.0, **rates) for seed in range(10)]
    found = train(Program(problem, sam.METHODS["sgd"].with_radius, Plan(10, "scan", "cpu")), points)
    reached = np.nanmax(found.history["valid_return"], axis=1)
    assert (reached >= 475).sum() >= 9, reached
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
    program = Program(workload.problem(64, workload.recipe), sam.METHODS["sgd"].with_radius, Plan(1, "scan", "cpu"))
    assert train(program, points).history["test_return"][0, -1] >= 5
