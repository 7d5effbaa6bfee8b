"""The widgets without a browser: what they show comes from disk, and nothing raises."""

from __future__ import annotations

import re
import types
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import nbformat
import pytest
from test_grading import run_cell

from course_utils.files import NOTEBOOKS
from course_utils.grade import exercises, store, view
from course_utils.grade.check import standing
from course_utils.grade.dashboard import certificate_html, dashboard
from course_utils.grade.exercises import (
    CODE,
    definition,
    get_exercise,
    load_exercises,
    rebuilt_names,
)

DEMO = Path(__file__).parents[1] / "browser" / "exercises"
NAMES: dict[str, Any] = {}


@pytest.fixture(autouse=True)
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("COURSE_ANSWERS", str(tmp_path / "answers"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(view, "get_ipython", lambda: types.SimpleNamespace(user_ns=NAMES))
    monkeypatch.setattr(view, "_open", {})
    NAMES.clear()
    NAMES["total"] = 12
    yield
    load_exercises.cache_clear()


def show(name: str) -> Any:
    return view.exercise(f"99-{name}", DEMO)


def test_the_text_form_is_constant() -> None:
    assert repr(show("choice")) == "exercise 99-choice (run the cell to use it)"
    assert repr(dashboard("99", DEMO)) == "dashboard (run the cell to use it)"


def test_nothing_is_chosen_beforehand_and_no_answer_is_no_attempt() -> None:
    for name in ("prediction", "choice", "answers", "number", "code", "challenge"):
        shown = show(name)
        shown.check_button.click()
        assert "Not answered yet" in shown.feedback.value
    assert store.read_events()[0] == []


def test_a_wrong_and_a_right_answer_are_judged_kept_and_announced() -> None:
    shown = show("choice")
    shown.put("five")
    shown.check_button.click()
    assert "Not right" in shown.feedback.value and "too few" in shown.feedback.value
    assert "role='status'" in shown.feedback.value and "1 of 2 attempts" in shown.heading.value
    shown.put("six")
    shown.check_button.click()
    assert "Right" in shown.feedback.value and "1 of 1 points" in shown.heading.value
    assert [e["outcome"] for e in store.read_events()[0]] == ["failed", "passed"]


def test_showing_it_again_closes_the_old_view_and_restores_the_answer() -> None:
    old = show("answers")
    boxes = old.control.children
    boxes[0].value = True
    old.check_button.click()
    new = show("answers")
    assert all(part.comm is None for part in (old, old.control, boxes[0], old.check_button))
    assert [box.value for box in new.control.children] == [True, False, False, False]
    assert "Partly right" in new.feedback.value and "1 of 2 points" in new.heading.value
    number = show("number")
    number.control.value = "4"
    number.check_button.click()
    assert show("number").control.value == "4"


def test_hints_come_one_by_one_cost_and_stay() -> None:
    shown = show("choice")
    assert shown.hint_button.description == "Hint (2 left)"
    shown.hint_button.click()
    assert "Share twelve" in shown.hints.value and "Count to six" not in shown.hints.value
    again = show("choice")
    assert "Share twelve" in again.hints.value
    again.hint_button.click()
    assert "Count to six" in again.hints.value and again.hint_button.disabled
    again.put("six")
    again.check_button.click()
    assert "0.8 of 1 points" in again.heading.value


def test_the_solution_is_shown_at_the_second_press_and_stays() -> None:
    shown = show("code")
    shown.solution_button.click()
    assert not shown.shown.value and shown.solution_button.description == "Show it"
    shown.solution_button.click()
    assert "def double(x)" in shown.shown.value
    assert "def double(x)" in show("code").shown.value
    assert [e["event"] for e in store.read_events()[0]] == ["solution"]


def test_the_solution_is_free_after_passing() -> None:
    shown = show("choice")
    shown.put("six")
    shown.check_button.click()
    shown.solution_button.click()
    assert "It is six" in shown.shown.value
    assert [e["event"] for e in store.read_events()[0]] == ["answer"]


def test_an_error_in_a_callback_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = show("choice")

    def broken(*_: Any, **__: Any) -> None:
        raise exercises.GradingError("The disk is full.")

    monkeypatch.setattr(store, "record_event", broken)
    shown.put("six")
    shown.check_button.click()
    assert "Right" in shown.feedback.value and "The disk is full" in shown.feedback.value
    NAMES.clear()
    number = show("number")
    number.solution_button.click()
    number.solution_button.click()
    assert "total" in number.feedback.value and "not there yet" in number.feedback.value


@pytest.mark.parametrize("answer", [None, 3, "zzz", ["zzz"], {"a": 1}, [[1]], "x" * 10_000])
def test_any_answer_in_the_file_can_be_restored(answer: Any) -> None:
    for name in ("prediction", "choice", "answers", "number", "code"):
        fields = {"answer": answer, "outcome": "failed", "credit": 0, "feedback": "<b>x"}
        store.record_event("answer", f"99-{name}", **fields)
        assert "&lt;b&gt;x" in show(name).feedback.value


def test_labels_are_unique_and_the_question_is_text() -> None:
    for asked in load_exercises().values():
        shown = view.exercise(asked.id)
        assert asked.question.split()[0].strip("`") in shown.question.value
        texts = [option.text for option in asked.options]
        assert len(set(texts)) == len(texts)


# --- dashboard ------------------------------------------------------------------------------------


def upload(data: bytes) -> dict[str, Any]:
    """What the browser sends for a chosen file."""
    facts = {"name": "x.jsonl", "type": "", "size": len(data), "last_modified": datetime.now(UTC)}
    return facts | {"content": memoryview(data)}


def test_the_dashboard_counts_exports_and_imports(tmp_path: Path) -> None:
    shown = show("choice")
    shown.put("six")
    shown.check_button.click()
    board: Any = dashboard("99", DEMO)
    assert "1 of 10 points" in board.table.value and "Half of it" in board.table.value
    board.name.value = "Ada / L"
    board.export(None)
    exported = tmp_path / "answers-Ada-L.jsonl"
    assert exported.is_file() and "download='answers-Ada-L.jsonl'" in board.said.value
    store.answers_file().unlink()
    board.upload.value = (upload(exported.read_bytes()),)
    assert "2 new entries" in board.said.value and "1 of 10 points" in board.table.value
    board.upload.value = (upload(b"rubbish"),)
    assert "holds no answers" in board.said.value


def test_the_dashboard_follows_the_exercises() -> None:
    board: Any = dashboard("99", DEMO)
    shown = show("choice")
    shown.put("six")
    shown.check_button.click()
    assert "1 of 10 points" in board.table.value


def test_the_binder_reminder_is_there_on_binder_only(monkeypatch: pytest.MonkeyPatch) -> None:
    plain: Any = dashboard("99", DEMO)
    assert "Binder" not in plain.table.value
    monkeypatch.setenv("BINDER_LAUNCH_HOST", "https://mybinder.org/")
    on_binder: Any = dashboard("99", DEMO)
    assert "lost when this session ends" in on_binder.table.value
    shown = show("number")
    shown.control.value = "4"
    shown.check_button.click()
    assert "Right" in shown.feedback.value and "Before you leave" in shown.feedback.value
    monkeypatch.delenv("BINDER_LAUNCH_HOST")
    shown.check_button.click()
    assert "Before you leave" not in shown.feedback.value


def test_the_certificate_comes_when_all_is_done(tmp_path: Path) -> None:
    board: Any = dashboard("99", DEMO)
    board.certificate(None)
    assert "6 exercises are still open" in board.said.value
    for id in load_exercises(DEMO):
        fields = {"answer": "x", "outcome": "passed", "credit": 1.0, "feedback": ""}
        store.record_event("answer", id, **fields)
    board.name.value = "<Ada>"
    board.certificate(None)
    page = (tmp_path / "certificate-Ada.html").read_text()
    assert "&lt;Ada&gt;" in page and "all 6 exercises" in page and "10 of 10 points" in page
    assert "nobody watched" in certificate_html("", [], [], date(2026, 1, 1))


# --- a solved copy --------------------------------------------------------------------------------


def solved_copy(notebook: str, folder: Path) -> Path:
    """A copy of a notebook with its placeholders replaced by the solutions."""
    made = nbformat.read(NOTEBOOKS / f"{notebook}.ipynb", as_version=4)
    for cell in made.cells:
        id = next(iter(re.findall(r'^exercise\("([^"]+)"\)$', cell.source, re.MULTILINE)), None)
        if id and get_exercise(id).kind in CODE:
            cell.source = f'{get_exercise(id).solution_text}\n\nexercise("{id}")'
    path = folder / f"{notebook}.ipynb"
    nbformat.write(made, path)
    return path


def solve(notebook: str, folder: Path) -> int:
    """Run the exercise cells of a solved copy over the rebuilt names of the rest; press Check.

    Returns the points that its dashboard shows, which must be all there are.
    """
    course = [exercise for exercise in load_exercises().values() if exercise.notebook == notebook]
    module = course[0].module
    NAMES.clear()
    NAMES.update(rebuilt_names(module), __name__="__main__")
    for name, value in list(NAMES.items()):
        # What the notebook defines in a cell, with the imports that it needs there.
        if callable(value) and vars(module).get(name) is value:
            NAMES.update((n, v) for n, v in vars(module).items() if isinstance(v, types.ModuleType))
            run_cell(definition(name, value), NAMES)
    cells = nbformat.read(solved_copy(notebook, folder), as_version=4).cells
    pressed = []
    for cell in cells:
        if not cell.id.startswith("exercise-") or cell.cell_type != "code":
            continue
        run_cell(cell.source, NAMES)
        for name, shown in list(view._open.items()):
            asked = getattr(shown, "asked", None)
            if asked and asked.notebook == notebook and asked.id not in pressed:
                if asked.kind not in CODE:
                    shown.put(view.solution_answer(asked, NAMES))
                shown.check_button.click()
                assert "Right" in shown.feedback.value, (name, shown.feedback.value)
                pressed.append(asked.id)
    assert sorted(pressed) == sorted(asked.id for asked in course), notebook
    events = store.read_events()[0]
    for asked in course:
        mine = [event for event in events if event["exercise"] == asked.id]
        assert standing(get_exercise(asked.id), mine).points == asked.points
    most = sum(asked.points for asked in course)
    board: Any = view._open[f"dashboard {notebook[:2]}"]
    assert f"{most} of {most} points" in board.table.value, notebook
    return most


@pytest.mark.slow
def test_the_solved_course_reaches_the_maximum_and_its_certificate(tmp_path: Path) -> None:
    notebooks = sorted({exercise.notebook for exercise in load_exercises().values()})
    most = 0
    for notebook in notebooks:
        board: Any = dashboard()
        board.certificate(None)
        assert "exercises are still open" in board.said.value, notebook
        most += solve(notebook, tmp_path)
    board = dashboard()
    assert f"{most} of {most} points" in board.table.value
    board.name.value = "Ada"
    board.certificate(None)
    page = (tmp_path / "certificate-Ada.html").read_text()
    assert f"all {len(load_exercises())} exercises" in page and f"{most} of {most} points" in page
