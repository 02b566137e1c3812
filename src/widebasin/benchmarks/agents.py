"""How fast agents train here, and as PPO written in one file."""

import dataclasses
import functools
from collections.abc import Callable

import jax

from widebasin.benchmarks.agents_by_hand import trained, untrained
from widebasin.benchmarks.benchmark import Benchmark, Measured
from widebasin.benchmarks.timing import interleave
from widebasin.sam import METHODS
from widebasin.training import Plan, Point, Program, ProximalPolicy, train
from widebasin.workloads import WORKLOADS

WIDTH, EPOCHS = 64, 4
# One agent, and several of a study.
NUMBERS = (1, 6)
OURS, BARE, ONE_FILE, SAM = "widebasin", "widebasin without evaluation", "PPO in one file", "widebasin, SAM"


def measure(rounds: int) -> Benchmark:
    """Times the training of one agent and of several."""
    rows = tuple(row for number in NUMBERS for row in _measure(number, rounds))
    return Benchmark(
        name="agents",
        title=f"PPO on CartPole, width {WIDTH}, {EPOCHS} epochs of 7 rollouts of 8 x 128 steps, whole training",
        rounds=rounds,
        rows=rows,
        note="Without compilation. All agents are side by side in one program. After every epoch widebasin plays 32 "
        "episodes of up to 500 steps to evaluate; without evaluation it gives up on them after the first step. PPO in "
        "one file evaluates nothing: the whole training is one program (purejaxrl's structure).",
    )


def _measure(number: int, rounds: int) -> list[Measured]:
    workload = WORKLOADS["cartpole-ppo"]
    problem = workload.problem(WIDTH, dataclasses.replace(workload.recipe, epochs=EPOCHS))
    assert isinstance(problem, ProximalPolicy)
    bare = dataclasses.replace(problem, ppo=dataclasses.replace(problem.ppo, longest=1))
    rollouts = EPOCHS * problem.ppo.rollouts
    by_hand = jax.jit(jax.vmap(functools.partial(trained, rollouts)))
    keys = jax.random.split(jax.random.key(0), number)
    models = jax.jit(functools.partial(untrained, WIDTH))(keys)
    contenders = {
        OURS: _run(problem, "sgd", number),
        BARE: _run(bare, "sgd", number),
        ONE_FILE: lambda: by_hand(models, keys),
        SAM: _run(problem, "sam", number),
    }
    timings = interleave(contenders, rounds)
    steps = number * rollouts * problem.ppo.decisions
    return [
        Measured(
            f"{number} agent{'s' * (number > 1)}, {name}",
            timing,
            None if name == ONE_FILE else timing.over(timings[ONE_FILE]),
            "" if name == ONE_FILE else ONE_FILE,
            1.0 if name == BARE else None,
            more=(("steps/s", f"{steps / timing.median:,.0f}"),),
        )
        for name, timing in timings.items()
    ]


def _run(problem: ProximalPolicy, method: str, number: int) -> Callable[[], object]:
    """Trains agents of several seeds in one program."""
    plan = Plan(number, "scan", jax.default_backend())
    program = Program(problem, METHODS[method].with_radius, plan)
    rates = {"learning_rate": problem.recipe.learning_rate, "weight_decay": problem.recipe.weight_decay}
    points = [Point.of(seed, rho=0.05 if method == "sam" else 0.0, **rates) for seed in range(number)]
    return lambda: train(program, points).params
