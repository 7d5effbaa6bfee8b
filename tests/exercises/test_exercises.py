"""Every exercise of the course: right answers pass, wrong ones say why, nothing raises."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from course_utils.grade.check import Result, grade
from course_utils.grade.exercises import (
    CHOICES,
    CODE,
    Exercise,
    Names,
    definition,
    load_exercises,
    rebuilt_names,
)
from course_utils.grade.view import solution_answer, solution_markdown

COURSE = list(load_exercises().values())
GARBAGE: list[Any] = [
    *(float("nan"), float("inf"), -1, 10**400, 2**70, True, object(), b"\xff", 1j),
    *("x" * 200_000, "\ud800", "nan", "1e999", "0,5", "٣", "--", "%", "\0", "a\nb"),
    *([None], [[[[]]]], {"a": 1}, ["a", "a"], [1, "x"], (), set(), [[1, 2], "half"], range(3)),
    *("def f(", "1/0", "import sys; sys.exit()", "raise KeyboardInterrupt", "x = " + "(" * 500),
    *("raise BaseException", "while True: break", "exec('')", "async def f(): pass", "return"),
]


def judge(exercise: Exercise, answer: Any) -> Result:
    return grade(exercise, answer, rebuilt_names(exercise.module))


def wrong_answers(exercise: Exercise) -> list[tuple[Any, str]]:
    """Each listed wrong answer, and words of the feedback that it must get."""
    names = Names(rebuilt_names(exercise.module))
    if exercise.kind in CHOICES:
        right = solution_answer(exercise, rebuilt_names(exercise.module))
        keys = [right] if isinstance(right, str) else right
        many = exercise.kind == "answers"
        wrong = [option for option in exercise.options if option.key not in keys]
        return [([*keys, o.key] if many else o.key, o.feedback) for o in wrong]
    made = exercise.function("wrong")
    assert made is not None, f"{exercise.id} lists no wrong answers"
    listed = made(names)
    if exercise.kind in CODE:
        return [(definition(exercise.answer, answer), said) for said, answer in listed.items()]
    return [(answer, said) for said, answer in listed.items()]


@pytest.mark.parametrize("exercise", COURSE, ids=lambda e: e.id)
def test_the_solution_earns_full_marks(exercise: Exercise) -> None:
    names = rebuilt_names(exercise.module)
    result = judge(exercise, solution_answer(exercise, names))
    assert (result.outcome, result.credit) == ("passed", 1.0), result
    assert exercise.explanation.strip() in result.feedback
    assert "Solution" in solution_markdown(exercise, names)


@pytest.mark.parametrize("exercise", COURSE, ids=lambda e: e.id)
def test_each_listed_wrong_answer_earns_less_and_is_told_why(exercise: Exercise) -> None:
    listed = wrong_answers(exercise)
    assert len(listed) >= 2
    told = set()
    for answer, said in listed:
        result = judge(exercise, answer)
        most = 0.5 if exercise.kind == "prediction" else 0.99
        assert result.outcome in ("failed", "partial") and result.credit <= most, (answer, result)
        assert said in result.feedback, (answer, result)
        told.add(result.feedback)
    assert len(told) == len(listed), "two wrong answers get the same feedback"


@pytest.mark.parametrize("exercise", COURSE, ids=lambda e: e.id)
def test_a_constant_and_the_baseline_earn_nothing(exercise: Exercise) -> None:
    if exercise.kind in CODE:
        constants = [f"{exercise.answer} = {value}" for value in ("None", "0", "[]", "''")]
        constants += [f"def {exercise.answer}(*a, **k): return {v}" for v in ("None", "0", "[]")]
        for text in constants:
            assert judge(exercise, text).credit == 0, text
        if baseline := exercise.function("baseline"):
            assert judge(exercise, definition(exercise.answer, baseline)).credit == 0


@pytest.mark.parametrize("exercise", COURSE, ids=lambda e: e.id)
def test_an_empty_answer_is_unattempted(exercise: Exercise) -> None:
    empty: list[Any] = [None, ..., "", "  \n", [], ()]
    if exercise.kind in CODE:
        bodies = ("...", "'What it does.'\n    ...", "x = ...\n    return x")
        empty += [f"def {exercise.answer}(*a):\n    {body}\n" for body in bodies]
        empty.append(f"{exercise.answer} = ...")
    for answer in empty:
        assert judge(exercise, answer).outcome == "unattempted", answer


@pytest.mark.parametrize("exercise", COURSE, ids=lambda e: e.id)
def test_garbage_never_raises_and_earns_nothing(exercise: Exercise) -> None:
    for answer in GARBAGE:
        result = judge(exercise, answer)
        assert result.outcome in ("failed", "error", "unattempted") and result.credit == 0, answer


@pytest.mark.parametrize("exercise", COURSE, ids=lambda e: e.id)
def test_without_the_notebook_the_learner_is_told_what_is_missing(exercise: Exercise) -> None:
    answer = solution_answer(exercise, rebuilt_names(exercise.module))
    result = grade(exercise, answer, {"np": np, "re": re})
    assert result.outcome in ("passed", "error")
    if result.outcome == "error":
        assert "run the notebook from the top" in result.feedback


def test_each_notebook_has_four_to_seven() -> None:
    for notebook in {exercise.notebook for exercise in COURSE}:
        assert 4 <= sum(exercise.notebook == notebook for exercise in COURSE) <= 7
