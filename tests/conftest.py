import gc
import os
import sys
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

# Many tests start processes, which would take three times as long to import what is not compiled.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# As the command does: tracing makes many objects and hardly any garbage.
gc.set_threshold(50_000)

MANY_PROGRAMS = 3_000

# The same examples in every run; the first example of a shape compiles, so there is no deadline.
hypothesis.settings.register_profile("reproducible", deadline=None, derandomize=True, max_examples=25)
hypothesis.settings.load_profile("reproducible")


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
