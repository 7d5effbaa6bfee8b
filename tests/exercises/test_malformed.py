"""A hundred malformed answers and progress files: none raises, none loses an attempt."""

from __future__ import annotations

import json
import random
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from course_utils.grade import store, view
from course_utils.grade.check import standing
from course_utils.grade.collect import collect
from course_utils.grade.dashboard import dashboard
from course_utils.grade.exercises import get_exercise, load_exercises

DEMO = Path(__file__).parents[1] / "browser" / "exercises"
RIGHT: dict[str, Any] = {"prediction": "even", "choice": "six", "number": "4"}
RIGHT |= {"answers": ["two", "three"], "code": "def double(x):\n    return 2 * x\n"}
CODE = [
    *("def double(", "double", "double = ", "1/0", "import nothing_like_it", "raise SystemExit"),
    *(
        "raise KeyboardInterrupt",
        "raise BaseException('x')",
        "def double(x): yield",
        "\0",
        "\ud800",
    ),
    *("class double: pass", "async def double(x): ...", "double = double", "exec('double')"),
    *("def double(x):\n\treturn x\n        return y", "x" * 60_000, "(" * 3000, "def double(): 1"),
    *("def double(x): raise x", "double = lambda x: double(x)", "import sys; sys.exit(1)", "⁠"),
    *("from course_utils.grade.check import grade as double", "double = [double for _ in ()]"),
]
NUMBERS = ["", " ", "four", "4,0", "4 4", "nan", "inf", "1e999", "--4", "0x4", "4%%", "٤٫٥", "४x"]
NUMBERS += ["4" * 500, "\0", "\ud800", "1/0", "[4]", "None"]
KEYS: list[Any] = [
    "",
    "Six",
    "six ",
    "seven six",
    6,
    -1,
    None,
    True,
    {},
    [["six"]],
    ["six", "six2"],
]
KEYS += [{"six": 1}, "six" * 1000, [None], "\ud800", 1e308]
MALFORMED = [("code", text) for text in CODE] + [("number", text) for text in NUMBERS]
MALFORMED += [("choice" if n % 2 else "answers", key) for n, key in enumerate(KEYS)]

GOOD = {"v": 1, "at": "2026-01-02T00:00:00", "key": "k2", "event": "answer", "answer": "six"}
GOOD |= {"exercise": "99-choice", "outcome": "passed", "credit": 1.0, "feedback": ""}


def whole(**change: Any) -> bytes:
    return json.dumps(GOOD | change).encode()


def damaged(number: int) -> bytes:
    """A line with bytes changed, cut out or put in, the same ones in every run."""
    draw = random.Random(number)
    line = bytearray(whole())
    for _ in range(draw.randint(1, 5)):
        place = draw.randrange(len(line))
        kind = draw.choice(("change", "cut", "insert"))
        if kind == "change":
            line[place] = draw.randrange(256)
        elif kind == "cut":
            del line[place : place + draw.randint(1, 60)]
            line = line or bytearray(b"{")
        else:
            line[place:place] = draw.randbytes(8)
    return bytes(line)


FILES = [
    *(b"", b"\n" * 50, b"{}", b"[]", b"null", b"\xff\xfe", b"\xef\xbb\xbf" + whole(), b"\0" * 99),
    *(whole().decode().encode("utf-16"), whole()[:-1], whole() * 2, b"[" * 90_000, b"9" * 9_000),
    *(whole(v=99), whole(v=None), whole(event="dance"), whole(exercise=None), whole(at=[1])),
    *(whole(credit="much"), whole(outcome=7), whole(answer={"a": [{}] * 9}), whole(key={})),
    *(whole(exercise="99-gone"), whole(exercise="98-older"), whole(feedback={"a": 1}, v=0)),
    *(
        b'{"exercise": "99-choice"}',
        b'{"answer": "six"}',
        whole(answer="<b>" * 99),
        b"\r" + whole(),
    ),
    *(damaged(number) for number in range(11)),
]
CASES = [*MALFORMED, *(("file", text) for text in FILES)]


@pytest.fixture(autouse=True)
def shell(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(view, "get_ipython", lambda: types.SimpleNamespace(user_ns={"total": 12}))
    monkeypatch.setattr(view, "_open", {})
    yield
    load_exercises.cache_clear()


def test_there_are_a_hundred() -> None:
    assert len(CASES) == 100 and len({repr(case) for case in CASES}) == 100


def press(kind: str, answer: Any) -> Any:
    shown: Any = view.exercise(f"99-{kind}", DEMO)
    shown.given = lambda _: answer
    shown.check_button.click()
    return shown


def points(kind: str) -> float:
    mine = [e for e in store.read_events()[0] if e["exercise"] == f"99-{kind}"]
    return standing(get_exercise(f"99-{kind}", DEMO), mine).points


@pytest.mark.parametrize(("kind", "given"), CASES, ids=range(len(CASES)))
def test_none_raises_and_none_loses_an_attempt(kind: str, given: Any, tmp_path: Path) -> None:
    if kind == "file":
        check_file(given, tmp_path)
        return
    press(kind, RIGHT[kind])
    before, full = store.answers_file().read_bytes(), points(kind)
    assert full > 0
    shown = press(kind, given)
    assert "That did not work" not in shown.feedback.value, shown.feedback.value
    assert any(word in shown.feedback.value for word, _ in view.VERDICTS.values())
    assert "Right." not in shown.feedback.value
    after = store.answers_file().read_bytes()
    assert after.startswith(before) and points(kind) == full
    judged = "Not answered yet" not in shown.feedback.value
    assert len(after.splitlines()) == 1 + judged, "the attempt is not in the file"
    assert store.read_events()[1] == 0
    again: Any = view.exercise(f"99-{kind}", DEMO)  # restores whatever it was
    assert "That did not work" not in again.feedback.value
    board: Any = dashboard("99", DEMO)
    assert "That did not work" not in board.said.value


def check_file(text: bytes, folder: Path) -> None:
    """A damaged file in the place of ours, imported into ours, and handed in."""
    press("choice", RIGHT["choice"])
    path, full = store.answers_file(), points("choice")
    with path.open("ab") as file:
        file.write(text)
    press("number", RIGHT["number"])
    assert text in path.read_bytes()
    assert (points("choice"), points("number")) == (full, 1)
    board: Any = dashboard("99", DEMO)
    assert "of 10 points" in board.table.value and "That did not work" not in board.said.value

    (folder / "in").mkdir()
    other = folder / "in" / "other.jsonl"
    other.write_bytes(text)
    board.load_file({"new": [{"content": text}]}) if store.read_events(other)[0] else None
    (folder / "in" / "mine.jsonl").write_text(
        store.export_text(store.read_events()[0]), encoding="utf8"
    )
    graded = collect(folder / "in", folder / "out", exercises=DEMO, say=lambda _: None)
    mine = {e.exercise.id: e.standing.points for e in graded if e.student == "mine"}
    assert (mine["99-choice"], mine["99-number"]) == (full, 1)
