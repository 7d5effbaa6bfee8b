"""Say at the end, and loudly, what could not be checked on this machine."""

from __future__ import annotations

from typing import Any

LOUD = "NOT CHECKED"  # how the reason of such a skip begins


def pytest_terminal_summary(terminalreporter: Any) -> None:
    reasons = {str(report.longrepr[-1]) for report in terminalreporter.stats.get("skipped", [])}
    for reason in sorted(reason for reason in reasons if LOUD in reason):
        terminalreporter.write_line(reason.removeprefix("Skipped: "), red=True, bold=True)
