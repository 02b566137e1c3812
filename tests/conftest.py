import os
from pathlib import Path

import hypothesis
import pytest

# Read when JAX starts its first backend: two CPU devices, so that sharding is tested on any machine; and machine code
# without LLVM's optimizations, as most of the time of most tests goes into compiling.
FLAGS = {
    "--xla_force_host_platform_device_count": "2",
    "--xla_backend_optimization_level": "0",
    "--xla_llvm_disable_expensive_passes": "true",
}
given = os.environ.get("XLA_FLAGS", "")
os.environ["XLA_FLAGS"] = " ".join([given, *(f"{name}={value}" for name, value in FLAGS.items() if name not in given)])

# Many tests compile the same small programs, some in processes of their own.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".pytest_cache" / "compiled"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")

# The same examples in every run; the first example of a shape compiles, so there is no deadline.
hypothesis.settings.register_profile("reproducible", deadline=None, derandomize=True)
hypothesis.settings.load_profile("reproducible")


@pytest.fixture(autouse=True, scope="module")
def forget_compiled_programs():
    """Frees the programs of a module after it: thousands of them leave a process no maps of memory, and it crashes."""
    import jax

    yield
    jax.clear_caches()
