"""What a notebook must look like before it is worth running.

nbval skips the comparison of a cell without an execution count, so a cleared notebook would pass:
these checks are what stops it.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from offline import nbval

from course_utils.grade.exercises import CODE, load_exercises

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
TAGS = {"nbval-ignore-output", "long", "choice"}
HEADER = ("**After this notebook you can**", "**Time and memory:**", "**Read first:**")


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]


def tags(cell: Any) -> list[str]:
    return cell.metadata.get("tags", [])


def lines(cell: Any) -> int:
    return sum(bool(line.strip()) for line in cell.source.splitlines())


def is_collapsed(cell: Any) -> bool:
    """Whether the reader sees only the output, as of the cells with claims."""
    return bool(cell.metadata.get("jupyter", {}).get("source_hidden"))


def complaints(notebook: Any) -> list[str]:
    """Everything that is wrong with a notebook's form; [] when nothing is."""
    cells = code_cells(notebook)
    found = [f"the header lacks {part}" for part in HEADER if part not in notebook.cells[0].source]
    counts = [cell.execution_count for cell in cells]
    if counts != list(range(1, len(cells) + 1)):
        found.append("cells are cleared or were not run in order from a cold start")
    for number, cell in enumerate(cells, start=1):
        found += [f"cell {number}: unknown tag {tag}" for tag in tags(cell) if tag not in TAGS]
        if lines(cell) > 15 and "long" not in tags(cell) and not is_collapsed(cell):
            found.append(f"cell {number}: {lines(cell)} lines")
        for output in cell.outputs:
            if output.output_type == "error" or output.get("name") == "stderr":
                found.append(f"cell {number}: stored {output.get('name', 'error')}")
            text = output.get("text", "") + str(output.get("data", {}).get("text/plain", ""))
            if re.search(r"Warning:|/(tmp|home|root)/|0x[0-9a-f]{8}", text):
                found.append(f"cell {number}: a warning, a path or an address in its output")
    ignored = sum("nbval-ignore-output" in tags(cell) for cell in cells)
    if ignored > len(cells) / 5:
        found.append(f"{ignored} of {len(cells)} cells are not compared")
    if statistics.median(lines(cell) for cell in cells if not is_collapsed(cell)) > 5:
        found.append("the median cell is longer than 5 lines")
    if "widgets" in notebook.metadata:
        found.append("widget state is stored")
    source = "\n".join(cell.source for cell in cells)
    for call in ("start(", "table()"):
        if call not in source:
            found.append(f"{call} is never called")
    return found + exercise_complaints(source)


def used_exercises(source: str) -> list[str]:
    return re.findall(r"""\bexercise\(\s*["']([^"']+)["']""", source)


def exercise_complaints(source: str) -> list[str]:
    """What is wrong between a notebook's code and the definitions of its exercises."""
    found, used = [], used_exercises(source)
    for id in used:
        if id not in load_exercises():
            found.append(f"exercise {id} has no definition")
        elif load_exercises()[id].kind in CODE and not _placed(load_exercises()[id].answer, source):
            found.append(f"exercise {id}: no cell has `{load_exercises()[id].answer}` with a `...`")
    return found + [f"exercise {id} is used twice" for id in set(used) if used.count(id) > 1]


def _placed(name: str, source: str) -> bool:
    place = rf"^(def {name}\(.*\):\n(    .*\n)*?    \.\.\.|{name} = \.\.\.)$"
    return bool(re.search(place, source, re.MULTILINE))


def test_each_definition_is_used_in_its_notebook() -> None:
    for exercise in load_exercises().values():
        path = NOTEBOOKS[0].parent / f"{exercise.notebook}.ipynb"
        assert path.is_file(), f"{exercise.id} is defined for a notebook that does not exist"
        cells = code_cells(nbformat.read(path, as_version=4))
        used = used_exercises("\n".join(cell.source for cell in cells))
        assert exercise.id in used, f"{exercise.id} is defined and used nowhere"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_form_is_kept(path: Path) -> None:
    assert complaints(nbformat.read(path, as_version=4)) == []


def _clear(notebook: Any) -> None:
    code_cells(notebook)[2].execution_count = None


def _warn(notebook: Any) -> None:
    code_cells(notebook)[0].outputs.append(
        nbformat.v4.new_output("stream", name="stderr", text="UserWarning: x")
    )


def _tag(notebook: Any) -> None:
    code_cells(notebook)[0].metadata["tags"] = ["skip"]


def _ignore(notebook: Any) -> None:
    for cell in code_cells(notebook):
        cell.metadata["tags"] = ["nbval-ignore-output"]


def _state(notebook: Any) -> None:
    notebook.metadata["widgets"] = {}


def _header(notebook: Any) -> None:
    notebook.cells[0].source = "# A title"


def _long(notebook: Any) -> None:
    code_cells(notebook)[0].source += "\nx = 1" * 15


def _path(notebook: Any) -> None:
    code_cells(notebook)[0].outputs.append(
        nbformat.v4.new_output("stream", name="stdout", text=f"saved to {Path('/', 'tmp', 'x')}")
    )


def _undefined(notebook: Any) -> None:
    code_cells(notebook)[-1].source += '\nexercise("01-nothing")'


def _twice(notebook: Any) -> None:
    code_cells(notebook)[-1].source += '\nexercise("01-nearest")'


def _solved(notebook: Any) -> None:
    for cell in code_cells(notebook):
        cell.source = cell.source.replace("    ...", "    return 1")


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (_clear, "cleared"),
        (_warn, "stderr"),
        (_tag, "unknown tag"),
        (_ignore, "not compared"),
        (_state, "widget state"),
        (_header, "header"),
        (_long, "lines"),
        (_path, "a path"),
        (_undefined, "01-nothing has no definition"),
        (_twice, "used twice"),
        (_solved, "no cell has"),
    ],
)
def test_each_fault_is_found(spoil: Callable[[Any], None], word: str) -> None:
    first = next(path for path in NOTEBOOKS if path.stem == "01_rag_basics")
    notebook = nbformat.read(first, as_version=4)
    spoil(notebook)
    assert any(word in complaint for complaint in complaints(notebook))


@pytest.mark.parametrize(
    ("number", "live", "compares", "seconds"),
    [("01", "", "--nbval", 900), ("01", "1", "--nbval-lax", 7200), ("04", "1", "--nbval", 7200)],
)
def test_only_what_is_asked_live_may_be_worded_differently(
    number: str, live: str, compares: str, seconds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COURSE_LIVE", live)
    (path,) = (path for path in NOTEBOOKS if path.stem.startswith(number))
    command = nbval(path)
    assert compares in command and f"--nbval-cell-timeout={seconds}" in command
