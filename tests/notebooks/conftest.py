"""How many notebooks run at once."""

from __future__ import annotations

import os

import psutil
import pytest

BYTES_EACH = 3e9  # a notebook may take 2 GB, and something has to be left for the system


@pytest.hookimpl(tryfirst=True)
def pytest_xdist_auto_num_workers() -> int:
    """Two at a time, if there are two cores and memory for two; more would slow each other down."""
    room = int(psutil.virtual_memory().available // BYTES_EACH)
    return max(1, min(2, os.cpu_count() or 1, room))
