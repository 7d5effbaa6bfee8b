"""Running notebooks: what can go wrong is said in one sentence, and what was done is kept."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
import pytest

from course_utils.lab import ledger, running
from course_utils.lab.running import RunError, run_notebooks

CLAIM = """
import json, os
line = {"claim": {"id": "S01.x", "notebook": "01_good", "statement": "", "value": 1, "n": None,
        "interval": None, "verdict": "holds", "note": ""}}
open(os.environ["COURSE_LEDGER"], "a").write(json.dumps(line))
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(ledger, "LEDGER", tmp_path / "claims.json")
    monkeypatch.setattr(ledger, "load_ledger", dict)
    return tmp_path


def notebook(folder: Path, name: str, *cells: str) -> Path:
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    path = folder / f"{name}.ipynb"
    nbformat.write(book, path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cell", "seconds", "sentence"),
    [
        ("1 / 0", 60, r"02_bad.ipynb stopped at cell 2 of 2: ZeroDivisionError: division by zero"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", 60, "kernel died.*memory"),
        ("import time\ntime.sleep(60)", 2, "it took longer than 2 s"),
    ],
)
def test_a_run_that_breaks_off_says_why_and_keeps_the_notebooks_before(
    folder: Path, cell: str, seconds: int, sentence: str
) -> None:
    good, bad = notebook(folder, "01_good", CLAIM), notebook(folder, "02_bad", "x = 1", cell)
    with pytest.raises(RunError, match=sentence) as caught:
        run_notebooks([good, bad], cell_seconds=seconds)
    assert "\n" not in str(caught.value)
    assert list(json.loads(ledger.LEDGER.read_text())) == ["01_good"]


def test_a_notebook_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RunError, match="There is no notebook '99'; the course has 00_start_here"):
        running.find_notebooks(["99"])
