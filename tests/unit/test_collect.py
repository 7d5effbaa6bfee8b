"""Forty submissions graded again: full, partial, empty, damaged, forged, hostile."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from course_utils.grade import collect as collecting
from course_utils.grade import store
from course_utils.grade.collect import collect
from course_utils.grade.exercises import GradingError, load_exercises
from course_utils.grade.sandbox import can_isolate

DEMO = Path(__file__).parents[1] / "browser" / "exercises"
RIGHT: dict[str, Any] = {
    "prediction": "even",
    "choice": "six",
    "answers": ["two", "three"],
    "number": "4",
    "code": "def double(x):\n    return 2 * x\n",
    "challenge": "guess = 12",
}
PARTLY = RIGHT | {"prediction": "odd", "answers": ["two"], "challenge": "guess = 6"}
NBGRADER = [
    *("assignment", "duedate", "timestamp", "student_id", "last_name", "first_name", "email"),
    *("raw_score", "late_submission_penalty", "score", "max_score"),
]


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    yield
    load_exercises.cache_clear()


def double(body: str) -> str:
    return f"def double(x):\n    {body}\n"


HOSTILE = {
    "loop": double("while True:\n        try:\n            while True: pass\n        except: pass"),
    "memory": double("y = bytearray(10**11)\n    return 2 * x"),
    "exit": double("import os\n    os._exit(0)"),
    "parent": double("import os\n    os.kill(os.getppid() or 1, 9)\n    os._exit(0)"),
    "forks": double("import os, time\n    for _ in range(5): os.fork()\n    time.sleep(99)"),
    "flood": double("import sys\n    sys.stdout.write('x' * 10**7)\n    return 0"),
}
if not can_isolate():  # there it would end this test
    HOSTILE["parent"] = double("return 0")


def line(name: str, answer: Any, n: int, key: str, claimed: float = 0.0) -> str:
    made = {"v": 1, "at": f"2026-01-01T00:00:{n:02d}", "key": key, "event": "answer"}
    made |= {"exercise": f"99-{name}", "answer": answer, "feedback": "", "credit": claimed}
    return json.dumps(made | {"outcome": "passed" if claimed else "failed"}) + "\n"


def submission(path: Path, answers: dict[str, Any], name: str = "", claimed: float = 0.0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    keyed = [(kind, answer, n, f"{path}{n}") for n, (kind, answer) in enumerate(answers.items())]
    text = "".join(line(*each, claimed) for each in keyed)
    learner = {"v": 1, "at": "2026-01-02", "key": str(path), "event": "learner", "name": name}
    path.write_text(text + json.dumps(learner) + "\n", encoding="utf8")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf8") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_forty_submissions_in_one_run(tmp_path: Path) -> None:
    folder, out, said = tmp_path / "in", tmp_path / "out", list[str]()
    expected: dict[str, float] = {}
    for n in range(13):
        submission(folder / f"full{n:02d}.jsonl", RIGHT, f"Ada Full{n}")
        expected[f"full{n:02d}"] = 10
    for n in range(8):
        submission(folder / f"partly{n}.jsonl", PARTLY)
        expected[f"partly{n}"] = 1 + 1 + 1 + 1 + 2 + 2 * 6 / 10.8
    for n in range(3):
        submission(folder / f"empty{n}.jsonl", {})
        (folder / f"blank{n}.jsonl").write_bytes(b"")
        (folder / f"corrupt{n}.jsonl").write_bytes(os.urandom(5000))
        submission(
            folder / f"forged{n}.jsonl", {"choice": "five", "code": double("return 3")}, "", 1
        )
        expected |= {f"{kind}{n}": 0 for kind in ("empty", "blank", "corrupt", "forged")}
    for name, code in HOSTILE.items():
        submission(folder / f"{name}.jsonl", RIGHT | {"code": code})
        expected[name] = 8
    submission(folder / "section1" / "twin.jsonl", RIGHT, "=HYPERLINK(1)")
    copied = folder / "section2" / "twin.jsonl"
    copied.parent.mkdir()
    cut = (folder / "section1" / "twin.jsonl").read_bytes()
    copied.write_bytes(cut[: cut.index(b"99-challenge")])
    # The copy has no name and no challenge; a cut line is not the rest's fault.
    expected |= {"section1/twin": 10, "section2/twin": 8}
    expected["unrelated"] = 0
    (folder / "unrelated.jsonl").write_text('{"hello": 1}\n' * 50)
    assert len(expected) == 42

    collect(folder, out, exercises=DEMO, say=said.append)

    book = rows(out / "gradebook.csv")
    assert list(book[0]) == NBGRADER
    scores = {row["student_id"]: float(row["score"]) for row in book}
    assert scores == pytest.approx(expected, abs=0.01)
    assert {row["assignment"] for row in book} == {"99_demo"}
    assert {row["max_score"] for row in book} == {"10"}
    [full] = [row for row in book if row["student_id"] == "full03"]
    assert (full["first_name"], full["last_name"]) == ("Ada", "Full3")
    assert "'=HYPERLINK(1)" in {row["last_name"] for row in book}
    each = rows(out / "exercises.csv")
    assert len(each) == 42 * 6
    loop = [r for r in each if (r["student_id"], r["exercise"]) == ("loop", "99-code")]
    assert loop[0]["outcome"] == "error" and loop[0]["points"] == "0.0"
    report = json.loads((out / "report.json").read_text())
    assert len(report["exercises"]) == 42 * 6
    assert any("share 5 answers" in note for note in report["notes"])
    assert any("corrupt0: 0 points" in text and "unreadable" in text for text in said)


def judged(folder: Path, *events: str) -> dict[str, collecting.Graded]:
    """What one submission earns, by the kind of exercise."""
    (folder / "a.jsonl").write_text("".join(events), encoding="utf8")
    graded = collect(folder, folder / "out", exercises=DEMO, say=lambda _: None)
    return {each.exercise.kind: each for each in graded}


def test_the_best_of_many_answers_counts_and_attempts_are_counted(tmp_path: Path) -> None:
    texts = [double(f"return {n}") for n in range(30)] + [RIGHT["code"], double("return 99")]
    mine = judged(tmp_path, *(line("code", code, n, str(n)) for n, code in enumerate(texts)))
    assert (mine["code"].standing.points, mine["code"].standing.attempts) == (2, 32)
    answers = enumerate(("five", "seven", "six"))
    mine = judged(tmp_path, *(line("choice", key, n, str(n)) for n, key in answers))
    assert mine["choice"].standing.points == 0, "the third attempt does not count"


# --- the gradebook says what the notebook says ----------------------------------------------------

OTHER = "def double(x):\n    return x + x\n"  # as right as RIGHT["code"]
HISTORIES: dict[str, tuple[str, list[Any], float]] = {
    "right, the solution, right in other words": ("code", [RIGHT["code"], "solution", OTHER], 2),
    "right, two hints, worse": ("challenge", ["guess = 12", "hint", "hint", "guess = 6"], 2),
    "right, two hints, right again": ("code", [RIGHT["code"], "hint", "hint", OTHER], 2),
    "wrong, a hint, right": ("code", [double("return 3"), "hint", OTHER], 1.8),
    "one number in two spellings": ("number", ["4", "4.0"], 1),
    "six wrong numbers after the right one": ("number", ["4", *"356789"], 1),
    "no numbers, then the right one": ("number", ["four", "iv", "?", "4,0", "x4", "4"], 1),
    "right only after the attempts": ("number", ["5", "6", "7", "8", "9", "4"], 0),
    "the solution, then right": ("number", ["solution", "4"], 0),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", HISTORIES)
def test_the_gradebook_gives_the_points_that_the_notebook_gave(name: str, tmp_path: Path) -> None:
    kind, history, points = HISTORIES[name]
    events = [
        line(kind, "", n, str(n)).replace('"answer"', f'"{step}"', 1)
        if step in ("hint", "solution")
        else line(kind, step, n, str(n))
        for n, step in enumerate(history)
    ]
    assert judged(tmp_path, *events)[kind].standing.points == pytest.approx(points)
    book = rows(tmp_path / "out" / "gradebook.csv")
    assert [float(row["score"]) for row in book] == pytest.approx([points])


def test_what_takes_too_long_to_judge_costs_nothing_and_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collecting, "PATIENCE", 0.0)
    wrong = [line("choice", key, n, str(n)) for n, key in enumerate(("five", "seven"))]
    mine = judged(tmp_path, *wrong, line("choice", "six", 3, "3", claimed=1))["choice"]
    assert (mine.standing.points, mine.standing.attempts, mine.unjudged) == (1, 1, 2)
    [note] = json.loads((tmp_path / "out" / "report.json").read_text())["notes"][:1]
    assert note.startswith("a: 2 answers to 99-choice were not judged, because")


@pytest.mark.slow
def test_text_that_is_not_unicode_stops_nobody(tmp_path: Path) -> None:
    submission(tmp_path / "a.jsonl", {"code": double("raise Exception('\\ud800')")}, "\ud800")
    submission(tmp_path / "b.jsonl", RIGHT)
    graded = collect(tmp_path, tmp_path / "out", exercises=DEMO, say=lambda _: None)
    assert sum(each.standing.points for each in graded) == 10
    assert "?" in {row["last_name"] for row in rows(tmp_path / "out" / "gradebook.csv")}


@pytest.mark.slow
def test_hidden_checks_catch_what_was_written_for_the_visible_ones(tmp_path: Path) -> None:
    submission(tmp_path / "in" / "a.jsonl", {"code": double("return 4 if x else 0")})
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "99_demo.py").write_text(
        "def code_check_hidden(double, ns):\n    assert double(7) == 14, 'Not for 7.'\n"
    )
    plain = collect(tmp_path / "in", tmp_path / "out", exercises=DEMO, say=lambda _: None)
    strict = collect(tmp_path / "in", tmp_path / "out", hidden, DEMO, say=lambda _: None)
    points = [sum(each.standing.points for each in run) for run in (plain, strict)]
    assert points == pytest.approx([2, 2 * 2 / 3], abs=0.01)


@pytest.mark.slow
def test_a_hidden_score_takes_the_place_of_the_visible_one(tmp_path: Path) -> None:
    submission(tmp_path / "in" / "a.jsonl", {"challenge": "guess = 12"})
    submission(tmp_path / "in" / "b.jsonl", {"challenge": "guess = 0"})
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "99_demo.py").write_text(
        "def challenge_score(guess, ns):\n    return 1.0 if guess % 12 == 0 and guess else 0.0\n"
    )
    graded = collect(tmp_path / "in", tmp_path / "out", hidden, DEMO, say=lambda _: None)
    made = {e.student: e for e in graded if e.exercise.id == "99-challenge"}
    assert {student: e.standing.points for student, e in made.items()} == {"a": 2, "b": 0}
    assert "the baseline 0, the target 0.9" in made["a"].feedback


def test_a_folder_without_anything_to_grade_is_told(tmp_path: Path) -> None:
    with pytest.raises(GradingError, match="There is no folder"):
        collect(tmp_path / "none", tmp_path)
    with pytest.raises(GradingError, match="holds no exported answers"):
        collect(tmp_path, tmp_path)
    (tmp_path / "a.jsonl").write_text("")
    with pytest.raises(GradingError, match="holds no checks"):
        collect(tmp_path, tmp_path, hidden=tmp_path / "none")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("98_demo", "", "98_demo.py belongs to no notebook"),
        ("99_demo", "1/0", "cannot be imported"),
    ],
)
def test_a_mistake_in_hidden_checks_is_told_and_nobody_is_graded_by_it(
    tmp_path: Path, name: str, text: str, said: str
) -> None:
    submission(tmp_path / "in" / "a.jsonl", RIGHT)
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / f"{name}.py").write_text(text)
    with pytest.raises(GradingError, match=said):
        collect(tmp_path / "in", tmp_path / "out", hidden, DEMO, say=lambda _: None)


@pytest.mark.slow
def test_reading_a_store_of_40_files_keeps_them_as_they_are(tmp_path: Path) -> None:
    submission(tmp_path / "a.jsonl", RIGHT)
    before = (tmp_path / "a.jsonl").read_bytes()
    collect(tmp_path, tmp_path / "out", exercises=DEMO, say=lambda _: None)
    assert (tmp_path / "a.jsonl").read_bytes() == before
    assert len(store.read_events(tmp_path / "a.jsonl")[0]) == 7
