"""Judging, standing and definitions, on small exercises of every kind."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest

from course_utils.grade.check import Result, grade, parse_number, standing
from course_utils.grade.exercises import Exercise, GradingError, get_exercise, load_exercises
from course_utils.grade.source import answer_text

DEMO = Path(__file__).parents[1] / "browser" / "exercises"


def demo(name: str) -> Exercise:
    return get_exercise(f"99-{name}", DEMO)


def judge(name: str, answer: Any, **names: Any) -> Result:
    return grade(demo(name), answer, {"total": 12, **names})


def event(outcome: str, credit: float = 0.0, kind: str = "answer") -> dict[str, Any]:
    return {"event": kind, "outcome": outcome, "credit": credit}


# --- kinds ----------------------------------------------------------------------------------------


def test_a_choice_is_right_or_wrong_and_says_why() -> None:
    assert judge("choice", "six").outcome == "passed"
    wrong = judge("choice", "five")
    assert (wrong.outcome, wrong.credit) == ("failed", 0) and "too few" in wrong.feedback


def test_a_wrong_prediction_earns_half_and_shows_what_was_measured() -> None:
    result = judge("prediction", "odd")
    assert (result.outcome, result.credit) == ("partial", 0.5)
    assert "The total is 12" in result.feedback


def test_several_answers_earn_parts_and_ticking_all_earns_little() -> None:
    assert judge("answers", ["two", "three"]).outcome == "passed"
    half = judge("answers", ["two"])
    assert (half.outcome, half.credit) == ("partial", 0.5) and "one more" in half.feedback
    everything = judge("answers", ["two", "three", "five", "seven"])
    assert everything.outcome == "failed" and "12 / 5" in everything.feedback


@pytest.mark.parametrize("text", ["4", "4.0", " 4 ", "400%", "4e0", "3.95"])
def test_a_number_within_tolerance_passes(text: str) -> None:
    assert judge("number", text).outcome == "passed"


def test_a_number_is_judged_against_the_namespace_and_known_mistakes() -> None:
    assert judge("number", "5", total=15).outcome == "passed"
    assert "times" in judge("number", "36").feedback
    assert judge("number", "7").outcome == "failed"
    assert judge("number", "seven").outcome == "error"


@pytest.mark.parametrize("text", ["", "x", "1,5", "nan", "inf", "1e999", None, True, [1], "--1"])
def test_what_is_no_number_is_none(text: Any) -> None:
    assert parse_number(text) is None


def test_code_earns_by_its_tests_and_names_the_line_that_failed() -> None:
    assert judge("code", "def double(x):\n    return 2 * x").outcome == "passed"
    part = judge("code", "def double(x):\n    return x + x if x else None")
    assert part.outcome == "partial" and part.credit == 0.5 and "of 0" in part.feedback
    wrong = judge("code", "def double(x):\n    return x\n")
    assert wrong.outcome == "failed" and "4 for 2" not in wrong.feedback
    broken = judge("code", "def double(x):\n    y = 1\n    return y / 0")
    assert broken.outcome == "error" and "line 3" in broken.feedback
    assert "ZeroDivisionError" in broken.feedback
    syntax = judge("code", "def double(x):\n    return (")
    assert syntax.outcome == "error" and "line 2" in syntax.feedback


def test_a_challenge_earns_between_baseline_and_target() -> None:
    assert judge("challenge", "guess = 0").credit == 0
    assert 0.4 < judge("challenge", "guess = 6").credit < 0.7
    best = judge("challenge", "guess = 12")
    assert best.outcome == "passed" and "the baseline 0, the target" in best.feedback
    assert judge("challenge", "guess = float('nan')").credit == 0
    assert "a number" in judge("challenge", "guess = 'x'").feedback


# --- code that misbehaves -------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("while True:\n        pass", "stopped after"),
        (
            "while 1:\n        try: 1\n        except Exception: pass",
            "stopped",
        ),
        ("return double(x)", "without end"),
        ("import sys\n    sys.exit(3)", "SystemExit"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("import time\n    time.sleep(60)", "stopped after"),
        ("print('x' * 10**6)\n    return missing", "'missing' is not defined"),
    ],
)
def test_code_that_misbehaves_is_stopped_and_told(body: str, said: str) -> None:
    result = judge("code", f"def double(x):\n    {body}")
    assert result.outcome == "error" and said in result.feedback, result


def test_the_namespace_is_not_changed_by_an_answer() -> None:
    names = {"total": 12}
    grade(demo("code"), "total = 99\ndef double(x):\n    global total\n    total = 1", names)
    assert names == {"total": 12}


def test_a_missing_name_is_named() -> None:
    result = grade(demo("number"), "4", {})
    assert result.outcome == "error" and "`total` is not there yet" in result.feedback


@pytest.mark.parametrize(
    "text",
    [
        "double = ...",
        "def double(x):\n    ...",
        "def double(x): ...",
        'def double(x):\n    """What it does."""\n    ...\n',
        "async def double(x): ...",
        "class double:\n    ...",
        "double: object = ...",
        "def double(x):\n    y = ...\n    return y",
        "def double(x):\n    for y in x:\n        if y:\n            return ...",
        "def double(x):\n    return 2 * x\n\ndef double(x):\n    ...",
    ],
)
def test_a_placeholder_is_unattempted(text: str) -> None:
    assert judge("code", text).outcome == "unattempted"


@pytest.mark.parametrize(
    "body",
    [
        "return 2 * x if x is not ... else 0",
        "try:\n        return 2 * x\n    except KeyError: ...",
        "try:\n        return 2 * x\n    except KeyError:\n        return ...",
        "class Rule:\n        def apply(self): ...\n    return 2 * x",
        "def later():\n        y = ...\n    return 2 * x",
        "y = {...: 2}\n    return y[...] * x",
        "...\n    return 2 * x",
        "if x is None:\n        ...\n    return 2 * x",
        "return 2 * x\n    ...",
    ],
)
def test_an_ellipsis_in_real_code_is_an_answer(body: str) -> None:
    assert judge("code", f"def double(x):\n    {body}").outcome == "passed"


def test_another_unsolved_function_beside_it_does_not_matter() -> None:
    text = "def other():\n    ...\n\ndef double(x):\n    return 2 * x"
    assert judge("code", text).outcome == "passed"


# --- the answer as text ---------------------------------------------------------------------------


def run_cell(source: str, names: dict[str, Any]) -> None:
    """Run source as a notebook cell does: its text can be found again."""
    import linecache

    source = textwrap.dedent(source)
    name = f"<cell {len(linecache.cache)}>"
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    exec(compile(source, name, "exec"), names)


def test_an_answer_brings_along_what_it_needs() -> None:
    names: dict[str, Any] = {"__name__": "__main__", "unused": 1}
    run_cell(
        """
        import math
        import os.path as place
        from collections import Counter as Count
        factor = 2
        def helper(x):
            return math.floor(x) * factor
        def double(x):
            counted = Count([place.sep])
            return [helper(y) for y in [x]][0]
        """,
        names,
    )
    text = answer_text("double", names)
    assert text and "unused" not in text
    assert grade(demo("code"), text, {}).outcome == "passed"


def test_data_and_lambdas_are_answers_too() -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    run_cell("guess = 12\ndouble = lambda x: 2 * x", names)
    assert answer_text("guess", names) == "guess = 12"
    assert grade(demo("code"), answer_text("double", names), {}).outcome == "passed"
    assert answer_text("absent", names) is None
    with pytest.raises(OSError, match="must be a function"):
        answer_text("guess", {"guess": object()})


# --- standing -------------------------------------------------------------------------------------


def test_the_best_answer_counts_and_hints_cost_a_tenth_each() -> None:
    code = demo("code")  # 2 points, any number of attempts
    history = [event("partial", 0.5), event("", kind="hint"), event("passed", 1.0)]
    assert standing(code, history).points == pytest.approx(1.8)
    assert standing(code, [*history, event("failed")]).outcome == "passed"
    assert standing(code, []).outcome == "unattempted"


def test_attempts_beyond_the_limit_and_after_the_solution_earn_nothing() -> None:
    choice = demo("choice")
    history = [event("failed"), event("failed"), event("passed", 1.0)]
    assert standing(choice, history).points == 0 and standing(choice, history).attempts == 3
    shown = [event("", kind="solution"), event("passed", 1.0)]
    assert standing(demo("code"), shown).points == 0 and standing(demo("code"), shown).shown


def test_errors_do_not_count_as_attempts() -> None:
    state = standing(demo("choice"), [event("error")] * 9 + [event("passed", 1.0)])
    assert (state.outcome, state.points, state.attempts) == ("passed", 1, 1)
    assert standing(demo("choice"), [event("error")]).outcome == "error"


# --- definitions ----------------------------------------------------------------------------------

GOOD = """
exercises:
  - {id: 07-x, kind: number, title: T, question: Q, points: 1, tolerance: 0, explanation: E}
"""
CODE = "def x_solution(ns):\n    return 1\n"
OPTIONS = "options: [{key: a, text: A, feedback: F}, {key: b, text: B, feedback: F}]"


def write(folder: Path, text: str = GOOD, code: str | None = CODE) -> Path:
    (folder / "07_demo.yaml").write_text(text)
    if code is not None:
        (folder / "07_demo.py").write_text(code)
    return folder


def test_a_good_definition_is_read(tmp_path: Path) -> None:
    assert get_exercise("07-x", write(tmp_path)).attempts == 5


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("points: 1, ", "", "07_demo.yaml, 07-x: 'points' is a required property"),
        ("points: 1", "points: many", "07_demo.yaml, 07-x, points: 'many' is not of type"),
        ("points: 1", "points: 0", "07-x, points: 0 is less than the minimum"),
        ("number", "essay", "07-x, kind: 'essay' is not one of"),
        ("tolerance: 0, ", "", "07-x: 'tolerance' is a required property"),
        ("number", "code", "07-x: 'answer' is a required property"),
        ("tolerance", "answer: x, tolerance", "'answer' is for the kinds code, challenge only"),
        ("title: T", "title: T, colour: red", "07-x: Additional properties are not allowed"),
        ("id: 07-x", "id: x", "07_demo.yaml, x, id: 'x' does not match"),
        ("id: 07-x", "id: 08-x", "08-x: the id must begin with the number of 07_demo"),
        ("id: 07-x", "id: 07-y", "07-y: 07_demo.py has no function y_solution"),
        ("{id", "- {id", "07_demo.yaml is not YAML|exercise number 1"),
        ("exercises:", "exercise:", "07_demo.yaml: "),
        ("number, ", f"choice, {OPTIONS}, ", "07-x, options: .* is too short"),
        (GOOD, "", "07_demo.yaml: None is not of type 'object'"),
        (GOOD, "{", "07_demo.yaml is not YAML"),
        (
            GOOD,
            GOOD + GOOD.split("exercises:")[1].strip("\n") + "\n",
            "07-x: this id is used twice",
        ),
    ],
)
def test_a_wrong_definition_is_a_clear_sentence(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    with pytest.raises(GradingError, match=said) as raised:
        load_exercises(write(tmp_path, GOOD.replace(old, new)))
    assert "\n" not in str(raised.value) and str(raised.value).endswith(".")


def test_two_options_with_one_text_are_refused(tmp_path: Path) -> None:
    option = "{key: %s, text: A, feedback: F}"
    options = ", ".join(option % key for key in "abc")
    text = GOOD.replace("number", "choice").replace("tolerance: 0", f"options: [{options}]")
    with pytest.raises(GradingError, match="two options have the same text"):
        load_exercises(write(tmp_path, text))


@pytest.mark.parametrize(("code", "said"), [(None, "is missing"), ("1/0", "cannot be imported")])
def test_a_missing_or_broken_module_is_named(tmp_path: Path, code: str | None, said: str) -> None:
    with pytest.raises(GradingError, match=f"07_demo.py {said}"):
        load_exercises(write(tmp_path, code=code))


def test_an_unknown_exercise_names_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(GradingError, match="no exercise '07-z'; there are 07-x"):
        get_exercise("07-z", write(tmp_path))
