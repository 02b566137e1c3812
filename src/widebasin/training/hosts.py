"""Several hosts that train one network together: how they find each other, agree, and learn that one has ended."""

import atexit
import contextlib
import functools
import hashlib
import os
import pickle
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from widebasin.shown import first_line

# Seconds without a sign of life after which a host is taken for dead.
HEARTBEAT = 30
# What the errors of JAX have in common after which another host cannot be reached.
LOST = ("Gloo", "NCCL", "coordination", "Connection reset", "Connection closed", "UNAVAILABLE", "DEADLINE_EXCEEDED")

Value = TypeVar("Value")


class HostLost(Exception):
    """Another host has ended or cannot be reached; the message says what to do."""


def join(index: int | None = None, count: int | None = None, coordinator: str | None = None) -> None:
    """Waits until all hosts are here, before JAX is first used. It changes nothing if this host has joined already.

    Args:
        index: number of this host, from 0. A host is a process, with all devices that it sees.
        count: number of hosts.
        coordinator: address and port of host 0. What is not given is that of the cluster, under Slurm or Open MPI.

    JAX ends the process if the others do not come within five minutes.

    Raises:
        ValueError: if JAX is in use already, the port is taken, or there is no such cluster.
    """
    if joined():
        return
    if index == 0 and coordinator is not None:
        _check_free(int(coordinator.rpartition(":")[2]))
    _watcher()
    atexit.register(end_watch)
    with contextlib.suppress(AttributeError):
        # It would keep SIGTERM, by which clusters and people end processes, for itself.
        jax.config.update("jax_enable_preemption_service", False)
    # What is given is not asked of a cluster, nor the devices of this process.
    detection = None if count is None else "deactivate"
    try:
        jax.distributed.initialize(
            coordinator, count, index, cluster_detection_method=detection, heartbeat_timeout_seconds=HEARTBEAT
        )
    except ValueError as error:
        raise ValueError(f"this is no cluster that JAX knows ({error}); give I/N@ADDRESS:PORT") from error
    except RuntimeError as error:
        if "before" not in str(error):
            raise
        raise ValueError("JAX is in use already, by a workload's file perhaps; use it in functions only") from error
    if count is not None and jax.process_count() != count:
        raise ValueError(f"{jax.process_count()} hosts have met, but this one was told of {count}")
    with _output_to_errors():
        agreed(lambda: None)  # Gloo tells whom it is connected to


def _check_free(port: int) -> None:
    """Raises ``ValueError`` if something listens at a port of this machine, over which JAX would crash."""
    try:
        socket.create_server(("", port)).close()
    except OSError as error:
        raise ValueError(f"port {port} of this host is taken ({error.strerror}); give another one") from error


def joined() -> bool:
    """Whether this process is one of several hosts."""
    return jax.distributed.is_initialized()


# What a process does that outlives this one, if that ends without a word.
_LAST_WORDS = "import sys; sys.stdin.read() or print(sys.argv[1], file=sys.stderr)"


@functools.cache
def _watcher() -> "subprocess.Popen[bytes]":
    """A process that says what to do if this one is ended by JAX, which stops at once when a host is lost."""
    said = (
        "widebasin: this host was ended: by a signal, because another host was lost, or because not all came within "
        "five minutes; run the same command on every host to continue from the last checkpoint"
    )
    command = [sys.executable, "-c", _LAST_WORDS, said]
    # A session of its own: what interrupts this process in a terminal does not reach it.
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True)


def end_watch() -> None:
    """Before an end that needs no explanation, or has given it."""
    if _watcher.cache_info().currsize:
        with contextlib.suppress(OSError):
            _watcher().communicate(b"ended")


@contextlib.contextmanager
def _output_to_errors() -> Iterator[None]:
    """What C++ prints to standard output goes to standard error: the output of a command is its answer."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def agreed(decide: Callable[[], Value]) -> Value:
    """What host 0 decides, on every host; an error that it raises is raised on every host.

    All hosts must come here together. Decisions that depend on the clock or on files would otherwise differ.

    Args:
        decide: called on host 0 only; its value can be pickled.
    """
    if jax.process_count() == 1:
        return decide()
    value, error = None, None
    if jax.process_index() == 0:
        try:
            value = decide()
        except Exception as raised:
            error = sendable(raised)
    with explained():
        content = np.frombuffer(pickle.dumps((value, error)), np.uint8)
        size = int(multihost_utils.broadcast_one_to_all(np.int32(content.size)))
        sent = np.zeros(size, np.uint8)
        sent[: min(size, content.size)] = content[:size]
        value, error = pickle.loads(np.asarray(multihost_utils.broadcast_one_to_all(sent)).tobytes())
    if error is not None:
        raise error
    return value  # pyright: ignore[reportReturnType]


def alike(value: bytes) -> bool:
    """Whether all hosts have the same value; all must come here together."""
    digest = np.frombuffer(hashlib.sha256(value).digest(), np.uint8)
    with explained():
        found = multihost_utils.process_allgather(digest)
    return bool((np.asarray(found) == digest).all())


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Turns errors of JAX which mean that another host is lost into ``HostLost``."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        # Gloo's errors are ValueErrors.
        if jax.process_count() == 1 or not any(word in str(error) for word in LOST):
            raise
        raise HostLost(
            f"host {jax.process_index() + 1} of {jax.process_count()} has lost another host ({_first(error)}), which "
            "says why if it can; run the same command on every host to continue from the last checkpoint"
        ) from error


def _first(error: Any) -> str:
    return first_line(error)[:200]


def sendable(error: Exception) -> Exception:
    """The error, or its text if it cannot be sent to another process."""
    try:
        return pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
