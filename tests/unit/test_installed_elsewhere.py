"""The package where something is missing: a dependency, or the repository around it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# A finder that plays a package that is not installed.
BLOCK = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] == {name!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
"""


def run_python(code: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    own = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | env
    # Without -P the editable install would not be hidden by the folder we stand in.
    run = [sys.executable, "-c", code]
    return subprocess.run(run, cwd=cwd, env=own, capture_output=True, text=True)


@pytest.mark.parametrize(
    "name", ["faiss", "bm25s", "torch", "llama_index", "pytrec_eval", "psutil", "matplotlib"]
)
def test_the_environment_is_checked_without_a_package(name: str, tmp_path: Path) -> None:
    code = BLOCK.format(name=name) + (
        "from course_utils.lab import environment\n"
        "for check in environment.run_checks(): print(check.name, check.well, check.said)\n"
    )
    done = run_python(code, ROOT, COURSE_CACHE=str(tmp_path), COURSE_ANSWERS=str(tmp_path))
    assert done.returncode == 0, done.stderr
    rows = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert {"Python", "Packages", "Models", "Memory", "Fonts", "Answers"} <= set(rows)
    if name in ("psutil", "matplotlib"):
        assert f"False {name} is missing: run" in done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a wheel brings: the package alone."""
    folder = tmp_path_factory.mktemp("site")
    skip = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "course_utils", folder / "course_utils", ignore=skip)
    return folder


@pytest.mark.slow
def test_every_module_can_be_imported_without_the_repository(installed: Path) -> None:
    code = (
        "import importlib, pkgutil, course_utils\n"
        "for each in pkgutil.walk_packages(course_utils.__path__, 'course_utils.'):\n"
        "    if not each.name.endswith('__main__'): importlib.import_module(each.name)\n"
        "print(course_utils.__file__)"
    )
    done = run_python(code, installed)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().startswith(str(installed))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("decide --template", None),  # works: its data is in the package
        ("lab", "notebooks is not here"),
        ("run 01", "notebooks is not here"),
        ("grade collect .", "exercises is not here"),
        ("experiment tickets", "experiments is not here"),
    ],
)
def test_a_command_works_or_says_what_it_needs(
    installed: Path, tmp_path: Path, command: str, said: str | None
) -> None:
    (tmp_path / "me.jsonl").write_text("")
    own = os.environ | {
        "PYTHONPATH": str(installed),
        "COURSE_CACHE": str(tmp_path / "cache"),
        "PIP_NO_INDEX": "1",
    }
    run = [sys.executable, "-m", "course_utils", *command.split()]
    done = subprocess.run(run, cwd=tmp_path, env=own, capture_output=True, text=True)
    if said is None:
        assert done.returncode == 0 and "answers:" in done.stdout, done.stderr
        return
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert said in done.stderr and "clone it" in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.slow
def test_loading_data_without_the_repository_says_so(installed: Path) -> None:
    code = (
        "from course_utils.files import CourseError\n"
        "from course_utils.tasks import emails, handbook, law, tickets\n"
        "for load in (emails.load_emails, emails.guide_rules, handbook.load_handbook,\n"
        "    handbook.load_questions, law.load_cases, law.house_form, tickets.load_tickets,\n"
        "    tickets.ticket_schema):\n"
        "    try: load(); print('loaded?', load)\n"
        "    except CourseError as error: assert 'clone it' in str(error), error\n"
    )
    done = run_python(code, installed)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr + done.stdout
