"""Answers on disk: JSON lines, one event each, only ever appended to.

A line is {"v": 1, "at": UTC time, "key": random, "event": "answer", "exercise": id, "answer": …,
"outcome": …, "credit": …, "feedback": …}, or has the event "hint", "solution", "learner" (with
"name") or "decision" (with "stage" and "answers"). An exported file is the same lines. What cannot
be read is passed over and stays where it is; so does what a newer version wrote.

COURSE_ANSWERS names the folder; the default is the platform's user data folder.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import filelock
import platformdirs

from course_utils.grade.exercises import GradingError

VERSION = 1
Event = dict[str, Any]
EVENTS = ("answer", "hint", "solution", "learner", "decision")
OUTCOMES = ("passed", "partial", "failed", "error", "unattempted")
LONGEST_LINE = 1_000_000


def answers_file() -> Path:
    """The file of this user's answers; its folder is made when missing.

    Raises:
        GradingError: it cannot be made.
    """
    default = platformdirs.user_data_dir("rag-or-finetuning")
    folder = Path(os.environ.get("COURSE_ANSWERS") or default).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise GradingError(
            f"The folder {folder} for your answers cannot be made ({error.strerror}); "
            "set COURSE_ANSWERS to a folder you can write to."
        ) from error
    return folder / "answers.jsonl"


def record_event(event: str, exercise: str = "", **fields: Any) -> Event:
    """Append one event and return it; it is on disk when this returns.

    Raises:
        GradingError: it could not be written.
    """
    at = datetime.now(UTC).isoformat(timespec="microseconds")
    made = {"v": VERSION, "at": at, "key": uuid.uuid4().hex, "event": event, "exercise": exercise}
    made |= fields
    _append(answers_file(), [made])
    return made


def read_events(path: Path | None = None) -> tuple[list[Event], int]:
    """The events of a file, the oldest first, and how many of its lines could not be read.

    Args:
        path: default this user's; a missing one has no events.

    Raises:
        GradingError: the file is there and cannot be opened.
    """
    path = path or answers_file()
    try:
        lines = path.read_bytes().split(b"\n") if path.exists() else []
    except OSError as error:
        raise GradingError(f"{path} cannot be read ({error.strerror}).") from error
    events = [_event(line) for line in lines if line.strip()]
    good = [event for event in events if event is not None]
    return merge_events(good), len(events) - len(good)


def merge_events(*histories: Iterable[Event]) -> list[Event]:
    """The union of histories, the oldest event first; the order of the histories is no matter."""
    unique = {canonical(event): event for history in histories for event in history}
    return [unique[text] for text in sorted(unique, key=lambda text: (unique[text]["at"], text))]


def canonical(event: Event) -> str:
    """An event as its one line of text."""
    return json.dumps(event, sort_keys=True)


def import_events(path: Path) -> int:
    """Append what an exported file has and this user's does not; returns how many.

    Raises:
        GradingError: there is no such file, or nothing in it can be read.
    """
    if not path.is_file():
        raise GradingError(f"There is no file {path}.")
    theirs, unread = read_events(path)
    if unread and not theirs:
        raise GradingError(f"{path.name} holds no answers of this course; was it exported from it?")
    known = {canonical(event) for event in read_events()[0]}
    fresh = [event for event in theirs if canonical(event) not in known]
    _append(answers_file(), fresh)
    return len(fresh)


def export_text(events: Sequence[Event]) -> str:
    """Events as the text of an exported file."""
    return "".join(canonical(event) + "\n" for event in merge_events(events))


def learner_name(events: Iterable[Event]) -> str:
    """The name that was given last, "" when none was."""
    names = [str(event.get("name", "")) for event in events if event["event"] == "learner"]
    return names[-1].strip()[:100] if names else ""


def _append(path: Path, events: Sequence[Event]) -> None:
    text = "".join(canonical(event) + "\n" for event in events).encode()
    try:
        with filelock.FileLock(f"{path}.lock", timeout=20), path.open("a+b") as file:
            file.seek(0, os.SEEK_END)
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":  # the last line was cut off
                    text = b"\n" + text
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except (OSError, filelock.Timeout) as error:
        raise GradingError(f"Your answer could not be saved to {path} ({error}).") from error


def _event(line: bytes) -> Event | None:
    """A line as an event with every field in its range; None when it is not one of ours."""
    try:
        made: Any = json.loads(line) if len(line) <= LONGEST_LINE else None
        canonical(made)  # nested too deep to be written again
    except (ValueError, RecursionError):
        return None
    if not isinstance(made, dict):
        return None
    made = {"v": 0, "at": "", "key": "", "event": "answer", "exercise": ""} | made  # version 0
    texts = all(isinstance(made[field], str) for field in ("at", "key", "event", "exercise"))
    if not texts or made["v"] not in (0, VERSION) or made["event"] not in EVENTS:
        return None
    if made["event"] == "answer":
        if not made["exercise"] or "answer" not in made:
            return None
        credit: Any = made.get("credit", 0.0)
        number = isinstance(credit, int | float) and credit == credit  # NaN is not
        made["credit"] = float(min(max(credit, 0), 1)) if number else 0.0
        known = made.get("outcome") in OUTCOMES
        made["outcome"] = made["outcome"] if known else "error"
        made["feedback"] = str(made.get("feedback", ""))
    return made
