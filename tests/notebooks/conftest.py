"""How many notebooks run at once, and what each of them took."""

from __future__ import annotations

import os
from typing import Any

import psutil
import pytest

BYTES_EACH = 3e9  # a notebook may take 2 GB, and something has to be left for the system


@pytest.hookimpl(tryfirst=True)
def pytest_xdist_auto_num_workers() -> int:
    """Two at a time, if there are two cores and memory for two; more would slow each other down."""
    room = int(psutil.virtual_memory().available // BYTES_EACH)
    return max(1, min(2, os.cpu_count() or 1, room))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Show what the notebooks took; workers cannot print while they run."""
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, text in getattr(report, "user_properties", []):
                if name == "took" and report.when == "call":
                    terminalreporter.write_line(text)
