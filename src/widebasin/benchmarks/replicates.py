"""What is gained by training the replicates of a study in one program instead of one by one."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import jax

from widebasin.benchmarks.benchmark import Benchmark, Measured
from widebasin.benchmarks.timing import Timing, interleave
from widebasin.sam import METHODS
from widebasin.training import Plan, Program, Replicate, Task, train
from widebasin.workloads import WORKLOADS

WORKLOAD = WORKLOADS["digits-mlp"]
WIDTHS = (16, 128)
EPOCHS = 5
RHOS, SEEDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5), range(5)
# Compiling is timed less often than running: it takes longer and varies less.
COLD_ROUNDS = 2


def measure(rounds: int) -> Benchmark:
    """Trains 35 networks of two widths, all at once and one by one, with and without compilation."""
    replicates = tuple(
        Replicate(rho, seed, WORKLOAD.label_noise, WORKLOAD.recipe.weight_decay, WORKLOAD.recipe.learning_rate)
        for rho, seed in itertools.product(RHOS, SEEDS)
    )
    rows = tuple(row for width in WIDTHS for row in _measure_width(width, replicates, rounds))
    return Benchmark(
        name="replicates",
        title=f"{len(replicates)} networks of {WORKLOAD.name} by SAM, {EPOCHS} epochs each",
        rounds=rounds,
        rows=rows,
        note=f"Ratios are to all at once, in the same line of compilation. With compilation: {min(rounds, COLD_ROUNDS)} "
        "rounds, each with a new program and no cache of compiled programs. Included: drawing splits and initial "
        "parameters, every epoch's validation and test.",
    )


def _measure_width(width: int, replicates: tuple[Replicate, ...], rounds: int) -> Iterator[Measured]:
    task = WORKLOAD.task(width, dataclasses.replace(WORKLOAD.recipe, epochs=EPOCHS))
    platform = jax.default_backend()
    plans = {"at once": Plan(len(replicates), "scan", platform), "one by one": Plan(1, "scan", platform)}
    with _no_compilation_cache():
        cold = interleave(
            {name: _run(task, plan, replicates) for name, plan in plans.items()}, min(rounds, COLD_ROUNDS), warm=False
        )
    programs = {name: Program(task, METHODS["sam"], plan) for name, plan in plans.items()}
    warm = interleave({name: _run(task, plans[name], replicates, programs[name]) for name in plans}, rounds)
    for timings, compilation in ((warm, "without compilation"), (cold, "with compilation")):
        for name, timing in timings.items():
            yield Measured(
                f"width {width} ({WORKLOAD.num_params(width):,} parameters), {name}, {compilation}",
                timing,
                timing.over(timings["at once"]),
                "at once",
                more=_per_network(timing, len(replicates)),
            )


def _per_network(timing: Timing, networks: int) -> tuple[tuple[str, str], ...]:
    return (("ms per network", f"{1e3 * timing.median / networks:.3g}"),)


def _run(
    task: Task, plan: Plan, replicates: tuple[Replicate, ...], program: Program | None = None
) -> Callable[[], object]:
    """Trains all replicates; with a new program, which compiles, unless one is given."""

    def run() -> object:
        used = program or Program(task, METHODS["sam"], plan)
        return [train(used, group).params for group in plan.groups(replicates)]

    return run


@contextmanager
def _no_compilation_cache() -> Iterator[None]:
    """Without JAX's persistent cache, should the user have set one up."""
    before = jax.config.values["jax_enable_compilation_cache"]
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", before)
