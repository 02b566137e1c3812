"""How programs are compiled, and that they outlive the process."""

import contextlib
import functools
import os
from collections.abc import Iterator
from typing import Any

import jax

from widebasin.data.places import cache_folder


def keep_compiled_programs() -> None:
    """JAX's persistent cache of compiled programs, unless the user has set one up or turned it off."""
    if jax.config.values["jax_compilation_cache_dir"] is None and "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        folder = cache_folder("compiled")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            return
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


@contextlib.contextmanager
def without_compilation_cache() -> Iterator[None]:
    """Without JAX's persistent cache of compiled programs, should the user have set one up."""
    before = jax.config.values["jax_enable_compilation_cache"]
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", before)


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


@functools.cache
def compiler_options(*, once: bool = False) -> dict[str, Any] | None:
    """Options for programs of training: on CPU, code that compiles in two thirds of the time and runs as fast.

    Without those that this version of XLA has not, or that the user has set in ``XLA_FLAGS``.

    Args:
        once: for a program that runs once: what compiles fastest.
    """
    if jax.default_backend() != "cpu":
        return None
    options: dict[str, Any] = {"xla_backend_optimization_level": 1}
    if once:
        options = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}
    flags = os.environ.get("XLA_FLAGS", "")
    return {name: value for name, value in options.items() if name not in flags and _known(name, value)} or None


def _known(name: str, value: Any) -> bool:
    try:
        jax.jit(lambda number: number).lower(0.0).compile(compiler_options={name: value})
    except jax.errors.JaxRuntimeError:
        return False
    return True
