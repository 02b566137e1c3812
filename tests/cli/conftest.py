"""Commands in this process: each in a process of its own would spend its time on importing JAX."""

import sys

import pytest

from widebasin import cli


@pytest.fixture
def here(monkeypatch, tmp_path, capsys):
    """Runs a command in an empty folder and gives what it prints; ``check`` is the exit code expected."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "exit_when_interrupted", lambda: None)
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)

    def run(*arguments, check=0):
        try:
            cli.main([str(argument) for argument in arguments])
            code = 0
        except SystemExit as ended:
            code = ended.code or 0
        printed = capsys.readouterr()
        assert code == check, printed.out + printed.err
        return printed

    return run
