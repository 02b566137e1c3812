"""How programs are compiled, and the cache that keeps them between processes."""

import contextlib
import functools
import math
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from widebasin.data.places import cache_folder

# The time on all cores that a container may use in a period, "max" for no limit, and the period, both in microseconds.
CORES_OF_CONTAINER = Path("/sys/fs/cgroup/cpu.max")
# How JAX warns that it cannot read what it kept of a program.
UNREADABLE = re.compile(r"Error reading persistent compilation cache entry for '(\w+)'")


def keep_compiled_programs() -> None:
    """Enables JAX's persistent cache of compiled programs, unless the user has configured or disabled it."""
    if jax.config.values["jax_compilation_cache_dir"] is None and "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        folder = cache_folder("compiled")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            return
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
        _replace_damaged(folder)


def _replace_damaged(folder: Path) -> None:
    """Lets JAX keep a program anew, without a word, where a full disk or a killed process left only a part of it.

    JAX itself would warn in every process from then on, as it never writes over what is there. It has no other place to
    hear of that; as the warning does not say which of the programs of a name it is, all of these are forgotten.
    """
    usual = warnings.showwarning

    def show(message: Warning | str, *arguments: Any, **named: Any) -> None:
        if damaged := UNREADABLE.match(str(message)):
            with contextlib.suppress(OSError):
                for entry in folder.glob(f"{damaged[1]}-*"):
                    entry.unlink(missing_ok=True)
        else:
            usual(message, *arguments, **named)

    warnings.showwarning = show


@contextlib.contextmanager
def without_compilation_cache() -> Iterator[None]:
    """A context without JAX's persistent cache of compiled programs, even if the user has configured one."""
    before = jax.config.values["jax_enable_compilation_cache"]
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", before)


def use_every_core() -> None:
    """Makes every CPU core a JAX device, so that networks are split over the cores.

    Call it before JAX is first used. It changes nothing if the user has set the number of devices.
    """
    said = "JAX_NUM_CPU_DEVICES" in os.environ or "device_count" in os.environ.get("XLA_FLAGS", "")
    if not said:
        # JAX has begun already, as in a notebook: it keeps the devices that it has.
        with contextlib.suppress(RuntimeError):
            jax.config.update("jax_num_cpu_devices", cores())


def use_cpu_only() -> None:
    """Leaves accelerators to other processes, unless the user has named a platform.

    Call it before JAX is first used; where it has begun already, as in a notebook, it changes nothing.
    """
    if not jax.config.values["jax_platforms"]:
        jax.config.update("jax_platforms", "cpu")


def check_platform() -> None:
    """Begins to use JAX.

    Raises:
        ValueError: if the platform that the user has named is not here.
    """
    try:
        jax.default_backend()
    # JAX asserts that a platform which it knows, but no package provides, is there.
    except (RuntimeError, AssertionError) as error:
        if "JAX_PLATFORMS" not in os.environ:
            raise
        reason = f" ({str(error).partition(' (set JAX')[0].rstrip('.')})" if str(error) else ""
        raise ValueError(f"JAX has no such platform here{reason}: unset it, or install what it needs") from error


def cores() -> int:
    """Number of cores that this process may use, also where a container has a share of the machine's time."""
    mine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        time, period = CORES_OF_CONTAINER.read_text().split()
        return max(1, min(mine, math.ceil(int(time) / int(period))))
    except (OSError, ValueError):  # no container of Linux, or one without a limit
        return mine


@functools.cache
def compiler_options(*, once: bool = False) -> dict[str, Any] | None:
    """Compiler options for training programs: on CPU, they compile in two thirds of the time and run as fast.

    Options that this version of XLA does not have, or that the user has set in ``XLA_FLAGS``, are left out.

    Args:
        once: for a program that runs once: options that compile fastest.
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
