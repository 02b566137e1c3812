"""Running the command as a user does, in a process of its own."""

import subprocess
import sys


def widebasin(*arguments, check=None, env=None, cwd=None):
    """Runs the command to its end; ``check`` is the exit code expected."""
    done = subprocess.run(
        [sys.executable, "-m", "widebasin.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=env,
        cwd=cwd,
        check=False,
    )
    if check is not None:
        assert done.returncode == check, done.stdout + done.stderr
    return done


def start(*arguments, **options):
    """Starts the command and does not wait."""
    return subprocess.Popen(
        [sys.executable, "-m", "widebasin.cli", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,
    )
