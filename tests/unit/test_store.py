"""The answers file: appended to only, survives damage, merges in any order."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from course_utils.grade import store
from course_utils.grade.exercises import GradingError

ANSWER = {"answer": "a", "outcome": "passed", "credit": 1.0, "feedback": "Yes."}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COURSE_ANSWERS", str(tmp_path / "answers"))
    return tmp_path / "answers"


def test_what_is_recorded_is_read_again_and_lines_are_only_added() -> None:
    store.record_event("answer", "01-x", **ANSWER)
    before = store.answers_file().read_bytes()
    store.record_event("hint", "01-x")
    assert store.answers_file().read_bytes().startswith(before)
    events, unread = store.read_events()
    assert [event["event"] for event in events] == ["answer", "hint"] and unread == 0
    assert events[0]["answer"] == "a" and events[0]["v"] == store.VERSION


def test_the_progress_bars_switch_is_another_variable(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COURSE_PROGRESS", "0")
    assert store.answers_file() == folder / "answers.jsonl"


@pytest.mark.parametrize("keep", range(1, 60, 7))
def test_a_line_cut_off_loses_itself_only(keep: int) -> None:
    store.record_event("answer", "01-x", **ANSWER)
    path = store.answers_file()
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:keep])
    store.record_event("answer", "01-y", **ANSWER)
    events, unread = store.read_events()
    assert [event["exercise"] for event in events] == ["01-x", "01-y"] and unread == 1


DAMAGED: list[bytes] = [
    *(b"", b"{", b"[]", b"null", b"3", b'"x"', b"\xff\xfe\x00", b"\0" * 50, b"{}" * 3),
    *(b"[" * 100_000, b'{"a":' * 5_000 + b"1" + b"}" * 5_000, b"x" * 2_000_000),
    *(
        json.dumps({"v": 1, "at": "", "event": "answer", "exercise": "01-x"} | change).encode()
        for change in (
            *({"event": "dance"}, {"event": 3}, {"v": 99, **ANSWER}, {"v": "1", **ANSWER}),
            *(
                {"exercise": ["01-x"], **ANSWER},
                {"exercise": "", **ANSWER},
                {},
                {"at": 5, **ANSWER},
                {"key": [], **ANSWER},
            ),
        )
    ),
]


@pytest.mark.parametrize("line", DAMAGED, ids=range(len(DAMAGED)))
def test_a_damaged_line_is_passed_over_and_left_where_it_is(line: bytes) -> None:
    store.record_event("answer", "01-x", **ANSWER)
    path = store.answers_file()
    with path.open("ab") as file:
        file.write(line + b"\n")
    store.record_event("answer", "01-y", **ANSWER)
    events, unread = store.read_events()
    assert [event["exercise"] for event in events] == ["01-x", "01-y"]
    assert unread == bool(line) and line in path.read_bytes()


@pytest.mark.parametrize("credit", ["NaN", "Infinity", "-3", '"1"', "null", "[1]", "1" + "0" * 400])
def test_a_credit_out_of_range_is_brought_into_it(credit: str) -> None:
    text = '{"event": "answer", "exercise": "01-x", "answer": 1, "outcome": "won", "credit": %s}'
    store.answers_file().write_text(text % credit)
    [event] = store.read_events()[0]
    assert 0 <= event["credit"] <= 1 and event["outcome"] == "error"


def test_a_line_of_the_first_version_without_number_key_and_time_is_read() -> None:
    line = '{"exercise": "01-x", "answer": "a", "outcome": "passed", "credit": 1}'
    store.answers_file().write_text(line)
    [event] = store.read_events()[0]
    assert event["event"] == "answer" and event["credit"] == 1.0
    assert store.import_events(store.answers_file()) == 0


@pytest.mark.slow
def test_two_processes_write_at_once_and_no_line_is_lost(folder: Path) -> None:
    code = (
        "from course_utils.grade import store\n"
        "for n in range(40): store.record_event('answer', '01-x', answer='x' * 3000, n=n)"
    )
    running = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(3)]
    assert [each.wait() for each in running] == [0, 0, 0]
    events, unread = store.read_events()
    assert len(events) == 120 and unread == 0


def test_an_exported_file_brings_everything_back(tmp_path: Path) -> None:
    store.record_event("answer", "01-x", **ANSWER | {"answer": "\ud800 ü\n"})
    store.record_event("learner", name="Ada Lovelace")
    events = store.read_events()[0]
    exported = tmp_path / "me.jsonl"
    exported.write_text(store.export_text(events), encoding="utf8")
    store.answers_file().unlink()
    assert store.import_events(exported) == 2 and store.import_events(exported) == 0
    assert store.read_events()[0] == events and store.learner_name(events) == "Ada Lovelace"


def test_a_file_of_something_else_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text("hello\n")
    with pytest.raises(GradingError, match=r"x\.jsonl holds no answers"):
        store.import_events(tmp_path / "x.jsonl")
    with pytest.raises(GradingError, match="There is no file"):
        store.import_events(tmp_path / "none.jsonl")


def test_a_folder_that_cannot_be_made_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("COURSE_ANSWERS", str(tmp_path / "file" / "x"))
    with pytest.raises(GradingError, match="set COURSE_ANSWERS"):
        store.record_event("hint", "01-x")


# --- merging --------------------------------------------------------------------------------------

JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)
ANSWERS = st.fixed_dictionaries(
    {
        "v": st.sampled_from([0, 1]),
        "at": st.sampled_from(["", "2026-01-01", "2026-01-02"]),
        "key": st.sampled_from(["k1", "k2"]),
        "event": st.just("answer"),
        "exercise": st.sampled_from(["01-x", "01-y"]),
        "answer": JSON,
        "outcome": st.sampled_from(store.OUTCOMES),
        "credit": st.floats(0, 1),
        "feedback": st.text(max_size=3),
    }
)
HISTORY = st.lists(ANSWERS, max_size=6)


@given(HISTORY, HISTORY, HISTORY)
def test_merging_is_idempotent_commutative_and_associative(a: Any, b: Any, c: Any) -> None:
    merge = store.merge_events
    assert merge(a, a) == merge(a) == merge(merge(a))
    assert merge(a, b) == merge(b, a)
    assert merge(merge(a, b), c) == merge(a, merge(b, c))
    assert len(merge(a, b)) <= len(a) + len(b)


@given(HISTORY)
def test_what_is_written_is_read_as_it_was(history: Any) -> None:
    lines = store.export_text(history).encode().split(b"\n")
    assert store.merge_events([e for e in map(store._event, lines) if e]) == store.merge_events(
        history
    )


@given(st.binary(max_size=200))
def test_no_bytes_make_reading_raise(data: bytes) -> None:
    for line in data.split(b"\n"):
        store._event(line)
