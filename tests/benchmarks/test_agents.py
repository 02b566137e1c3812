"""PPO in one file learns what it is compared for."""

import jax
import numpy as np
import pytest

from widebasin.benchmarks import agents
from widebasin.benchmarks.agents_by_hand import trained


@pytest.mark.slow
def test_the_table_has_every_contender_and_the_file_learns(monkeypatch):
    monkeypatch.setattr(agents, "WIDTH", 8)
    monkeypatch.setattr(agents, "ROLLOUTS", 2)
    monkeypatch.setattr(agents, "NUMBERS", (2,))
    found = agents.measure(1)
    assert [row.what for row in found.rows] == [
        f"2 agents, {name}" for name in (agents.OURS, agents.BARE, agents.ONE_FILE, agents.SAM)
    ]
    for row in found.rows:
        rate = float(dict(row.more)["steps/s"].replace(",", ""))
        assert rate == pytest.approx(2 * 2 * 1024 / row.timing.median, abs=1)
    returns = np.asarray(jax.jit(lambda key: trained(64, 60, key))(jax.random.key(1)))
    assert returns[:3].max() < 60
    assert returns[-10:].mean() > 150
