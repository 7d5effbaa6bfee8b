"""Run notebooks from a cold start, with a live bar, into one ledger."""

from __future__ import annotations

import html
import json
import os
import re
import tempfile
from pathlib import Path

import nbformat
from IPython.display import HTML
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from tqdm import tqdm

from course_utils.files import NOTEBOOKS, CourseError, in_repository, write_text
from course_utils.lab import ledger

CELL_SECONDS = 900
ASKING_SECONDS = 7200  # the 1.5B model answers hundreds of questions in one cell


class RunError(CourseError):
    """A notebook is missing or one of its cells failed."""


def find_notebooks(names: list[str]) -> list[Path]:
    """Notebooks by name, file or number ("01"); all of the course, in reading order, when empty."""
    every = sorted(in_repository(NOTEBOOKS).glob("[0-9]*.ipynb"))
    found = []
    for name in names:
        stem = Path(name).stem
        matches = [path for path in every if path.stem == stem or path.stem.split("_")[0] == stem]
        if not matches:
            known = ", ".join(path.stem for path in every)
            raise RunError(f"There is no notebook {name!r}; the course has {known}.")
        found += matches
    return found or every


def course_map() -> CourseMap:
    """Every notebook that is here: what it is for, and its minutes and memory in the last run."""
    return CourseMap([_entry(path, ledger.load_ledger()) for path in find_notebooks([])])


class CourseMap(HTML):
    """The notebooks as a table with links; its plain-text form is the same everywhere."""

    def __init__(self, entries: list[dict[str, str]]) -> None:
        self.entries = entries
        heads = ("notebook", "after it you can", "minutes", "peak memory")
        head = "".join(f"<th style='text-align:left'>{name}</th>" for name in heads)
        rows = "".join(
            f"<tr><td style='text-align:left'><a href='{e['file']}'>{html.escape(e['title'])}</a>"
            f"</td><td style='text-align:left'>{html.escape(e['after'])}</td>"
            f"<td>{e['minutes']}</td><td>{e['memory']}</td></tr>"
            for e in entries
        )
        super().__init__(f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>")

    def __repr__(self) -> str:
        return "map of the course"


def _entry(path: Path, ledger: dict[str, dict]) -> dict[str, str]:
    first = nbformat.read(path, as_version=4).cells[0].source
    after = re.search(r"\*\*After this notebook you can\*\*\s*(.+)", first)
    measured = ledger.get(path.stem, {})
    seconds, peak = measured.get("seconds"), measured.get("peak_bytes")
    return {
        "file": path.name,
        "title": first.splitlines()[0].lstrip("# "),
        "after": re.sub(r"[`*]", "", after[1].rstrip(".")) if after else "",
        "minutes": "not measured yet" if seconds is None else f"{max(seconds / 60, 1):.0f}",
        "memory": "" if peak is None else f"{peak / 1e9:.1f} GB",
    }


def run_notebooks(
    notebooks: list[Path], store: bool = False, cell_seconds: int | None = None
) -> dict[str, dict]:
    """Execute notebooks and update the ledger after each.

    Args:
        notebooks: files, run one after the other, each in a kernel of its own.
        store: also write the outputs back into the files.
        cell_seconds: the longest a cell may take; None takes ``cell_limit``.

    Returns:
        The whole ledger: {notebook: {"seconds", "peak_bytes", "claims"}}.

    Raises:
        RunError: a cell failed or took too long, or the kernel died; notebooks before it are in
            the ledger.
    """
    cell_seconds = cell_seconds or cell_limit()
    stored = ledger.load_ledger()
    for path in notebooks:
        with tempfile.TemporaryDirectory() as folder:
            lines = Path(folder) / "claims.jsonl"
            notebook = execute_notebook(path, {"COURSE_LEDGER": str(lines)}, cell_seconds)
            stored |= ledger.read_lines(lines)
        if store:
            write_text(path, nbformat.writes(notebook) + "\n")
        stored = {name: stored[name] for name in sorted(stored)}
        write_text(ledger.LEDGER, json.dumps(stored, indent=1, ensure_ascii=False) + "\n")
    return stored


def cell_limit() -> int:
    """Seconds that a cell may take, which is more when it asks instead of reading recordings."""
    return ASKING_SECONDS if os.environ.get("COURSE_LIVE") == "1" else CELL_SECONDS


def execute_notebook(path: Path, env: dict[str, str], cell_seconds: int) -> nbformat.NotebookNode:
    """Execute a notebook in a kernel of its own, with these environment variables.

    Raises:
        RunError: a cell failed or took longer than ``cell_seconds``, or the kernel died.
    """
    notebook = nbformat.read(path, as_version=4)
    cells = sum(cell.cell_type == "code" for cell in notebook.cells)
    begun: list[int] = []
    with tqdm(total=cells, desc=path.stem, unit="cell") as bar:
        client = NotebookClient(
            notebook,
            timeout=cell_seconds,
            kernel_name="python3",
            resources={"metadata": {"path": str(path.parent)}},
            record_timing=False,
            store_widget_state=False,
            on_cell_execute=lambda cell, cell_index: begun.append(cell_index),
            on_cell_executed=lambda **_: bar.update(),
        )
        try:
            client.execute(env=os.environ | {"COURSE_PROGRESS": "0"} | env)
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            place = f"{path.name} stopped at cell {len(begun)} of {cells}"
            raise RunError(f"{place}: {_why(error, cell_seconds)}") from error
    return notebook


def _why(error: Exception, cell_seconds: int) -> str:
    if isinstance(error, CellTimeoutError):
        return f"it took longer than {cell_seconds} s; close other programs and run it again."
    if isinstance(error, DeadKernelError):
        return (
            "its kernel died, most likely for lack of memory; close other kernels and programs, "
            "then run it again."
        )
    last = str(error).strip().splitlines()[-1]
    return re.sub(r"\x1b\[[0-9;]*m", "", last)  # without the traceback's colors
