"""What an answer's process may do and use, and how to end it with everything that it started."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import threading
from pathlib import Path

MEMORY = 1_500_000_000
PROCESSES = 64
NEW_NAMESPACES = 0x10000000 | 0x40000000 | 0x20000000 | 0x00020000  # user, net, pid, mount


def end_all(child: int) -> None:
    """End a child and whatever it started, including what has left its process group.

    Args:
        child: the id of a forked process that has not been waited for.
    """
    with contextlib.suppress(ProcessLookupError):
        if os.getpgid(child) == child:  # it has left ours
            os.killpg(child, signal.SIGKILL)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    listing = Path(f"/proc/self/task/{threading.get_native_id()}/children")
    while listing.exists() and (orphans := listing.read_text().split()):
        for orphan in map(int, orphans):
            with contextlib.suppress(ProcessLookupError):
                os.kill(orphan, signal.SIGKILL)
            os.waitpid(orphan, 0)


def adopt_orphans() -> None:
    """Have the system give us the processes that a child leaves behind (Linux), to end them."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


def silence_streams(*streams: int) -> None:
    """Point file descriptors such as 1 and 2 at the null device.

    Args:
        streams: the descriptors.
    """
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in streams:
        os.dup2(nowhere, stream)
    os.close(nowhere)


def confine(seconds: float, folder: str) -> None:
    """Take from this process what an answer does not need, as far as the system allows.

    On Linux the caller goes on in a process of its own; the one that called waits for it and ends.

    Args:
        seconds: the exercise's time limit; the processor time is limited to a little more.
        folder: an empty folder to work in.
    """
    os.chdir(folder)
    os.environ.clear()
    silence_streams(0, 1, 2)
    if sys.platform == "win32":
        return
    import resource

    os.setsid()
    if sys.platform == "linux":
        _end_with_parent()
        isolate()
        held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY, held + MEMORY))
    limit = int(seconds) + 2
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def isolate() -> bool:
    """Go on in namespaces of our own (see unshare(2)), without a network and with read-only files.

    Returns:
        False if the system does not allow all of it.
    """
    import resource

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(NEW_NAMESPACES) != 0:
        return False
    read_only = (ctypes.c_uint64 * 4)(1, 0, 0, 0)
    # mount_setattr, recursive; the C library may be too old to have it by name
    sealed = libc.syscall(442, -100, b"/", 0x8000, read_only, 32) == 0
    if child := os.fork():  # the first process inside is alone there
        status = os.waitpid(child, 0)[1]
        os._exit(os.waitstatus_to_exitcode(status) != 0)
    os.setsid()  # so that a signal to its group does not reach the process outside
    _end_with_parent()  # the parent is the process outside
    resource.setrlimit(resource.RLIMIT_NPROC, (PROCESSES, PROCESSES))
    return sealed


def _end_with_parent() -> None:
    """Have the system end this process when its parent ends, for example because it was killed."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
