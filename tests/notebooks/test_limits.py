"""The hard memory limit holds, in whatever way it is set here."""

from __future__ import annotations

import subprocess
import sys

import pytest
from limits import LOWER, Way, find_way, run

MOST = 400_000_000
WAYS = [find_way(MOST), Way("none, but sampled", []), Way("lowered", [*LOWER, str(MOST // 1024)])]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_what_needs_more_memory_fails(way: Way) -> None:
    hungry = [sys.executable, "-c", f"import time; x = b'x' * {2 * MOST}; time.sleep(5)"]
    status, _ = run(hungry, way, MOST, stderr=subprocess.DEVNULL)
    assert status != 0


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_what_needs_less_passes_and_its_children_are_counted(way: Way) -> None:
    child = f"import time; x = b'x' * {MOST // 2}; time.sleep(0.5)"
    parent = (
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}], check=True)"
    )
    status, peak = run([sys.executable, "-c", parent], way, MOST)
    assert status == 0
    assert MOST // 2 < peak < MOST
