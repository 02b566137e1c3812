"""How programs are compiled, and that they outlive the process."""

import contextlib
import os
from pathlib import Path

import jax


def keep_compiled_programs() -> None:
    """JAX's persistent cache of compiled programs, unless the user has set one up or turned it off."""
    if jax.config.values["jax_compilation_cache_dir"] is None and "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "widebasin" / "compiled"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            return
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def use_every_core() -> None:
    """Makes every core of the CPU a device of JAX, over which networks are split.

    To be called before JAX is first used. Nothing is changed where the user has said how many devices there are.
    """
    said = "JAX_NUM_CPU_DEVICES" in os.environ or "device_count" in os.environ.get("XLA_FLAGS", "")
    if not said:
        # JAX has begun already, as in a notebook: it keeps the devices that it has.
        with contextlib.suppress(RuntimeError):
            jax.config.update("jax_num_cpu_devices", cores())


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def compiler_options() -> dict[str, int] | None:
    """Options for programs of training: on CPU, code that compiles in two thirds of the time and runs as fast."""
    level = "xla_backend_optimization_level"
    if jax.default_backend() != "cpu" or level in os.environ.get("XLA_FLAGS", ""):
        return None
    return {level: 1}
