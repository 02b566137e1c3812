"""All at once or one by one, the same networks are trained."""

import itertools
from dataclasses import replace

import jax
import numpy as np
import pytest

from widebasin.benchmarks import networks as networks_benchmark
from widebasin.sam import METHODS
from widebasin.training import Plan, Point, Program


@pytest.mark.slow
def test_both_plans_train_the_same_networks():
    workload = networks_benchmark.WORKLOAD
    task = workload.problem(4, replace(workload.recipe, epochs=1))
    networks = tuple(
        Point.of(seed, rho=rho, label_noise=0.3, weight_decay=1e-4, learning_rate=0.1)
        for rho, seed in itertools.product((0.05, 0.2), range(2))
    )

    def params(plan):
        groups = networks_benchmark._run(plan, networks, lambda: Program(task, METHODS["sam"].with_radius, plan))()
        return jax.tree.map(lambda *leaves: np.concatenate(leaves), *groups)

    at_once, one_by_one = (jax.tree.leaves(params(Plan(n, "scan", "cpu"))) for n in (len(networks), 1))
    for a, b in zip(at_once, one_by_one, strict=True):
        assert a.shape[0] == len(networks)
        np.testing.assert_allclose(a, b, atol=1e-4)


@pytest.mark.slow
def test_rows_have_both_plans_with_and_without_compilation(monkeypatch):
    monkeypatch.setattr(networks_benchmark, "WIDTHS", (4,))
    monkeypatch.setattr(networks_benchmark, "EPOCHS", 1)
    monkeypatch.setattr(networks_benchmark, "RHOS", (0.05,))
    found = networks_benchmark.measure(1)
    assert [(row.what, dict(row.more)["compiles"]) for row in found.rows] == [
        ("width 4, as planned", "no"),
        ("width 4, one by one", "no"),
        ("width 4, as planned", "yes"),
        ("width 4, one by one", "yes"),
    ]
    assert [row.ratio == 1.0 for row in found.rows] == [True, False, True, False]
