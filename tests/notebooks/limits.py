"""Run a command under a hard memory limit.

The limit, 2 GB, holds for a notebook's kernel and what runs it together, as Binder's holds for the
kernel and JupyterLab. It is enforced by a systemd scope or a cgroup of version 2, where there is
one. In every case the resident memory of all processes is sampled ten times a second, and they are
ended when it passes the limit; between two samples each process may write to twice as much, which
counts what is reserved and not only what is used.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

MOST_BYTES = 2_000_000_000
CGROUPS = Path("/sys/fs/cgroup")
# The shell goes into the group, or lowers its limit, and becomes the command.
ENTER = ["sh", "-c", 'echo $$ > "$0" && exec "$@"']
LOWER = ["sh", "-c", 'ulimit -d "$0" && exec "$@"']


@dataclass(frozen=True)
class Way:
    """How memory is limited, and what stands before the command for it."""

    name: str
    prefix: list[str]


def find_way(most_bytes: int = MOST_BYTES) -> Way:
    """The first way that works here."""
    for user in ([], ["--user"]):
        scope = ["systemd-run", *user, "--scope", "--quiet", f"--property=MemoryMax={most_bytes}"]
        scope += ["--property=MemorySwapMax=0", "--"]
        with contextlib.suppress(FileNotFoundError):
            if subprocess.run([*scope, "true"], capture_output=True).returncode == 0:
                return Way("a systemd scope", scope)
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/self/cgroup").read_text().splitlines()
        own = next(line for line in lines if line.startswith("0::"))[3:].lstrip("/")
        group = CGROUPS / own / f"course-{os.getpid()}"
        # Fails where the parent hands no memory limits down, and where we may not write.
        if "memory" in (group.parent / "cgroup.subtree_control").read_text().split():
            group.mkdir(exist_ok=True)
            (group / "memory.max").write_text(str(most_bytes))
            with contextlib.suppress(OSError):  # there is none without swap
                (group / "memory.swap.max").write_text("0")
            return Way("a cgroup", [*ENTER, str(group / "cgroup.procs")])
    return Way("sampling its resident memory", [*LOWER, str(2 * most_bytes // 1024)])


def run(
    command: list[str], way: Way, most_bytes: int = MOST_BYTES, **settings: object
) -> tuple[int, int]:
    """Run a command under the limit.

    Args:
        command: what to run.
        way: how it is limited.
        most_bytes: more resident memory than this, of all its processes together, ends it.
        settings: of ``subprocess.Popen``.

    Returns:
        Its exit status, and the most resident bytes that were seen.
    """
    child = psutil.Popen([*way.prefix, *command], **settings)
    peak = 0
    while child.poll() is None:
        resident = 0
        with contextlib.suppress(psutil.NoSuchProcess):
            processes = [child, *child.children(recursive=True)]
            for process in processes:
                with contextlib.suppress(psutil.NoSuchProcess):
                    resident += process.memory_info().rss
            peak = max(peak, resident)
            if resident > most_bytes:
                for process in processes:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        process.kill()
        time.sleep(0.1)
    return child.returncode, peak
