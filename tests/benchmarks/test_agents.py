"""PPO in one file learns what it is compared for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from widebasin.benchmarks import agents
from widebasin.benchmarks.agents_by_hand import loss, trained, untrained
from widebasin.training.agent import Decisions
from widebasin.workloads import WORKLOADS


@pytest.mark.slow
def test_the_file_has_the_same_loss():
    random = np.random.default_rng(0)
    problem = WORKLOADS["cartpole-ppo"].problem(8, WORKLOADS["cartpole-ppo"].recipe)
    model = problem.init(jax.random.key(0))
    rows = [random.normal(size=shape) for shape in ((50, 4), 50, 50, 50, 50)]
    observations, before, old, advantages, targets = map(jnp.asarray, rows)
    actions, before = jnp.arange(50) % 2, -jnp.abs(before)
    by_hand = loss(problem.network.inference_model(*model), (observations, actions, before, old, advantages, targets))
    normalized = (advantages - advantages.mean()) / (advantages.std(ddof=1) + 1e-8)
    batch = Decisions(observations, actions, before, old, normalized, targets, jnp.zeros(50))
    assert float(problem.example_losses(model, {}, batch, None).mean()) == pytest.approx(float(by_hand), rel=1e-5)


@pytest.mark.slow
def test_the_table_has_every_contender_and_the_file_learns(monkeypatch):
    monkeypatch.setattr(agents, "WIDTH", 8)
    monkeypatch.setattr(agents, "EPOCHS", 1)
    monkeypatch.setattr(agents, "NUMBERS", (2,))
    found = agents.measure(1)
    assert [row.what for row in found.rows] == [
        f"2 agents, {name}" for name in (agents.OURS, agents.BARE, agents.ONE_FILE, agents.SAM)
    ]
    for row in found.rows:
        rate = float(dict(row.more)["steps/s"].replace(",", ""))
        assert rate == pytest.approx(2 * 7 * 1024 / row.timing.median, abs=1)
    keys = jax.random.split(jax.random.key(1), 3)
    models = jax.jit(lambda keys: untrained(64, keys))(keys)
    returns = np.asarray(jax.jit(jax.vmap(lambda model, key: trained(60, model, key)))(models, keys)).mean(0)
    assert returns[:3].max() < 60
    assert returns[-10:].mean() > 150
