"""The process that judges learners' code: what code can do in it, and what it cannot."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from course_utils.grade.check import Result
from course_utils.grade.exercises import Exercise, GradingError, get_exercise
from course_utils.grade.sandbox import Sandbox, can_isolate

DEMO = Path(__file__).parents[1] / "browser" / "exercises"
RIGHT = "return 2 * x"


@pytest.fixture(scope="module")
def code() -> Exercise:
    return get_exercise("99-code", DEMO)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(DEMO) as made:
        yield made


@pytest.fixture
def judge(sandbox: Sandbox, code: Exercise) -> Any:
    def run(body: str) -> Result:
        result = sandbox.judge(code, f"def double(x):\n    {body}\n")
        after = sandbox.judge(code, f"def double(x):\n    {RIGHT}\n")
        assert after.outcome == "passed", "an answer spoiled the next one"
        return result

    return run


@pytest.mark.slow
def test_the_environment_is_out_of_reach(code: Exercise, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "hunter2")
    with Sandbox(DEMO) as fresh:
        for body in ("assert not os.environ", "assert b'hunter2' not in started"):
            text = f"""
import os
started = open("/proc/self/environ", "rb").read() if os.path.exists("/proc") else b""
def double(x):
    {body}, "a secret"
    return 2 * x
"""
            assert fresh.judge(code, text).outcome == "passed"


@pytest.mark.slow
@pytest.mark.skipif(not can_isolate(), reason="this system has no user namespaces")
def test_network_and_files_are_out_of_reach(judge: Any, tmp_path: Path) -> None:
    server = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=lambda: server.accept(), daemon=True).start()
    port = server.getsockname()[1]
    call = f"import socket\n    socket.create_connection(('127.0.0.1', {port}), 1)"
    assert judge(f"{call}\n    return 2 * x").outcome == "error"
    kept = tmp_path / "kept"
    kept.write_text("here")
    remove = f"import os\n    os.remove({str(kept)!r})\n    return 2 * x"
    assert "Read-only" in judge(remove).feedback and kept.exists()


@pytest.mark.slow
def test_what_it_reports_is_not_run(judge: Any) -> None:
    forged = (
        "import os\n"
        "    for number in range(3, 200):\n"
        "        try: os.write(number, b'cos\\nsystem\\n(S\"false\"\\ntR.')\n"
        "        except OSError: pass\n"
        f"    {RIGHT}"
    )
    assert judge(forged).outcome == "error"


@pytest.mark.parametrize(
    "line", ["[1", '["passed"]', '["passed", NaN, ""]', '["won", 1, ""]', '["passed", 1, {}]']
)
def test_a_report_that_is_no_verdict_is_an_error(judge: Any, line: str) -> None:
    report = f"import os\n    os.write(3, {line.encode()!r} + b'\\n')\n    os._exit(0)"
    assert judge(report).outcome == "error"


def test_nothing_is_open_but_the_pipe_for_the_verdict(judge: Any) -> None:
    body = "import os\n    for n in range(6, 300):\n        try: os.fstat(n)\n"
    body += f"        except OSError: continue\n        raise Exception(n)\n    {RIGHT}"
    assert judge(body).outcome == "passed"


@pytest.mark.slow
def test_half_a_report_is_not_waited_for(judge: Any, sandbox: Sandbox) -> None:
    stubborn = "signal.setitimer(signal.ITIMER_REAL, 0)\n    time.sleep(600)"
    half = f"import os, signal, time\n    os.write(3, b'[1,')\n    {stubborn}"
    judge(RIGHT)
    process = sandbox._process
    assert "ended without a verdict" in judge(half).feedback
    assert sandbox._process is process, "the whole sandbox had to be ended"


FORKED = (
    "if os.fork() == 0:\n        os.setsid()\n        {run}\n    time.sleep(0.3)\n    return 2 * x"
)
ITSELF = (
    "import ctypes, signal\n    ctypes.CDLL(None).prctl(1, 0)\n"
    "    signal.setitimer(signal.ITIMER_REAL, 0)\n"
    '    os.write(3, b\'["passed", 1, ""]\\n\')\n    {run}'
)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="only Linux hands over orphans")
@pytest.mark.parametrize("body", [FORKED, ITSELF])
def test_what_an_answer_leaves_behind_is_ended(judge: Any, body: str) -> None:
    mark = "left-behind-" + os.urandom(8).hex()
    run = f"os.execvp('sleep', [{mark!r}, '600'])"
    assert judge("import os, time\n    " + body.format(run=run)).outcome == "passed"
    assert not is_running(mark)


def is_running(mark: str) -> bool:
    """Whether a process was started with this word."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if mark.encode() in path.read_bytes():
                return True
        except OSError:
            continue  # it ended just now
    return False


def wait_for(is_true: Callable[[], bool]) -> None:
    for _ in range(600):
        if is_true():
            return
        time.sleep(0.05)
    raise AssertionError("it never happened")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="only Linux can do this")
def test_an_answer_ends_with_the_sandbox(code: Exercise) -> None:
    mark = "left-behind-" + os.urandom(8).hex()
    text = "import os, signal\ndef double(x):\n    signal.setitimer(signal.ITIMER_REAL, 0)\n"
    text += f"    os.execvp('sleep', [{mark!r}, '600'])\n"
    with Sandbox(DEMO) as fresh:
        thread = threading.Thread(target=fresh.judge, args=(code, text))
        thread.start()
        wait_for(lambda: is_running(mark))
        assert fresh._process is not None
        fresh._process.kill()  # as when `collect` is interrupted
        thread.join()
        wait_for(lambda: not is_running(mark))


@pytest.mark.slow
def test_a_process_that_was_ended_is_started_again(code: Exercise) -> None:
    text = f"def double(x):\n    {RIGHT}\n"
    with Sandbox(DEMO) as fresh:
        assert fresh.judge(code, text).outcome == "passed"
        assert fresh._process is not None
        fresh._process.kill()
        fresh._process.wait()
        assert fresh.judge(code, text).outcome == "passed"


@pytest.mark.slow
def test_exercises_that_cannot_be_loaded_are_no_fault_of_the_learner(
    code: Exercise, tmp_path: Path
) -> None:
    for name in ("99_demo.yaml", "99_demo.py"):
        (tmp_path / name).write_bytes((DEMO / name).read_bytes())
    source = (tmp_path / "99_demo.py").read_text()
    (tmp_path / "99_demo.py").write_text(source.replace('return {"total": 12}', "return 1 / 0"))
    with Sandbox(tmp_path) as fresh, pytest.raises(GradingError, match="cannot be rebuilt"):
        fresh.judge(code, f"def double(x):\n    {RIGHT}\n")
