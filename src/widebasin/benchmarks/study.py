"""The cost of the main job: `widebasin study overparam`, and the same grid written by hand."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from widebasin.benchmarks import by_hand
from widebasin.benchmarks.benchmark import Benchmark, Measured
from widebasin.benchmarks.timing import interleave
from widebasin.workloads import WORKLOADS

WORKLOAD = WORKLOADS["digits-mlp"]
OURS, AGAIN, BY_HAND = "widebasin study overparam", "the same, compiled before", "by hand"


def measure(rounds: int, widths: Sequence[int] = WORKLOAD.widths, epochs: int = WORKLOAD.recipe.epochs) -> Benchmark:
    """Times whole processes from start to end; the cache of compiled programs is new in every round."""
    with tempfile.TemporaryDirectory() as folder:
        numbers = iter(range(10**9))
        cache = Path(folder) / "cache"

        def study(cold: bool) -> Callable[[], None]:
            def run() -> None:
                out = Path(folder) / str(next(numbers))
                grid = ["--widths", *map(str, widths), "--epochs", str(epochs)]
                command = [sys.executable, "-m", "widebasin", "study", "overparam", *grid, "--quiet", "--out", str(out)]
                _run(command, Path(f"{cache}-{next(numbers)}") if cold else cache)

            return run

        def hand() -> None:
            _run([sys.executable, by_hand.__file__, *map(str, widths), "--epochs", str(epochs)], None)

        study(cold=False)()
        contenders = {OURS: study(cold=True), AGAIN: study(cold=False), BY_HAND: hand}
        timings = interleave(contenders, rounds, warm=False)
    networks = len(widths) * len(by_hand.RADII) * by_hand.SEEDS
    return Benchmark(
        name="study",
        title=f"the main job, {networks} networks of digits-mlp, a process from start to end",
        rounds=rounds,
        rows=tuple(
            Measured(
                what,
                timing,
                timing.over(timings[BY_HAND]),
                BY_HAND,
                target=1.0 if what == OURS else None,
                more=(("s per network", f"{timing.median / networks:.3g}"),),
            )
            for what, timing in timings.items()
        ),
        note="Included: starting Python, compiling (not in the second row), training; for widebasin validation and "
        "test after every epoch, learning curves, checkpoints, tables, statistics, figures and the page. By hand, in "
        "one vmapped and scanned program per width, networks are evaluated once, at the end.",
    )


def _run(command: Sequence[str], cache: Path | None) -> None:
    """Runs a process with its own cache of compiled programs, or with none."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_COMPILATION_CACHE")}
    if cache is not None:
        environment["XDG_CACHE_HOME"] = str(cache)
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
