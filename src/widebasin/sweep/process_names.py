"""How processes that use a results folder are named, so that others can tell whether they are still there."""

import functools
import os
import socket
import uuid
from pathlib import Path

# How Linux names the numbers of processes outside of containers.
OF_MACHINE = "pid:[4026531836]"


@functools.cache
def _here() -> str:
    """This machine; a container is one of its own, as the numbers of its processes are."""
    try:
        numbers = Path("/proc/self/ns/pid").readlink().name
    except OSError:
        numbers = OF_MACHINE
    return f" on {socket.gethostname()}" + (f" ({numbers})" if numbers != OF_MACHINE else "")


def process_name() -> str:
    """This process and its machine."""
    return f"process {os.getpid()}{_here()}"


def has_ended(owner: str) -> bool:
    """Whether a process, as ``process_name`` names it, ran on this machine and has ended."""
    number = owner.removeprefix("process ").removesuffix(_here())
    if os.name != "posix" or not owner.endswith(_here()) or not number.isdecimal():
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        pass
    return False


@functools.cache
def machine() -> str:
    """What tells this machine, since it was started, from others of the same name."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
    except OSError:
        return f"{uuid.getnode():x}"
