"""The environment of the process decides no result: a hostile one gives the bits and the page of a plain one."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from widebasin.data import places

TINY = ("study", "overparam", "--widths", "4", "--rhos", "0.05", "--seeds", "2", "--epochs", "2", "--quiet")
HOSTILE = {
    "JAX_DEFAULT_PRNG_IMPL": "rbg",
    "JAX_THREEFRY_PARTITIONABLE": "0",
    "JAX_ENABLE_X64": "1",
    "JAX_NUMPY_DTYPE_PROMOTION": "strict",
    "JAX_NUMPY_RANK_PROMOTION": "raise",
    "JAX_DEBUG_NANS": "1",
    "JAX_DEBUG_INFS": "1",
    "MPLBACKEND": "module://nothing",
    "PYTHONIOENCODING": "cp1252",
    "LC_ALL": "C",
}
MATPLOTLIBRC = "text.usetex: True\nfigure.facecolor: black\nsavefig.dpi: 30\nfont.size: 30\n"


def command(*arguments, options=("-m", "widebasin"), env=None, cwd=None):
    done = subprocess.run(
        [sys.executable, *options, *map(str, arguments)], capture_output=True, env=env, cwd=cwd, check=False
    )
    assert done.returncode == 0, (done.stdout + done.stderr).decode(errors="replace")
    return done


def content(folder):
    """What a run says of its networks: tables without the seconds, figures and the page."""
    tables = [pd.read_parquet(folder / name) for name in ("results.parquet", "history.parquet")]
    files = {path.name: path.read_bytes() for path in ((folder / "figures").iterdir())}
    return (
        [table.drop(columns="seconds", errors="ignore") for table in tables],
        files,
        (folder / "report.html").read_text(),
    )


def assert_same(one, other):
    for mine, theirs in zip(one[0], other[0], strict=True):
        pd.testing.assert_frame_equal(mine, theirs, check_exact=True)
    assert one[1] == other[1]
    assert one[2] == other[2]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    command(*TINY, "--out", "r", cwd=folder)
    return folder / "r"


def without_home(**more):
    return {name: value for name, value in os.environ.items() if name not in ("HOME", "XDG_CACHE_HOME")} | more


@pytest.mark.slow
def test_a_hostile_environment_gives_the_bits_and_the_page_of_a_plain_one(plain, tmp_path):
    (tmp_path / "matplotlibrc").write_text(MATPLOTLIBRC)
    hostile = without_home(**HOSTILE)
    done = command(*TINY, "--out", "r", options=("-OO", "-m", "widebasin"), env=hostile, cwd=tmp_path)
    assert_same(content(tmp_path / "r"), content(plain))
    assert "Gain in test accuracy over SGD" in done.stdout.decode("cp1252")
    (tmp_path / "r" / "report.html").unlink()
    done = command("report", "r", env=hostile | {"PYTHONIOENCODING": "ascii"}, cwd=tmp_path)
    assert_same(content(tmp_path / "r"), content(plain))
    assert "Gain in test accuracy over SGD" in done.stdout.decode("ascii")


@pytest.mark.slow
def test_help_is_there_without_docstrings():
    with_docstrings, without = (
        command("study", "--help", options=options).stdout
        for options in (("-m", "widebasin"), ("-OO", "-m", "widebasin"))
    )
    assert without == with_docstrings
    assert b"label-noise" in without


# Runs the command as a user whose number has no entry in the list of users, as in containers.
NOBODY = """
import pwd, sys

def gone(number):
    raise KeyError(number)

pwd.getpwuid = gone
from widebasin.cli import main
main(sys.argv[1:])
"""


@pytest.mark.slow
def test_a_user_without_a_home_and_without_a_name_gets_the_same_results(plain, tmp_path):
    (tmp_path / "scratch").mkdir()
    environment = without_home(TMPDIR=str(tmp_path / "scratch"))
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    done = command(*TINY, "--out", "r", options=("-c", NOBODY), env=environment, cwd=tmp_path)
    assert_same(content(tmp_path / "r"), content(plain))
    assert done.stderr.decode().count("there is no home folder") == 1
    (scratch,) = (tmp_path / "scratch").glob("widebasin-*")
    assert scratch.stat().st_mode & 0o077 == 0
    assert [path.name for path in (tmp_path / "scratch").glob("widebasin-*/widebasin/*")] == ["compiled"]


def test_without_a_home_the_cache_is_in_a_temporary_folder_and_it_is_said_once(monkeypatch, tmp_path, caplog):
    def gone():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", gone)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    places._without_home.cache_clear()
    try:
        folders = {places.cache_folder(kind).parent for kind in ("data", "compiled")}
        assert [folder.parent.parent for folder in folders] == [tmp_path]
        assert caplog.text.count("there is no home folder") == 1
        # Somebody else's, who may have laid programs there.
        places._without_home.cache_clear()
        monkeypatch.setattr(os, "getuid", lambda: tmp_path.stat().st_uid + 1)
        (tmp_path / f"widebasin-{os.getuid()}").mkdir()
        assert places.cache_folder("data").parent.parent.name != f"widebasin-{os.getuid()}"
    finally:
        places._without_home.cache_clear()


@pytest.mark.slow
def test_a_platform_that_jax_does_not_have_is_said_before_any_work(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "widebasin", *TINY, "--out", "r"],
        capture_output=True,
        text=True,
        env=os.environ | {"JAX_PLATFORMS": "abacus"},
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("widebasin: JAX_PLATFORMS = 'abacus': JAX has no such platform here (Unable to")
    assert not list(tmp_path.iterdir())
