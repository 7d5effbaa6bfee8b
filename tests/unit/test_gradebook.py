"""Whatever learners do, the gradebook gives the points that their notebook showed."""

from __future__ import annotations

import json
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from course_utils.grade import store, view
from course_utils.grade.check import grade, standing
from course_utils.grade.collect import Judge, collect, grade_exercise
from course_utils.grade.exercises import CODE, Exercise, get_exercise, load_exercises, rebuilt_names

DEMO = Path(__file__).parents[1] / "browser" / "exercises"
ANSWERS: dict[str, list[Any]] = {
    "prediction": ["even", ["even"], "odd", "neither", "", "gone"],
    "choice": ["six", ["six"], "five", "seven", None, ["five", "six"]],
    "answers": [["two", "three"], ["three", "two"], ["two"], ["two", "five"], [], ["gone"]],
    "number": ["4", "4.0", "400 %", "36", "7", "-1", "four", "", "nan"],
    "code": [
        "def double(x):\n    return 2 * x\n",
        "def double(x):\n    return x + x\n",
        "double = lambda x: x * 2",
        "def double(x):\n    return x + x if x else None\n",
        "def double(x):\n    return 3\n",
        "def double(x):\n    return 1 / 0\n",
        "def double(x): ...",
        "def double(",
    ],
    "challenge": ["guess = 12", "guess = 6 + 6", "guess = 6", "guess = 0", "guess = ...", "1 / 0"],
}
STEPS = [(kind, step) for kind, given in ANSWERS.items() for step in ("hint", "solution", *given)]
HELP = ("hint", "solution")


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    with Judge(DEMO) as made:
        yield made
    load_exercises.cache_clear()


def press(kind: str, step: Any) -> None:
    """Press a button of the notebook: an answer and Check, Hint, or Solution until it is shown."""
    shown: Any = view.exercise(f"99-{kind}", DEMO)
    if step == "hint":
        shown.hint_button.click()
    elif step == "solution":
        shown.solution_button.click()
        shown.solution_button.click()
    else:
        shown.given = lambda _: step
        shown.check_button.click()


def true_credits(exercise: Exercise, events: list[store.Event]) -> list[store.Event]:
    """The events of an exercise with the credits that the answers earn, whatever was recorded."""
    names = rebuilt_names(exercise.module)
    return [
        event | vars(grade(exercise, event["answer"], names))
        if event["event"] == "answer"
        else event
        for event in events
        if event["exercise"] == exercise.id
    ]


@pytest.mark.slow
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=st.lists(st.sampled_from(STEPS), max_size=25), data=st.data())
def test_points_are_the_standing_of_the_true_history(
    steps: list[tuple[str, Any]],
    data: st.DataObject,
    judge: Judge,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COURSE_ANSWERS", str(tmp_path_factory.mktemp("answers")))
        patch.setattr(view, "get_ipython", lambda: types.SimpleNamespace(user_ns={"total": 12}))
        patch.setattr(view, "_open", {})
        for kind, step in steps:
            press(kind, step)
        recorded = store.read_events()[0]
    lie = data.draw(st.fixed_dictionaries({}, optional={"credit": st.floats(0, 1)}))
    handed_in = [event | (lie if event["event"] == "answer" else {}) for event in recorded]
    for kind in ANSWERS:
        exercise = get_exercise(f"99-{kind}", DEMO)
        graded = grade_exercise("a", exercise, handed_in, judge)
        mine = [event for event in recorded if event["exercise"] == exercise.id]
        assert graded.standing == standing(exercise, mine), "not what the notebook shows"
        assert graded.standing == standing(exercise, true_credits(exercise, mine))
        assert graded.unjudged == 0


# --- the course's own exercises -------------------------------------------------------------------


def solution_events(exercise: Exercise, n: int) -> list[store.Event]:
    answer = view.solution_answer(exercise, rebuilt_names(exercise.module))
    made = {"v": 1, "at": f"2026-01-01T00:00:{n:02d}", "key": str(n), "event": "answer"}
    claimed = {"outcome": "failed", "credit": 0.0, "feedback": ""}
    return [made | {"exercise": exercise.id, "answer": answer} | claimed]


@pytest.mark.slow
def test_all_solutions_of_the_course_earn_all_points(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The instructor's process has used torch's threads, as names and solutions of others do."""
    import torch

    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    threads = torch.get_num_threads()
    torch.set_num_threads(max(threads, 2))
    try:
        torch.rand(2000, 2000) @ torch.rand(2000, 2000)
        course = list(load_exercises().values())
        events = [event for n, e in enumerate(course) for event in solution_events(e, n % 60)]
        (tmp_path / "all.jsonl").write_text(store.export_text(events), encoding="utf8")
        graded = collect(tmp_path, tmp_path / "out", say=lambda _: None)
    finally:
        torch.set_num_threads(threads)
    lost = {e.exercise.id: e.feedback for e in graded if e.standing.points < e.exercise.points}
    assert lost == {} and len(graded) == len(course) > 50
    assert sum(each.exercise.kind in CODE for each in graded) >= 20
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    points = sum(each["points"] for each in report["exercises"])
    assert points == sum(exercise.points for exercise in course)
