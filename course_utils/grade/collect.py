"""The instructor's side: grade exported files again, from the answers themselves.

Recorded verdicts are not trusted: every answer is judged again, and the points are the ``standing``
of the history, as in the notebook. Code runs in a ``sandbox``, under limits on time and memory;
on Linux with user namespaces also without a network, with all files read-only, and with no other
process in reach. What remains: it can read files that this user can read, and code that sets out to
fool a check in its own process can. Hints and the number of attempts are as the file says. For
strangers' code, run the command in a container.
"""

from __future__ import annotations

import csv
import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from course_utils.files import replacing, write_text
from course_utils.grade import store
from course_utils.grade.check import Result, Standing, grade, standing
from course_utils.grade.exercises import (
    CODE,
    EXERCISES,
    Exercise,
    GradingError,
    load_exercises,
    module_at,
    rebuilt_names,
)
from course_utils.grade.sandbox import Sandbox, can_isolate

GRADEBOOK = "assignment duedate timestamp student_id last_name first_name email"  # as nbgrader's
SCORES = "raw_score late_submission_penalty score max_score"
PATIENCE = 300.0  # seconds of judging one submission's answers to one exercise


@dataclass(frozen=True)
class Graded:
    """One exercise of one submission; ``unjudged`` answers took no part in it."""

    student: str
    exercise: Exercise
    standing: Standing
    feedback: str
    timestamp: str
    unjudged: int = 0


def collect(
    folder: Path,
    out: Path,
    hidden: Path | None = None,
    exercises: Path = EXERCISES,
    say: Callable[[str], None] = print,
) -> list[Graded]:
    """Grade every exported file of a folder and write the gradebook.

    Args:
        folder: exported files, ``*.jsonl``, in folders of any depth.
        out: where gradebook.csv, exercises.csv and report.json go.
        hidden: a folder with files named like the exercises' own: more checks, which run after
            the others, and scores, which take the place of a challenge's own.
        exercises: the definitions.
        say: called with a line for each submission and for whatever looks odd.

    Returns:
        Each exercise of each submission.

    Raises:
        GradingError: a folder is missing, or holds nothing to grade.
    """
    paths = _submissions(folder, hidden)
    ids = _student_ids(folder, paths)
    course = load_exercises(exercises)
    _try_hidden(hidden, {each.notebook for each in course.values()})
    graded: list[Graded] = []
    files: list[dict[str, Any]] = []
    with Judge(exercises, hidden) as judge:
        for path in paths:
            events, unread = _read(path)
            files.append(_facts(ids[path], events, unread))
            mine = [grade_exercise(ids[path], each, events, judge) for each in course.values()]
            graded += mine
            points = sum(each.standing.points for each in mine)
            unreadable = f", {unread} lines unreadable" if unread else ""
            say(f"{ids[path]}: {points:g} points{unreadable}")
    notes = _notes(files, graded)
    for note in notes:
        say(note)
    _write(out, graded, files, notes)
    return graded


def _submissions(folder: Path, hidden: Path | None) -> list[Path]:
    if not folder.is_dir():
        raise GradingError(f"There is no folder {folder}.")
    if hidden and not any(hidden.glob("*.py")):
        raise GradingError(f"{hidden} holds no checks: it needs files such as 03_….py.")
    paths = sorted(path for path in folder.rglob("*.jsonl") if path.is_file())
    if not paths:
        raise GradingError(f"{folder} holds no exported answers (*.jsonl).")
    return paths


def _try_hidden(hidden: Path | None, notebooks: set[str]) -> None:
    """Import hidden checks once, so that a mistake in them is told and not charged to learners."""
    for path in sorted(hidden.glob("*.py")) if hidden else ():
        if path.stem not in notebooks:
            raise GradingError(
                f"{path.name} belongs to no notebook; there are {', '.join(sorted(notebooks))}."
            )
        module_at(path)


def _student_ids(folder: Path, paths: Sequence[Path]) -> dict[Path, str]:
    """A file's name, or its path where two files have one name."""
    stems = Counter(path.stem for path in paths)
    return {
        path: _readable(path.stem)
        if stems[path.stem] == 1
        else _readable(path.relative_to(folder).with_suffix("").as_posix())
        for path in paths
    }


def _read(path: Path) -> tuple[list[store.Event], int]:
    try:
        return store.read_events(path)
    except GradingError:
        return [], 1


def _facts(student: str, events: Sequence[store.Event], unread: int) -> dict[str, Any]:
    keys = {event["key"] for event in events if event["event"] == "answer"}
    name = _readable(store.learner_name(events))
    return {"student": student, "name": name, "unread": unread, "keys": keys}


def _notes(files: Sequence[dict[str, Any]], graded: Sequence[Graded]) -> list[str]:
    """What an instructor should look at: files that share something, and what was not judged."""
    notes = [
        f"{each.student}: {each.unjudged} answers to {each.exercise.id} were not judged, because "
        f"the others took more than {PATIENCE:g} seconds; they count as if never given."
        for each in graded
        if each.unjudged
    ]
    if not can_isolate():
        notes.append("Learners' code ran with network and files in reach: no namespaces here.")
    for n, one in enumerate(files):
        for other in files[:n]:
            pair = f"{other['student']} and {one['student']}"
            if one["name"] and one["name"] == other["name"]:
                notes.append(f"{pair} carry the same name, {one['name']}; graded separately.")
            if shared := len(one["keys"] & other["keys"] - {""}):
                notes.append(f"{pair} share {shared} answers, copied from one file.")
    return notes


# --- judging --------------------------------------------------------------------------------------


class Judge:
    """Judges answers from their text, each text once, for all submissions of one ``collect``.

    Answers that are data cost next to nothing and are judged here; code goes to a sandbox.
    """

    def __init__(self, exercises: Path = EXERCISES, hidden: Path | None = None) -> None:
        """Nothing is started before the first code answer.

        Args:
            exercises: the folder of definitions.
            hidden: a folder with more checks.
        """
        self.sandbox = Sandbox(exercises, hidden)
        self.known: dict[tuple[str, bytes], Result] = {}

    def __enter__(self) -> Judge:
        return self

    def __exit__(self, *_: Any) -> None:
        self.sandbox.close()

    def verdict(self, exercise: Exercise, text: str) -> Result:
        """Judge one answer; many learners give the same ones, so verdicts are kept.

        Args:
            exercise: the exercise that was answered.
            text: the answer as JSON.

        Returns:
            The verdict.

        Raises:
            GradingError: the exercises or the hidden checks cannot be loaded.
        """
        key = (exercise.id, hashlib.sha256(text.encode()).digest())
        if key not in self.known:
            answer = json.loads(text)
            if exercise.kind in CODE:
                self.known[key] = self.sandbox.judge(exercise, answer)
            else:
                self.known[key] = grade(exercise, answer, rebuilt_names(exercise.module))
        return self.known[key]

    def verdicts(self, exercise: Exercise, answers: Sequence[store.Event]) -> dict[str, Result]:
        """Judge all different answers that a submission gives to an exercise.

        A submission may be hostile and hold thousands of answers that never end, so no more are
        begun after ``PATIENCE`` seconds. Those that the file calls best come first: an honest
        learner loses no points even then. What the file claims decides nothing else, and the first
        of them is judged in any case.

        Args:
            exercise: the exercise that was answered.
            answers: its answer events, the oldest first.

        Returns:
            A verdict for each answer that was judged, by its JSON.
        """
        start = time.monotonic()
        judged: dict[str, Result] = {}
        for event in sorted(answers, key=lambda event: -event["credit"]):
            text = json.dumps(event["answer"])
            late = time.monotonic() - start > PATIENCE
            if text not in judged and not (late and judged):
                judged[text] = self.verdict(exercise, text)
        return judged


def grade_exercise(
    student: str, exercise: Exercise, events: Sequence[store.Event], judge: Judge
) -> Graded:
    """What a submission earns for one exercise: the standing of its history, judged again.

    Every answer is judged, because the points depend on when it was given: a right answer counts
    for less after a hint and for nothing after the solution, so neither the newest nor the best one
    decides alone. An answer that was not judged is left out of the history, so that it is neither
    an attempt nor a failure.

    Args:
        student: the submission's id.
        exercise: one exercise of the course.
        events: the submission's events, the oldest first; only those of the exercise are read.
        judge: judges the answers.

    Returns:
        The points, and the feedback to the best answer.
    """
    mine = [event for event in events if event["exercise"] == exercise.id]
    answers = [event for event in mine if event["event"] == "answer"]
    verdicts = judge.verdicts(exercise, answers)
    history = []
    for event in mine:
        if event["event"] != "answer":
            history.append(event)
        elif verdict := verdicts.get(json.dumps(event["answer"])):
            history.append(event | asdict(verdict))
    judged = [event for event in history if event["event"] == "answer"]
    best = max(judged, key=lambda event: (event["credit"], event["at"]), default=None)
    return Graded(
        student,
        exercise,
        standing(exercise, history),
        feedback=best["feedback"] if best else "",
        timestamp=answers[-1]["at"] if answers else "",
        unjudged=len(answers) - len(judged),
    )


# --- what is written ------------------------------------------------------------------------------


def _write(
    out: Path, graded: Sequence[Graded], files: Sequence[dict[str, Any]], notes: Sequence[str]
) -> None:
    out.mkdir(parents=True, exist_ok=True)
    sums: dict[tuple[str, str], list[Graded]] = {}
    for each in graded:
        sums.setdefault((each.exercise.notebook, each.student), []).append(each)
    names = {file["student"]: file["name"] for file in files}
    rows = []
    for (notebook, student), parts in sorted(sums.items()):
        first, _, last = names[student].rpartition(" ")
        score = round(sum(part.standing.points for part in parts), 2)
        most = sum(part.exercise.points for part in parts)
        at = max(part.timestamp for part in parts)
        rows.append([notebook, "", at, student, last, first, "", score, 0.0, score, most])
    _csv(out / "gradebook.csv", f"{GRADEBOOK} {SCORES}", rows)
    heads = "student_id exercise kind outcome points max_points attempts hints solution_shown"
    detail = [
        [
            *(e.student, e.exercise.id, e.exercise.kind, s.outcome, s.points, e.exercise.points),
            *(s.attempts, s.hints, s.shown, e.feedback),
        ]
        for e in graded
        for s in [e.standing]
    ]
    _csv(out / "exercises.csv", f"{heads} feedback", detail)
    report = {
        "notes": list(notes),
        "submissions": [{k: v for k, v in file.items() if k != "keys"} for file in files],
        "exercises": [
            {"student": e.student, "exercise": e.exercise.id, **asdict(e.standing)}
            | {"feedback": e.feedback, "timestamp": e.timestamp}
            for e in graded
        ],
    }
    write_text(out / "report.json", json.dumps(report, indent=1))


def _csv(path: Path, heads: str, rows: Sequence[Sequence[Any]]) -> None:
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf8") as file:
        writer = csv.writer(file)
        writer.writerow(heads.split())
        for row in rows:
            writer.writerow([_cell(value) for value in row])


def _cell(value: Any) -> Any:
    """A value that no spreadsheet takes for a formula."""
    if not isinstance(value, str):
        return value
    risky = value[:1] in ("=", "+", "-", "@", "\t", "\r")
    return _readable(f"'{value}" if risky else value)


def _readable(text: str) -> str:
    """Text without lone surrogates, which cannot be written as UTF-8."""
    return text.encode("utf8", "replace").decode("utf8")
