"""Judging one answer. This module is independent of widgets, files and the learner's identity.

An answer is plain data: an option's key, a list of keys, a number as it was typed, or for code the
source text that defines what the exercise asks for. Text can be saved, exported and judged again on
another machine, so the notebook judges the same text.

In the kernel a learner's code is stopped after the exercise's seconds (by a signal, so not on
Windows, and not if a bare ``except`` swallows it). Endless recursion and ``exit()`` are caught.
Memory, files and network are not protected: it is the learner's own machine. ``collect`` runs code
under tighter limits, see ``sandbox``.
"""

from __future__ import annotations

import contextlib
import math
import numbers
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from course_utils.grade.exercises import CODE, Exercise, MissingName, Names
from course_utils.grade.source import LONGEST, WHERE, is_placeholder, run_text

HINT_COST = 0.1
PREDICTED = 0.5
TARGET = 0.9


@dataclass(frozen=True)
class Result:
    """A verdict: "passed", "partial", "failed", "error" (not judged) or "unattempted".

    ``credit`` is the share of the points earned, ``feedback`` Markdown.
    """

    outcome: str
    credit: float
    feedback: str


@dataclass(frozen=True)
class Standing:
    """Where a learner stands with one exercise."""

    outcome: str
    points: float
    attempts: int
    hints: int
    shown: bool


class TimeLimit(BaseException):
    """Code ran too long; no ``except Exception`` of the learner's catches it."""


def grade(
    exercise: Exercise,
    answer: Any,
    namespace: Mapping[str, Any],
    hidden: ModuleType | None = None,
) -> Result:
    """Judge an answer. It never raises, whatever the answer is or does.

    Args:
        exercise: the exercise that was answered.
        answer: an option's key, a list of them, a number or its text, or source text.
        namespace: the notebook's names, or those rebuilt without it.
        hidden: a module with more checks for code exercises, and other scores for challenges.

    Returns:
        The verdict, with feedback for the learner.
    """
    try:
        if _unanswered(exercise, answer):
            return Result("unattempted", 0.0, "There is no answer to judge.")
        with time_limit(exercise.seconds), _silence():
            if exercise.kind in CODE:
                return _judge_code(exercise, answer, namespace, hidden)
            judge = _judge_number if exercise.kind == "number" else _judge_keys
            return judge(exercise, answer, Names(namespace))
    except BaseException as error:  # a learner's code may raise anything, SystemExit too
        return Result("error", 0.0, _told(error, exercise))


def standing(exercise: Exercise, events: Iterable[Mapping[str, Any]]) -> Standing:
    """The points and the state that a history of answers, hints and solutions adds up to.

    The best answer counts. Each hint seen before it costs a tenth of the points. An answer after
    the solution was shown, or beyond the attempts that count, earns nothing. Answers that could not
    be judged ("error") are no attempts.

    Args:
        exercise: the exercise that the events are about.
        events: the events of this exercise only, the oldest first.

    Returns:
        Where the learner stands; both the notebook and the gradebook show this.
    """
    outcome, points, attempts, hints, shown = "unattempted", 0.0, 0, 0, False
    for event in events:
        hints += event["event"] == "hint"
        shown |= event["event"] == "solution"
        if event["event"] != "answer" or event["outcome"] == "unattempted":
            continue
        if event["outcome"] == "error":
            outcome = "error" if outcome == "unattempted" else outcome
            continue
        attempts += 1
        late = shown or (exercise.attempts is not None and attempts > exercise.attempts)
        earned = 0.0 if late else exercise.points * event["credit"] * (1 - HINT_COST * hints)
        if earned > points or outcome in ("unattempted", "error"):
            outcome, points = event["outcome"], max(points, earned)
    return Standing(outcome, round(points, 2), attempts, hints, shown)


# --- the kinds ------------------------------------------------------------------------------------


def _unanswered(exercise: Exercise, answer: Any) -> bool:
    if answer is None or answer is ...:
        return True
    if isinstance(answer, str | list | tuple | set | dict) and not answer:
        return True
    if isinstance(answer, str) and not answer.strip():
        return True
    return (
        exercise.kind in CODE
        and isinstance(answer, str)
        and is_placeholder(exercise.answer, answer)
    )


def _judge_keys(exercise: Exercise, answer: Any, ns: Names) -> Result:
    options = {option.key: option for option in exercise.options}
    given = list(answer) if isinstance(answer, list | tuple | set) else [answer]
    if any(not isinstance(key, str) or key not in options for key in given):
        return Result("error", 0.0, "That is not one of the options.")
    made = _solve(exercise, ns)
    right, measured = made if isinstance(made, tuple) else (made, "")
    if exercise.kind == "answers":
        return _judge_several(exercise, set(given), set(right), options)
    if len(given) > 1:
        return Result("error", 0.0, "Choose one option.")
    told = f"{options[given[0]].feedback} {measured}"
    if given[0] == right:
        return Result("passed", 1.0, f"{told}\n\n{exercise.explanation}")
    if exercise.kind == "prediction":
        return Result("partial", PREDICTED, f"{told}\n\n{exercise.explanation}")
    return Result("failed", 0.0, told)


def _judge_several(
    exercise: Exercise, given: set[str], right: set[str], options: Mapping[str, Any]
) -> Result:
    wrong = [key for key in options if key in given - right]
    credit = max(0.0, (len(given & right) - len(wrong)) / len(right))
    if given == right:
        return Result("passed", 1.0, exercise.explanation)
    told = [f"*{options[key].text}*: {options[key].feedback}" for key in wrong]
    if right - given:
        told.append("At least one more of them is right.")
    return Result("partial" if credit else "failed", credit, "\n\n".join(told))


def _judge_number(exercise: Exercise, answer: Any, ns: Names) -> Result:
    value = parse_number(answer)
    if value is None:
        return Result("error", 0.0, "Write one number, such as `0.25` or `25 %`.")
    near = exercise.tolerance + 1e-9
    if abs(value - float(_solve(exercise, ns))) <= near:
        return Result("passed", 1.0, exercise.explanation)
    mistakes = exercise.function("wrong")
    for told, wrong in (mistakes(ns) if mistakes else {}).items():
        if abs(value - wrong) <= near:
            return Result("failed", 0.0, told)
    return Result("failed", 0.0, "That is not the number.")


def parse_number(answer: Any) -> float | None:
    """Read a number as a learner types it, with or without a percent sign.

    Args:
        answer: a number or text.

    Returns:
        None if it is not a finite number.
    """
    if isinstance(answer, bool) or not isinstance(answer, str | numbers.Real):
        return None
    text = answer if isinstance(answer, str) else repr(float(answer))
    text = text[:100].replace(" ", "").replace("\u2212", "-")
    try:
        value = float(text.rstrip("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _judge_code(
    exercise: Exercise, answer: Any, namespace: Mapping[str, Any], hidden: ModuleType | None
) -> Result:
    if not isinstance(answer, str) or len(answer) > LONGEST:
        return Result("error", 0.0, f"The answer must be code, {LONGEST:,} characters at most.")
    made = run_text(exercise.answer, answer, namespace)
    if exercise.kind == "challenge":
        return _judge_challenge(exercise, made, Names(namespace), hidden)
    tests = exercise.checks() + (exercise.checks(hidden) if hidden else [])
    for done, test in enumerate(tests):
        try:
            test(made, Names(namespace))
        except MissingName:
            raise  # the notebook's fault, not the answer's
        except BaseException as error:
            told, credit = _told(error, exercise), done / len(tests)
            outcome = "failed" if isinstance(error, AssertionError) else "error"
            if done:
                outcome, told = "partial", f"{done} of {len(tests)} tests pass. {told}"
            return Result(outcome, credit, told)
    return Result("passed", 1.0, exercise.explanation)


def _judge_challenge(exercise: Exercise, made: Any, ns: Names, hidden: ModuleType | None) -> Result:
    score = exercise.function("score", hidden) or exercise.function("score")
    assert score is not None
    try:
        mine = float(score(made, ns))
    except AssertionError as error:
        return Result("failed", 0.0, _told(error, exercise))
    low, best = (float(score(exercise.function(r), ns)) for r in ("baseline", "solution"))
    target = low + TARGET * (best - low)
    credit = min(max((mine - low) / (target - low), 0.0), 1.0) if math.isfinite(mine) else 0.0
    told = f"Yours scores {mine:.3g}; the baseline {low:.3g}, the target {target:.3g}."
    if credit == 1:
        return Result("passed", 1.0, f"{told}\n\n{exercise.explanation}")
    return Result("partial", credit, told) if credit > 0.1 else Result("failed", 0.0, told)


def _solve(exercise: Exercise, ns: Names) -> Any:
    solution = exercise.function("solution")
    assert solution is not None
    return solution(ns)


def _told(error: BaseException, exercise: Exercise) -> str:
    """A sentence about what stopped a check."""
    if isinstance(error, MissingName):
        return str(error)
    if isinstance(error, TimeLimit):
        return f"It was stopped after {exercise.seconds:g} seconds. Does a loop never end?"
    if isinstance(error, RecursionError):
        return "It calls itself without end."
    if isinstance(error, AssertionError) and str(error):
        return str(error)[:1000]
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == WHERE]
    line = error.lineno if isinstance(error, SyntaxError) else frames[-1].lineno if frames else None
    place = f" in line {line} of your answer" if line else ""
    said = str(error)[:300].replace("`", "'")
    return f"Stopped by {type(error).__name__}{place}: `{said or 'without a message'}`."


# --- running a learner's code ---------------------------------------------------------------------


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TimeLimit in the block after some seconds.

    It works in the main thread only, and not on Windows; elsewhere the block runs without a limit.

    Args:
        seconds: how long the block may take.

    Raises:
        TimeLimit: the block took longer.
    """
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or not hasattr(signal, "setitimer"):
        yield
        return

    def stop(*_: Any) -> None:
        raise TimeLimit

    before: Callable[..., Any] | int | None = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    with (
        open(os.devnull, "w") as nowhere,  # noqa: PTH123
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        yield
