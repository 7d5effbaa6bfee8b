"""The instructor's side: grade exported files again, from the answers themselves.

Recorded verdicts are not read. Code runs in a process of its own with a time and a memory limit and
without the environment; on Linux with user namespaces also without a network, with all files
read-only, and with no other process in reach. What remains: it can read files that this user can
read, and code that sets out to fool a check in its own process can. Hints and the number of
attempts are as the file says. For strangers' code, run the command in a container.
"""

from __future__ import annotations

import csv
import ctypes
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from course_utils.files import InputError
from course_utils.grading import store
from course_utils.grading.check import Result, Standing, grade, standing
from course_utils.grading.exercises import (
    CODE,
    FOLDER,
    Exercise,
    GradingError,
    load,
    module_at,
    rebuilt_names,
)

GRADEBOOK = "assignment duedate timestamp student_id last_name first_name email"  # as nbgrader's
SCORES = "raw_score late_submission_penalty score max_score"
MEMORY = 1_500_000_000
MOST_TRIED = 10
NEW_NAMESPACES = 0x10000000 | 0x40000000 | 0x20000000 | 0x00020000  # user, net, pid, mount


@dataclass(frozen=True)
class Graded:
    """One exercise of one submission."""

    student: str
    exercise: Exercise
    standing: Standing
    feedback: str
    timestamp: str


def collect(
    folder: Path,
    out: Path,
    hidden: Path | None = None,
    exercises: Path = FOLDER,
    say: Callable[[str], None] = print,
) -> list[Graded]:
    """Grade every exported file of a folder and write the gradebook.

    Args:
        folder: exported files, ``*.jsonl``, in folders of any depth.
        out: where gradebook.csv, exercises.csv and report.json go.
        hidden: a folder with files named like the exercises' own: more checks, which run after
            the others, and scores, which take the place of a challenge's own.
        exercises: the definitions.
        say: told a line for each submission and for whatever looks odd.

    Raises:
        GradingError: a folder is missing, or holds nothing to grade.
    """
    if not folder.is_dir():
        raise GradingError(f"There is no folder {folder}.")
    if hidden and not any(hidden.glob("*.py")):
        raise GradingError(f"{hidden} holds no checks: it needs files such as 03_….py.")
    paths = sorted(path for path in folder.rglob("*.jsonl") if path.is_file())
    if not paths:
        raise GradingError(f"{folder} holds no exported answers (*.jsonl).")
    ids = _student_ids(folder, paths)
    course = load(exercises)
    _try_hidden(hidden, {each.notebook for each in course.values()})
    for module in {each.module for each in course.values()}:
        rebuilt_names(module)  # once, before the processes are forked
    graded: list[Graded] = []
    files: list[dict[str, Any]] = []
    for path in paths:
        events, unread = _read(path)
        files.append({"student": ids[path], "name": store.learner_name(events), "unread": unread})
        files[-1]["keys"] = {event["key"] for event in events if event["event"] == "answer"}
        mine = [_grade_one(ids[path], e, events, hidden, exercises) for e in course.values()]
        graded += mine
        points = sum(each.standing.points for each in mine)
        say(f"{ids[path]}: {points:g} points" + (f", {unread} lines unreadable" if unread else ""))
    notes = _notes(files)
    if not can_isolate():
        notes.append("Learners' code ran with network and files in reach: no namespaces here.")
    for note in notes:
        say(note)
    _write(out, graded, files, notes)
    return graded


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
        path: path.stem
        if stems[path.stem] == 1
        else path.relative_to(folder).with_suffix("").as_posix()
        for path in paths
    }


def _read(path: Path) -> tuple[list[store.Event], int]:
    try:
        return store.read(path)
    except GradingError:
        return [], 1


def _notes(files: Sequence[dict[str, Any]]) -> list[str]:
    """What an instructor should look at: one name in two files, the same answers in two files."""
    notes = []
    for n, one in enumerate(files):
        for other in files[:n]:
            pair = f"{other['student']} and {one['student']}"
            if one["name"] and one["name"] == other["name"]:
                notes.append(f"{pair} carry the same name, {one['name']}; graded separately.")
            if shared := len(one["keys"] & other["keys"] - {""}):
                notes.append(f"{pair} share {shared} answers, copied from one file.")
    return notes


def _grade_one(
    student: str,
    exercise: Exercise,
    events: Sequence[store.Event],
    hidden: Path | None,
    exercises: Path,
) -> Graded:
    """The standing that an exercise's answers earn, judged anew.

    Of each answer only the text is used. An answer is judged once, the newest first, until one
    earns full credit or ten were tried; the rest count as attempts without credit.
    """
    mine = [dict(event) for event in events if event["exercise"] == exercise.id]
    judged: dict[str, Result] = {}
    for event in reversed(mine):
        if event["event"] != "answer":
            continue
        text = json.dumps(event["answer"])
        best = max((result.credit for result in judged.values()), default=0.0)
        if text not in judged and (best == 1 or len(judged) == MOST_TRIED):
            result = Result("failed", 0.0, "Not judged: a later answer counts.")
        else:
            result = judged.get(text) or _judge(exercise, text, hidden, exercises)
            judged[text] = result
        event |= asdict(result)
    answers = [event for event in mine if event["event"] == "answer"]
    shown = max(answers, key=lambda event: (event["credit"], event["at"]), default=None)
    feedback, at = (shown["feedback"], answers[-1]["at"]) if shown else ("", "")
    return Graded(student, exercise, standing(exercise, mine), feedback, at)


@lru_cache(maxsize=10_000)  # many learners give the same answers
def _judge(exercise: Exercise, text: str, hidden: Path | None, exercises: Path) -> Result:
    if exercise.kind not in CODE:
        return grade(exercise, json.loads(text), rebuilt_names(exercise.module))
    return judge_apart(exercise, json.loads(text), hidden, exercises)


# --- a process for each answer --------------------------------------------------------------------


def judge_apart(
    exercise: Exercise, answer: Any, hidden: Path | None = None, exercises: Path = FOLDER
) -> Result:
    """Grade code in a process that can be killed. What it reports is read as JSON, never as code.

    The process is forked where the system can, so that it starts at once with all names made.
    """
    method = "fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn"
    context: Any = multiprocessing.get_context(method)
    receive, send = context.Pipe(duplex=False)
    with tempfile.TemporaryDirectory() as folder:
        arguments = (send, exercise.id, answer, hidden, exercises, folder)
        process = context.Process(target=_child, args=arguments, daemon=True)
        process.start()
        send.close()
        try:
            ready = receive.poll(exercise.seconds + (5 if method == "fork" else 60))
            said: Any = json.loads(receive.recv_bytes(maxlength=100_000)) if ready else None
            result = Result(str(said[0]), min(max(float(said[1]), 0.0), 1.0), str(said[2]))
            if result.outcome not in store.OUTCOMES:
                raise InputError(result.outcome)
        except (EOFError, OSError, ValueError, TypeError, IndexError, KeyError):
            told = "Its process ended without a verdict: too long, or too much memory."
            result = Result("error", 0.0, told)
        finally:
            _end(process)
            receive.close()
    return result


def _child(
    send: Any, id: str, answer: Any, hidden: Path | None, exercises: Path, folder: str
) -> None:
    exercise = load(exercises)[id]
    names = rebuilt_names(exercise.module)
    more = hidden / f"{exercise.notebook}.py" if hidden else None
    module = module_at(more) if more and more.is_file() else None
    _confine(exercise.seconds, folder)
    result = grade(exercise, answer, names, module)
    short = replace(result, feedback=result.feedback[:5000])
    send.send_bytes(json.dumps([short.outcome, short.credit, short.feedback]).encode())
    os._exit(0)


def _confine(seconds: float, folder: str) -> None:
    """Take from this process what an answer does not need, as far as the system allows."""
    os.chdir(folder)
    os.environ.clear()
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    if sys.platform == "win32":
        return
    import resource

    os.setsid()
    if sys.platform == "linux":
        _isolate()
        held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY, held + MEMORY))
    limit = int(seconds) + 2
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _isolate() -> None:
    """Go on in namespaces of our own, where the system has them (see unshare(2))."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(NEW_NAMESPACES) != 0:
        return
    read_only = (ctypes.c_uint64 * 4)(1, 0, 0, 0)
    libc.syscall(442, -100, b"/", 0x8000, read_only, 32)  # mount_setattr, recursive
    if child := os.fork():  # the first process inside is alone there
        os.waitpid(child, 0)
        os._exit(0)
    libc.prctl(1, signal.SIGKILL)  # and dies with us


def can_isolate() -> bool:
    """Whether this system lets code run without network, with files read-only."""
    command = ["unshare", "--map-root-user", "--net", "--pid", "--mount", "--fork", "true"]
    try:
        return subprocess.run(command, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


def _end(process: Any) -> None:
    """End a process and whatever it started."""
    if hasattr(os, "killpg") and process.pid:
        try:
            if os.getpgid(process.pid) == process.pid:  # it left our group
                os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    process.kill()
    process.join()


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
    (out / "report.json").write_text(json.dumps(report, indent=1), encoding="utf8")


def _csv(path: Path, heads: str, rows: Sequence[Sequence[Any]]) -> None:
    with path.open("w", newline="", encoding="utf8") as file:
        writer = csv.writer(file)
        writer.writerow(heads.split())
        for row in rows:
            writer.writerow([_cell(value) for value in row])


def _cell(value: Any) -> Any:
    """A value that no spreadsheet takes for a formula."""
    risky = isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r")
    return f"'{value}" if risky else value
