"""The chosen plan is one of those that are timed, and its target is to be the fastest per network."""

import pytest

from widebasin.benchmarks import plans
from widebasin.benchmarks.timing import Timing
from widebasin.training import Plan


@pytest.mark.slow
def test_the_chosen_plan_is_timed_beside_the_four_others(monkeypatch):
    chosen = Plan(3, "scan", "cpu")
    monkeypatch.setattr(plans, "choose_plan", lambda problem, replicates: chosen)
    found = plans.plans_for(plans.problem_of("digits-mlp", 2))
    assert found == {
        "1 at once, scan": Plan(1, "scan", "cpu"),
        "1 at once, step": Plan(1, "step", "cpu"),
        "6 at once, scan": Plan(6, "scan", "cpu"),
        "6 at once, step": Plan(6, "step", "cpu"),
        "3 at once, scan, chosen": chosen,
    }


@pytest.mark.slow
def test_rows_are_per_network_and_the_chosen_plan_has_a_target(monkeypatch):
    monkeypatch.setattr(plans, "WIDTHS", {"digits-mlp": 8})
    monkeypatch.setattr(plans, "_epochs", lambda problem, plan: lambda: (plan.networks_at_once, plan.loop))
    # A call takes as long as it trains networks, and as long again where it goes step by step.
    monkeypatch.setattr(plans, "interleave", lambda calls, *_, **__: {n: timed(c()) for n, c in calls.items()})
    found = plans.measure(1)
    assert [(row.what, row.timing.median, row.ratio, row.target) for row in found.rows] == [
        ("digits-mlp, h = 8, 1 at once, scan", 1.0, 1.0, None),
        ("digits-mlp, h = 8, 1 at once, step", 2.0, 2.0, None),
        ("digits-mlp, h = 8, 6 at once, scan, chosen", 1.0, 1.0, 1.1),
        ("digits-mlp, h = 8, 6 at once, step", 2.0, 2.0, None),
    ]


def timed(plan):
    at_once, loop = plan
    return Timing((float(at_once * (2 if loop == "step" else 1)),))
