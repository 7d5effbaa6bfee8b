"""Run a command without a network where the system allows it.

    python tests/notebooks/offline.py COMMAND …

A new network namespace has only a loopback interface, and that is down; Jupyter's kernels need it,
so it is brought up first.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import subprocess
import sys
from pathlib import Path

SIOCSIFFLAGS, IFF_UP, IFF_RUNNING = 0x8914, 0x1, 0x40
UNSHARE = ["unshare", "--map-root-user", "--net"]
SERVED = ("01", "02", "03")  # notebooks that ask the reader, which llama.cpp serves


def nbval(notebook: Path) -> list[str]:
    """The command that runs a notebook offline and compares all its outputs."""
    from course_utils.lab.running import cell_limit  # slow, and the command itself needs none

    # Asked live, llama.cpp words some answers differently on another processor; claims still count.
    lax = os.environ.get("COURSE_LIVE") == "1" and notebook.stem.startswith(SERVED)
    command = [sys.executable, __file__, sys.executable, "-m", "pytest"]
    command += ["--nbval-lax" if lax else "--nbval"]
    command += [f"--nbval-cell-timeout={cell_limit()}", "-p", "no:cacheprovider", "--quiet"]
    return [*command, str(notebook)]


def can_cut() -> bool:
    """Whether this system lets us make a network namespace."""
    try:
        return subprocess.run([*UNSHARE, "true"], capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


def bring_loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh", b"lo", IFF_UP | IFF_RUNNING)
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, request)


if __name__ == "__main__":
    if os.environ.get("COURSE_CUT") == "1":
        bring_loopback_up()
        os.execvp(sys.argv[1], sys.argv[1:])
    if not can_cut():
        os.execvp(sys.argv[1], sys.argv[1:])
    os.environ["COURSE_CUT"] = "1"
    os.execvp(UNSHARE[0], [*UNSHARE, sys.executable, __file__, *sys.argv[1:]])
