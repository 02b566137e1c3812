"""A process that is ended while it writes."""

import subprocess
import sys

SCRIPT = """
import functools, importlib, os, sys
from pathlib import Path

function, called, *arguments = sys.argv[1:]
owner, _, name = function.rpartition(".")
module, *attributes = owner.split(".")
owner = functools.reduce(getattr, attributes, importlib.import_module(module))
whole = getattr(owner, name)

def ending(*arguments, **options):
    whole(*arguments, **options)
    os._exit(130)  # as the command line does on an interrupt

setattr(owner, name, ending)
module, _, name = called.rpartition(".")
getattr(importlib.import_module(f"widebasin.data.{module}"), name)(*map(eval, arguments))
"""


def ended_within(function, called, *arguments):
    """Calls something of ``widebasin.data`` in a process that ends, without clearing up, when a function has returned.

    Args:
        function: whose return is the end, such as "numpy.savez".
        called: such as "npz.write_npz".
        arguments: its arguments; paths or what ``eval`` makes of their ``repr``.
    """
    command = [sys.executable, "-c", SCRIPT, function, called]
    command += [repr(argument).replace("PosixPath", "Path") for argument in arguments]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 130, finished.stderr
