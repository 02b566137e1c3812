"""Whether the chosen plan of execution is the fastest: networks one by one or at once, by epoch or by step."""

import dataclasses
import time
from collections.abc import Callable, Iterator

import jax

from widebasin.benchmarks.benchmark import Benchmark, Measured
from widebasin.benchmarks.epoch import point_of
from widebasin.benchmarks.synthetic import on_random_images, supervised
from widebasin.benchmarks.timing import interleave
from widebasin.data import SplitSizes
from widebasin.sam import METHODS
from widebasin.training import LOOPS, Plan, Program, Supervised, choose_plan, devices_of_one
from widebasin.training.compilation import without_compilation_cache

NETWORKS, RHO = 6, 0.05
# Workload -> width; all are trained on the embedded digits, or on images like CIFAR's that are made here.
WIDTHS = {"digits-resnet": 8, "cifar10-resnet18": 4, "digits-vit": 16, "digits-mlp": 32}
CIFAR_EXAMPLES = SplitSizes(train=256, valid=32, test=32)
# How many times as long as with the fastest plan an epoch may take with the chosen one.
TARGET = 1.1
# Seconds after which no further round of a workload begins.
LONGEST = 60.0


def problem_of(name: str, width: int) -> Supervised:
    """The workload's problem, on generated images if its own would have to be downloaded."""
    workload = supervised(name)
    if name.startswith("digits"):
        problem = workload.problem(width, workload.recipe).plain
        assert isinstance(problem, Supervised)
        return problem
    return on_random_images(workload, width, workload.recipe, CIFAR_EXAMPLES, (32, 32, 3), 10)


def plans_for(problem: Supervised) -> dict[str, Plan]:
    """Name -> plan: one by one and all at once, each with both loops; and the chosen plan, if it is another."""
    chosen = choose_plan(problem, NETWORKS)
    candidates = [
        dataclasses.replace(chosen, networks_at_once=at_once, loop=loop, devices=devices)
        for at_once, devices in ((1, devices_of_one(problem.recipe.batch_size)), (NETWORKS, chosen.devices))
        for loop in LOOPS
    ]
    return {
        f"{plan.networks_at_once} at once, {plan.loop}{', chosen' * (plan == chosen)}": plan
        for plan in dict.fromkeys((*candidates, chosen))
    }


def measure(rounds: int) -> Benchmark:
    """Times an epoch of SAM of every workload under every plan."""
    rows = tuple(row for name, width in WIDTHS.items() for row in _measure_workload(name, width, rounds))
    return Benchmark(
        name="plans",
        title=f"one epoch of SAM per network, {NETWORKS} networks",
        rounds=min(len(row.timing.seconds) for row in rows if row.timing),
        rows=rows,
        note="At once: networks in one vmapped program. scan: an epoch is one compiled loop; step: every step is "
        "dispatched from the host. Included: the epoch's validation and test. First epoch: seconds of the first epoch "
        "of the first group, which compiles, without any cache of compiled programs.",
    )


def _measure_workload(name: str, width: int, rounds: int) -> Iterator[Measured]:
    problem = problem_of(name, width)
    plans = plans_for(problem)
    contenders, first_epochs = {}, {}
    for plan_name, plan in plans.items():
        epochs = _epochs(problem, plan)
        with without_compilation_cache():
            started = time.perf_counter()
            jax.block_until_ready(epochs())
            first_epochs[plan_name] = time.perf_counter() - started
        contenders[plan_name] = epochs
    # A call trains one group; one by one, that is a network.
    timings = interleave(contenders, rounds, seconds=LONGEST)
    per_network = {
        plan_name: dataclasses.replace(
            timing, seconds=tuple(one / plans[plan_name].networks_at_once for one in timing.seconds)
        )
        for plan_name, timing in timings.items()
    }
    fastest = min(per_network, key=lambda plan_name: per_network[plan_name].median)
    for plan_name, timing in per_network.items():
        yield Measured(
            f"{name}, h = {width}, {plan_name}",
            timing,
            timing.over(per_network[fastest]),
            "the fastest",
            target=TARGET if plan_name.endswith("chosen") else None,
            more=(
                ("parameters", f"{problem.network.num_params:,}"),
                ("first epoch s", f"{first_epochs[plan_name]:.3g}"),
            ),
        )


def _epochs(problem: Supervised, plan: Plan) -> Callable[[], object]:
    """One epoch of one group of networks at every call."""
    program = Program(problem, METHODS["sam"].with_radius, plan)
    recipe = problem.recipe
    group = [point_of(recipe, seed, RHO) for seed in range(plan.networks_at_once)]
    state, examples, hyperparameters = program.start(group)

    def run() -> object:
        nonlocal state
        state, metrics = program.epoch(state, examples, hyperparameters, last=False)
        return state.params, metrics

    return run
