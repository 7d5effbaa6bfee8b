"""Run benchmarks, each in a process of its own, and write results.json and the README's table.

    python -m benchmarks [NAME …] [--small]

All of them when no name is given. ``--small`` tries every one for seconds and writes nothing.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import measure

NAMES = sorted(
    path.stem
    for path in measure.FOLDER.glob("*.py")
    if path.stem not in ("__init__", "__main__", "measure")
)
INSTALL = "python -m pip install -c constraints.txt -r benchmarks/requirements.txt"


def main() -> None:
    """Run what is asked for; the exit code is 1 when one of them could not be measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Run benchmarks.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(NAMES)}; all if none")
    parser.add_argument("--small", action="store_true", help="try them, in seconds; write nothing")
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)  # in the child process
    given = parser.parse_args()
    if unknown := sorted(set(given.names) - set(NAMES)):
        parser.error(f"there is no benchmark {unknown[0]!r}; there are {', '.join(NAMES)}")
    if given.into:
        sys.exit(one(given.names[0], given.small, given.into))
    sys.exit(every(given.names or NAMES, given.small))


def one(name: str, small: bool, into: Path) -> int:
    """Measure in this process; a missing rival is told in a sentence."""
    try:
        benchmark = importlib.import_module(f"benchmarks.{name}")
    except ModuleNotFoundError as error:
        print(f"{name}: {error.name} is not installed; run `{INSTALL}`.", file=sys.stderr)
        return 1
    made = measure.report(benchmark.measure(small), benchmark.RIVALS)
    into.write_text(json.dumps(made), encoding="utf8")
    return 0


def every(names: list[str], small: bool) -> int:
    """Measure each in a process of its own and store what came back."""
    failed = 0
    for name in names:
        print(f"{name} …", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            into = Path(folder) / "report.json"
            command = [sys.executable, "-m", "benchmarks", name, "--into", str(into)]
            done = subprocess.run(
                command + ["--small"] * small,
                cwd=measure.FOLDER.parent,
                env=os.environ | {"COURSE_PROGRESS": "0"},
            )
            if done.returncode or not into.is_file():
                failed = 1
                continue
            report = json.loads(into.read_text(encoding="utf8"))
        print(measure.markdown({name: report}), flush=True)
        if not small:
            measure.store({name: report})
    return failed


if __name__ == "__main__":
    main()
