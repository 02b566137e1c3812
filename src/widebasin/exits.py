"""How a command ends: one-line errors with an exit code, log messages as notes, interruptions."""

import contextlib
import logging
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from typing import Any

from rich.console import Console

from widebasin.shown import say
from widebasin.sweep import SweepError, UsageError

FAILED, USAGE, INTERRUPTED = 1, 2, 130
# Set, errors in a user's own workload are shown with their whole traceback.
TRACEBACK = "WIDEBASIN_TRACEBACK"


@contextlib.contextmanager
def explained(console: Console) -> Iterator[None]:
    """Turns errors that a user can fix into one line and an exit code."""
    _say_errors_once()
    try:
        with _noting(console):
            yield
    except UsageError as error:
        say(console, f"widebasin: {error}", "red")
        raise SystemExit(USAGE) from error
    except SweepError as error:
        say(console, f"widebasin: {error}", "red")
        raise SystemExit(FAILED) from error
    except OSError as error:
        if error.filename is None:
            # At exit, Python would stumble once more over output that is not taken.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        # The reader who has gone, as head does, knows.
        if not isinstance(error, BrokenPipeError):
            where = f" ({os.fsdecode(error.filename)})" if isinstance(error.filename, (str, bytes)) else ""
            say(console, f"widebasin: {error.strerror or error}{where}; fix this and run the same command again", "red")
        raise SystemExit(FAILED) from error
    except SystemExit as error:
        # Not of the command but of a file of the user's, which would end it without a word.
        _say_own_line(console, error)
        raise
    except Exception as error:
        # Only now: the help needs neither.
        from widebasin.data import DataError
        from widebasin.training import CheckpointError
        from widebasin.training.hosts import HostLost

        if not isinstance(error, (DataError, CheckpointError, HostLost)):
            _say_own_line(console, error)
            raise
        say(console, f"widebasin: {error}", "red")
        raise SystemExit(FAILED) from error


@contextlib.contextmanager
def without_waiting() -> Iterator[None]:
    """Ends a host that has failed at once: Python's own end would wait for the other hosts, which wait for this one."""
    try:
        yield
    except BaseException as error:
        hosts = sys.modules.get("widebasin.training.hosts")
        if hosts is None or not hosts.joined():
            raise
        code = error.code if isinstance(error, SystemExit) else FAILED
        if not isinstance(error, SystemExit):
            traceback.print_exc()
        hosts.end_watch()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code if isinstance(code, int) else FAILED if code else 0)


def _say_own_line(console: Console, error: BaseException) -> None:
    """Prints the line of the user's own workload that raised the error, if any; ``TRACEBACK`` shows the rest."""
    files = sys.modules.get("widebasin.workloads.files")
    where = files.line_of(error) if files is not None else ""
    if where and not os.environ.get(TRACEBACK):
        text = (str(error).splitlines() or [""])[0]
        say(console, f"widebasin: {where}", "red")
        say(console, f"{type(error).__name__}: {text}", "red")
        say(console, f"Put {TRACEBACK}=1 before the command to see the whole traceback.", "dim")
        raise SystemExit(FAILED) from error


class _Notes(logging.Handler):
    """Prints the package's log messages, such as which folder replaces a missing one, each once."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self.console = console
        self.said: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if message not in self.said:  # a file may be read twice
            say(self.console, f"widebasin: {message}", "yellow")
        self.said.add(message)


@contextlib.contextmanager
def _noting(console: Console) -> Iterator[None]:
    """Prints the package's log messages on this console only."""
    logger = logging.getLogger("widebasin")
    notes, level = _Notes(console), logger.level
    logger.propagate = False
    logger.setLevel(logging.INFO)
    logger.addHandler(notes)
    try:
        yield
    finally:
        logger.removeHandler(notes)
        logger.setLevel(level)
        logger.propagate = True


def _say_errors_once() -> None:
    """Silences what orbax, its tasks and its threads log about a failed write; our own message tells it."""
    for logger in ("absl", "asyncio"):
        logging.getLogger(logger).setLevel(logging.CRITICAL)
    genuine = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            genuine(unraisable)

    sys.unraisablehook = hook


def exit_when_interrupted() -> None:
    """Makes Ctrl-C end the process at once, wherever it is; results on disk survive this.

    An exception raised inside a JAX callback would be lost, as happens while JAX is imported.
    """

    def handler(signum: int, frame: object) -> None:
        del signum, frame
        show_cursor = "\x1b[?25h" if sys.stderr.isatty() else ""
        os.write(
            2,
            f"{show_cursor}\nwidebasin: interrupted; run the same command to continue a sweep or a download\n".encode(),
        )
        os._exit(INTERRUPTED)

    signal.signal(signal.SIGINT, handler)
