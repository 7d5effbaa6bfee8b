"""Judging learners' code: one clean process, which forks a child for each answer.

``Sandbox`` starts ``python -m course_utils.grade.sandbox`` and sends it answers as lines of JSON.
That process imports the exercises and rebuilds their names once, then forks a child for each
answer, so a child starts at once with all names. Three rules keep this safe:

- One thread. A forked child hangs in its first parallel operation if its parent has used OpenMP's
  threads, as torch does. The process is started with one thread for every library, and not forked
  from the instructor's process, which may have run anything.
- An environment without secrets. A child can read what its process was started with in
  ``/proc/self/environ``, whatever it clears later. So the process gets little (``ENVIRONMENT``).
- A child shares nothing with anyone but one pipe for its own verdict. It has limits on time and
  memory; on Linux with user namespaces it has no network, sees all files read-only and reaches no
  other process (see ``can_isolate``).

Where the system cannot fork (Windows), each answer gets a fresh process instead.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import select
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import IO, Any

from course_utils.grade.check import Result, grade
from course_utils.grade.confinement import adopt_orphans, confine, end_all, isolate, silence_streams
from course_utils.grade.exercises import (
    EXERCISES,
    Exercise,
    GradingError,
    load_exercises,
    module_at,
    rebuilt_names,
)
from course_utils.grade.store import OUTCOMES

START = 300.0  # seconds for the imports and names of one notebook, on a slow machine
GRACE = 5.0  # seconds that a child gets beyond the exercise's own
LONGEST_VERDICT = 100_000
LONGEST_FEEDBACK = 5000
NO_VERDICT = Result(
    "error", 0.0, "Its process ended without a verdict: too long, or too much memory."
)
ENVIRONMENT = (
    *("PATH", "PYTHONPATH", "HOME", "USERPROFILE", "LANG", "LC_ALL", "TMPDIR", "TEMP", "TMP"),
    *("XDG_CACHE_HOME", "XDG_DATA_HOME", "LOCALAPPDATA", "SYSTEMROOT", "LD_LIBRARY_PATH"),
)
ONE_THREAD = {
    **dict.fromkeys(
        ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1"
    ),
    **{"VECLIB_MAXIMUM_THREADS": "1", "RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"},
}


class Sandbox:
    """Judges code answers in a process of their own, one after another.

    Example:
        with Sandbox() as sandbox:
            result = sandbox.judge(exercise, "def cut(text): ...")
    """

    def __init__(self, exercises: Path = EXERCISES, hidden: Path | None = None) -> None:
        """Nothing is started before the first answer.

        Args:
            exercises: the folder of definitions.
            hidden: a folder with more checks.
        """
        self._command = [sys.executable, "-P", "-m", "course_utils.grade.sandbox"]
        self._command += ["--exercises", str(Path(exercises).resolve())]
        self._command += ["--hidden", str(hidden.resolve())] if hidden else []
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: IO[bytes] | None = None

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def judge(self, exercise: Exercise, answer: Any) -> Result:
        """Judge one answer.

        Args:
            exercise: one of the folder's code exercises.
            answer: plain data, as JSON can hold it.

        Returns:
            The verdict; an "error" if the answer's process ended without one.

        Raises:
            GradingError: the exercises or the hidden checks cannot be loaded.
        """
        request = json.dumps({"id": exercise.id, "answer": answer}).encode() + b"\n"
        ready = self._ask(request)
        if ready is None:
            said = self._last_error()
            self.close()
            raise GradingError(f"The process that judges code did not start: {said}.")
        if fault := json.loads(ready).get("fault"):
            raise GradingError(fault)
        verdict = self._reply(exercise.seconds + 2 * GRACE)
        if verdict is None or not hasattr(os, "fork"):
            self.close()
        return _verdict(verdict or b"") or NO_VERDICT

    def close(self) -> None:
        """End the process; the next answer would start another."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout, self._errors):
                with contextlib.suppress(OSError):  # what was not sent cannot be flushed any more
                    stream.close() if stream else None

    def _ask(self, request: bytes) -> bytes | None:
        """Send a request; the answer is a line once the exercise's names are ready."""
        if self._process is not None and self._process.poll() is not None:
            self.close()
        if self._process is None:
            self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (close ends it)
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env=_environment(),
            )
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(request)
            self._process.stdin.flush()
        except OSError:
            return None
        return self._reply(START)

    def _reply(self, seconds: float) -> bytes | None:
        """The next line from the process; None if it ended, or was ended because it took longer."""
        assert self._process is not None and self._process.stdout is not None
        alarm = threading.Timer(seconds, self._process.kill)  # a pipe cannot be polled on Windows
        alarm.start()
        try:
            line = self._process.stdout.readline()
        finally:
            alarm.cancel()
        return line if line.endswith(b"\n") else None

    def _last_error(self) -> str:
        if self._errors is None:
            return "no reason known"
        self._errors.seek(0)
        lines = self._errors.read()[-2000:].decode("utf8", "replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "it took too long")


def _environment() -> dict[str, str]:
    """What the process is started with: what Python and the course need, and nothing else."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name.upper() in ENVIRONMENT or name.startswith("COURSE_")
    }
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join([root, *filter(None, [kept.get("PYTHONPATH")])])
    return {**kept, "PYTHONPATH": path, **ONE_THREAD}


def _verdict(line: bytes) -> Result | None:
    """What a process reported, read as JSON and checked; None if it is not a verdict."""
    try:
        outcome, credit, feedback = json.loads(line)
        credit = float(credit)
    except (ValueError, TypeError, RecursionError, OverflowError):
        return None
    if outcome not in OUTCOMES or not math.isfinite(credit) or not isinstance(feedback, str):
        return None
    return Result(outcome, min(max(credit, 0.0), 1.0), feedback[:LONGEST_FEEDBACK])


def _line(result: Result) -> bytes:
    text = json.dumps([result.outcome, result.credit, result.feedback[:LONGEST_FEEDBACK]])
    return text.encode() + b"\n"


@lru_cache
def can_isolate() -> bool:
    """Whether code can be run without a network, with files read-only and processes out of reach.

    This tries it, with the very calls that an answer's process makes.
    """
    command = [sys.executable, "-P", "-m", "course_utils.grade.sandbox", "--probe"]
    done = subprocess.run(command, capture_output=True, env=_environment())
    return done.returncode == 0


# --- the process ----------------------------------------------------------------------------------


def serve(exercises: Path, hidden: Path | None) -> None:
    """Judge answers from standard input until it ends; only this process's parent calls it.

    Args:
        exercises: the folder of definitions.
        hidden: a folder with more checks.
    """
    replies = os.dup(1)
    silence_streams(1)  # what an import prints must not get among the replies
    adopt_orphans()
    for line in sys.stdin.buffer:
        request = json.loads(line)
        try:
            exercise = load_exercises(exercises)[request["id"]]
            names = rebuilt_names(exercise.module)
            checks = _hidden_module(hidden, exercise.notebook)
            _use_one_thread()
        except Exception as error:
            fault = f"The names for {request['id']} cannot be rebuilt: {error!r}."
            fault = str(error) if isinstance(error, GradingError) else fault
            os.write(replies, json.dumps({"fault": fault}).encode() + b"\n")
            continue
        os.write(replies, b"{}\n")
        if hasattr(os, "fork"):
            result = _judge_in_child(exercise, request["answer"], names, checks)
        else:
            with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
                confine(exercise.seconds, folder)
                result = grade(exercise, request["answer"], names, checks)
                os.chdir(os.path.dirname(folder))  # noqa: PTH120
        os.write(replies, _line(result))


@lru_cache
def _hidden_module(hidden: Path | None, notebook: str) -> ModuleType | None:
    path = hidden / f"{notebook}.py" if hidden else None
    return module_at(path) if path and path.is_file() else None


def _use_one_thread() -> None:
    """Keep torch to one thread even if an exercise's ``names`` asked for more."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)


def _judge_in_child(
    exercise: Exercise, answer: Any, names: Mapping[str, Any], hidden: ModuleType | None
) -> Result:
    """Fork, let the child judge, and read its verdict; never later than the exercise allows."""
    receive, send = os.pipe()
    with tempfile.TemporaryDirectory() as folder:
        child = os.fork()
        if child == 0:
            try:
                os.dup2(send, 3)
                os.closerange(4, os.sysconf("SC_OPEN_MAX"))  # the replies above all
                confine(exercise.seconds, folder)
                os.write(3, _line(grade(exercise, answer, names, hidden)))
            finally:
                os._exit(0)
        os.close(send)
        try:
            line = _read_line(receive, time.monotonic() + exercise.seconds + GRACE)
        finally:
            os.close(receive)
            end_all(child)
    return _verdict(line) or NO_VERDICT


def _read_line(pipe: int, deadline: float) -> bytes:
    """What a child writes up to the end of its line, and until the deadline at most.

    The child may write half a line and sleep, or leave the pipe open in a process of its own.
    """
    line = b""
    while b"\n" not in line and len(line) <= LONGEST_VERDICT:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([pipe], [], [], left)[0]:
            return b""
        part = os.read(pipe, 65_536)
        if not part:
            break
        line += part
    return line


def _main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--exercises", type=Path)
    parser.add_argument("--hidden", type=Path)
    parser.add_argument("--probe", action="store_true")
    asked = parser.parse_args()
    if asked.probe:
        sys.exit(0 if sys.platform == "linux" and isolate() else 1)
    serve(asked.exercises, asked.hidden)


if __name__ == "__main__":
    _main()
