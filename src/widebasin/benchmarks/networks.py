"""The speedup from training the networks of a study in one program instead of one by one."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from functools import partial

import jax

from widebasin.benchmarks.benchmark import Benchmark, Measured
from widebasin.benchmarks.epoch import point_of
from widebasin.benchmarks.timing import interleave
from widebasin.sam import METHODS
from widebasin.training import Plan, Point, Program, choose_plan, devices_of_one, train
from widebasin.training.compilation import without_compilation_cache
from widebasin.workloads import WORKLOADS

WORKLOAD = WORKLOADS["digits-mlp"]
WIDTHS = (16, 128)
EPOCHS = 5
RHOS, SEEDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5), range(5)
PLANNED = "as planned"
# Compiling is timed less often than running: it takes longer and varies less.
COLD_ROUNDS = 2


def measure(rounds: int) -> Benchmark:
    """Trains 35 networks of two widths as planned, all at once and one by one, with and without compilation."""
    networks = tuple(
        point_of(WORKLOAD.recipe, seed, rho).moved(label_noise=WORKLOAD.label_noise)
        for rho, seed in itertools.product(RHOS, SEEDS)
    )
    rows = tuple(row for width in WIDTHS for row in _measure_width(width, networks, rounds))
    return Benchmark(
        name="networks",
        title=f"{len(networks)} networks of {WORKLOAD.name} by SAM, {EPOCHS} epochs each",
        rounds=rounds,
        rows=rows,
        note=f"Rounds with compilation: {min(rounds, COLD_ROUNDS)}, without any cache of compiled programs, as in a "
        "new process. Included: drawing splits and initial parameters, every epoch's validation and test.",
    )


def _measure_width(width: int, networks: tuple[Point, ...], rounds: int) -> Iterator[Measured]:
    problem = WORKLOAD.problem(width, dataclasses.replace(WORKLOAD.recipe, epochs=EPOCHS))
    chosen = choose_plan(problem, len(networks))
    plans = {PLANNED: chosen}
    for name, at_once in (("all at once", len(networks)), ("one by one", 1)):
        # A group that is filled up has all of them at once.
        if min(chosen.networks_at_once, len(networks)) != at_once:
            devices = chosen.devices if at_once > 1 else devices_of_one(problem.recipe.batch_size)
            plans[name] = dataclasses.replace(chosen, networks_at_once=at_once, devices=devices)
    programs = {name: Program(problem, METHODS["sam"].with_radius, plan) for name, plan in plans.items()}
    warm = interleave({name: _run(plans[name], networks, lambda p=p: p) for name, p in programs.items()}, rounds)

    def compiled_anew(plan: Plan) -> Program:
        jax.clear_caches()
        return Program(problem, METHODS["sam"].with_radius, plan)

    with without_compilation_cache():
        cold = interleave(
            {name: _run(plan, networks, partial(compiled_anew, plan)) for name, plan in plans.items()},
            min(rounds, COLD_ROUNDS),
            warm=False,
        )
    for timings, compilation in ((warm, "no"), (cold, "yes")):
        for name, timing in timings.items():
            yield Measured(
                f"width {width}, {name}",
                timing,
                timing.over(timings[PLANNED]),
                PLANNED,
                more=(
                    ("at once", str(plans[name].networks_at_once)),
                    ("parameters", f"{WORKLOAD.num_params(width):,}"),
                    ("compiles", compilation),
                    ("ms per network", f"{1e3 * timing.median / len(networks):.3g}"),
                ),
            )


def _run(plan: Plan, networks: tuple[Point, ...], program_for: Callable[[], Program]) -> Callable[[], object]:
    """Trains all networks, as many at once as the plan says."""

    def run() -> object:
        program = program_for()
        return [train(program, group).params for group in plan.groups(networks)]

    return run
