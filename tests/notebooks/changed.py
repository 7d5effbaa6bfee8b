"""Which notebooks a change can touch, as an expression for pytest's ``-k``; for ``make quick``.

    python tests/notebooks/changed.py [COMMIT]

Everything that differs from the commit (by default the last one) counts, committed or not. A
notebook is touched by its own files, by every module that it imports, directly or through another,
and by the data sets and the pinned packages.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import course_utils
from course_utils.models.recorded_vectors import read_vectors

ROOT = Path(__file__).parents[2]
SHARED = ("constraints.txt", "datasets/", "notebooks/experiments/results/")
SHARED_BY_TESTS = ("tests/notebooks/limits.py", "tests/notebooks/test_notebooks.py")


def changed_files(commit: str = "HEAD", root: Path = ROOT) -> list[str]:
    """What differs from a commit, as paths in the repository; new files too.

    Raises:
        SystemExit: git does not know the commit.
    """
    found = []
    for command in (["diff", "--name-only", commit], ["ls-files", "-o", "--exclude-standard"]):
        done = subprocess.run(["git", *command], cwd=root, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"git cannot compare with {commit!r}: {done.stderr.strip()}")
        found += done.stdout.splitlines()
    return found


def touched(changed: list[str]) -> list[str]:
    """The numbers of the notebooks that a change of these files can touch."""
    every = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
    if any(path.startswith((*SHARED, *SHARED_BY_TESTS)) for path in changed):
        return [path.name[:2] for path in every]
    return [path.name[:2] for path in every if set(changed) & files_of(path, changed)]


def files_of(notebook: Path, changed: list[str]) -> set[str]:
    """The files behind a notebook; of what is no module, only those in ``changed``."""
    number = notebook.name[:2]
    exercises = ROOT / "notebooks" / "exercises"
    modules = modules_behind([source_of(notebook), *_texts(exercises.glob(f"*{number}*.py"))])
    folders = {str(Path(module).parent) for module in modules}
    own = ("notebooks/" + number, "notebooks/recordings/" + number)
    beside = {
        path
        for path in changed
        if path.startswith(own)
        or (path.startswith("notebooks/exercises/") and number in Path(path).name)
        or (str(Path(path).parent) in folders and not path.endswith(".py"))
        or (path.endswith(".npz") and _needs_vectors(int(number), ROOT / path))
    }
    return modules | beside


def _needs_vectors(number: int, path: Path) -> bool:
    if not path.exists():  # it is what was deleted
        return True
    return any(bits >> number & 1 for bits in read_vectors(path).needed.values())


def source_of(notebook: Path) -> str:
    """The code of a notebook's cells."""
    cells = json.loads(notebook.read_text(encoding="utf8"))["cells"]
    return "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")


def modules_behind(sources: list[str]) -> set[str]:
    """Our modules that some code imports, directly or through others, as paths."""
    found: set[str] = set()
    waiting = list(sources)
    while waiting:
        for module in imported_modules(waiting.pop()):
            if module not in found:
                found.add(module)
                waiting.append((ROOT / module).read_text(encoding="utf8"))
    return found


def imported_modules(source: str) -> Iterator[str]:
    """Our modules that a file's code imports, inside its functions too, as paths."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("course_utils"):
            for alias in node.names:
                yield from _paths_of(node.module or "", alias.name)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("course_utils"):
                    yield from _paths_of(alias.name, "")


def _paths_of(module: str, name: str) -> Iterator[str]:
    if module == "course_utils" and name in course_utils._HOMES:  # by the front door
        module = f"course_utils.{course_utils._HOMES[name]}"
    for dotted in (module, f"{module}.{name}"):
        path = dotted.replace(".", "/") + ".py"
        if (ROOT / path).is_file():
            yield path


def _texts(paths: Iterator[Path]) -> list[str]:
    return [path.read_text(encoding="utf8") for path in paths]


if __name__ == "__main__":
    numbers = touched(changed_files(sys.argv[1] if len(sys.argv) > 1 else "HEAD"))
    print(" or ".join(f"{number}_" for number in numbers))
