from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COURSE_ANSWERS", str(tmp_path / "answers"))
    return tmp_path / "answers"


# They compare searches or draw thousands of samples for each answer that is judged.
SLOW = [
    *("02-budget", "02-words", "03-fast", "04-ceiling", "04-head", "04-more-candidates"),
    "05-enough",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if any(f"[{id}]" in item.name for id in SLOW):
            item.add_marker(pytest.mark.slow)
