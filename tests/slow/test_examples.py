"""The scripts in examples/ run as they are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted((ROOT / "examples").glob("*.py"))
EXPECTED = {  # a part of what each prints
    "search_a_folder": ".md: ",
    "rerank": ", from ",
    "train_an_adapter": "with:",
    "evaluate": "chunks minus pages:",
    "decide": "RAG: ",
}


def test_every_example_is_listed() -> None:
    assert {path.stem for path in SCRIPTS} == set(EXPECTED)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_an_example_runs(script: Path) -> None:
    run = [sys.executable, str(script)]
    own = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(run, cwd=ROOT, env=own, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert EXPECTED[script.stem] in done.stdout
    assert len(script.read_text(encoding="utf8").splitlines()) <= 30
