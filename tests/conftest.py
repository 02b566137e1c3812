import gc
import os
import zlib
from pathlib import Path

import hypothesis
import pytest
from compiling import EMITTERS, FLAGS, xla_flags

# Two CPU devices, so that sharding is tested on any machine.
os.environ["XLA_FLAGS"] = xla_flags(2, os.environ.get("XLA_FLAGS", ""))

# The workers have a core each.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# Many tests compile the same small programs, some in processes of their own.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".pytest_cache" / "compiled"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")

# As the command does: tracing makes many objects and hardly any garbage.
gc.set_threshold(50_000)

MANY_PROGRAMS = 3_000

# Files, or folders of them, whose slow tests take half the time of all: .ci/run takes a part of these in turn.
LONG = (
    "benchmarks",
    "cli/test_environment.py",
    "examples",
    "models/test_applied.py",
    "parametrization",
    "sam/test_devices.py",
    "sam/test_differentiation.py",
    "sam/test_groups.py",
    "sam/test_loss_scale.py",
    "studies/test_coordinates.py",
    "studies/test_instruments.py",
    "studies/test_mechanisms.py",
    "studies/test_sparsity.py",
    "sweep/test_executors.py",
    "sweep/test_hosts.py",
    "sweep/test_parametrization.py",
    "training/test_hosts.py",
    "training/test_memory.py",
    "training/test_outside.py",
    "workloads/test_agent.py",
    "workloads/test_arrays.py",
    "workloads/test_family.py",
    "workloads/test_files.py",
)
TURNS = 5

# The same examples in every run; the first example of a shape compiles, so there is no deadline.
hypothesis.settings.register_profile("reproducible", deadline=None, derandomize=True, max_examples=25)
hypothesis.settings.load_profile("reproducible")


def pytest_addoption(parser):
    parser.addoption(
        "--turn",
        type=int,
        help=f"of the long slow tests, only every {TURNS}th, another part for every turn (all by default)",
    )


def pytest_collection_modifyitems(config, items):
    """Leaves out the long tests whose turn it is not."""
    if (turn := config.getoption("turn")) is None:
        return
    long = [item.nodeid for item in items if item.get_closest_marker("slow") and _is_long(item.path)]
    others = {nodeid for nodeid in long if (zlib.crc32(nodeid.encode()) - turn) % TURNS}
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid in others])
    items[:] = [item for item in items if item.nodeid not in others]


def _is_long(path):
    within = path.relative_to(Path(__file__).parent)
    return any(within.is_relative_to(one) for one in LONG)


@pytest.fixture(autouse=True, scope="module")
def forget_compiled_programs():
    """Frees the programs where there are many: ten thousand of them leave a process no maps of memory, and it crashes.

    Not after every module, as most programs are of single operations that other modules use too.
    """
    import jax

    yield
    if len(jax.devices()[0].client.live_executables()) > MANY_PROGRAMS:
        jax.clear_caches()


@pytest.fixture
def compiled_as_usual(monkeypatch):
    """Programs of training get the emitters that a user's have, where two programs are to agree to the last bit."""
    usual = {EMITTERS: True} if EMITTERS in FLAGS else None
    monkeypatch.setattr("widebasin.training.placement.compiler_options", lambda once=False: usual)
