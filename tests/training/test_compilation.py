"""Caches, devices and compiler options where neither the user nor the tests have chosen any."""

import os
import subprocess
import sys

import jax
import pytest
from compiling import FLAGS

from widebasin.training import compilation
from widebasin.training.compilation import _known, compiler_options, cores, keep_compiled_programs, use_every_core

CACHE = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")


@pytest.fixture
def nothing_chosen(monkeypatch, tmp_path):
    """An environment that says nothing of JAX, and a folder for caches of all kinds."""
    for name in ("JAX_COMPILATION_CACHE_DIR", "XLA_FLAGS", "JAX_NUM_CPU_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    before = {name: jax.config.values[name] for name in CACHE}
    jax.config.update(CACHE[0], None)
    compiler_options.cache_clear()
    yield tmp_path / "caches"
    for name, value in before.items():
        jax.config.update(name, value)
    compiler_options.cache_clear()


def test_programs_are_kept_in_a_folder_that_is_made(nothing_chosen):
    keep_compiled_programs()
    folder = jax.config.values["jax_compilation_cache_dir"]
    assert folder == str(nothing_chosen / "widebasin" / "compiled")
    assert (nothing_chosen / "widebasin" / "compiled").is_dir()


CUT_OFF = """
from pathlib import Path

import jax
from widebasin.training.compilation import keep_compiled_programs

keep_compiled_programs()
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)

def cube(number):
    return number**3

def kept():
    jax.clear_caches()
    assert jax.jit(cube)(2.0) == 8
    (entry,) = Path(jax.config.values["jax_compilation_cache_dir"]).glob("jit_cube-*-cache")
    return entry

size = kept().stat().st_size
kept().write_bytes(kept().read_bytes()[: size // 2])
assert kept().stat().st_size > 0.9 * size  # it has the time of its compilation in it
"""


@pytest.mark.slow
def test_a_kept_program_that_was_cut_off_is_kept_anew_without_a_word(tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    done = subprocess.run(
        [sys.executable, "-c", CUT_OFF],
        env=environment | {"XDG_CACHE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_without_a_place_for_the_folder_programs_are_not_kept(nothing_chosen):
    nothing_chosen.write_text("a file in its place")
    keep_compiled_programs()
    assert jax.config.values["jax_compilation_cache_dir"] is None


def test_the_users_folder_stays(nothing_chosen, monkeypatch, tmp_path):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))
    keep_compiled_programs()
    assert jax.config.values["jax_compilation_cache_dir"] is None  # JAX has read the environment when it was imported
    assert not nothing_chosen.exists()


def test_jax_that_has_begun_keeps_its_devices(nothing_chosen):
    before = jax.devices()
    use_every_core()
    assert jax.devices() == before


def test_options_are_those_that_xla_knows_and_the_user_has_not_set(nothing_chosen, monkeypatch):
    options = compiler_options(once=True)
    assert options["xla_backend_optimization_level"] == 0
    assert all(_known(name, value) for name, value in options.items())
    assert not _known("xla_cpu_makes_coffee", True)

    compiler_options.cache_clear()
    monkeypatch.setenv("XLA_FLAGS", " ".join(f"--{name}={value}" for name, value in FLAGS.items()))
    assert not set(compiler_options(once=True) or {}) & set(FLAGS)


def test_accelerators_compile_as_xla_does(nothing_chosen, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert compiler_options() is None


def test_the_cores_of_a_container_are_its_share_of_time(monkeypatch, tmp_path):
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(64)), raising=False)
    monkeypatch.setattr(compilation, "CORES_OF_CONTAINER", tmp_path / "cpu.max")
    assert cores() == 64
    for limit, number in (("200000 100000", 2), ("250000 100000", 3), ("50000 100000", 1), ("max 100000", 64)):
        (tmp_path / "cpu.max").write_text(f"{limit}\n")
        assert cores() == number
