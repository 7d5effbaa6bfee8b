"""The layout: where imports may go, how large things may be, what the front door offers."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

import course_utils

ROOT = Path(course_utils.__file__).resolve().parent
# In the order of the map: a folder imports only from those to its left.
FOLDERS = (
    *("models", "search", "generate", "tune", "evaluate"),
    *("tasks", "decision", "scale", "lab", "project", "grade"),
)
CORE = FOLDERS[:5]
BESIDE = {"__init__", "__main__", "files"}
MOST_CORE_LINES = 3200  # at release 1.0
MOST_LINES = 8_900  # 8,000 at release 1.0, without what only the 135M reader needs (04, 05, 07, 08)
LONGEST_FILE = 350
LONGEST_FUNCTION = 40
FILES = sorted(ROOT.rglob("*.py"))


def docstring_lines(node: ast.AST) -> set[int]:
    """The lines of the docstrings of a module, class or function and of everything inside it."""
    lines: set[int] = set()
    for inner in ast.walk(node):
        kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        if not isinstance(inner, kinds) or ast.get_docstring(inner, clean=False) is None:
            continue
        first = inner.body[0]
        lines.update(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    return lines


def code_lines(text: str, node: ast.AST | None = None) -> int:
    """Lines without blanks, comments and docstrings: of a file, or of one function in it."""
    tree = ast.parse(text)
    skipped = docstring_lines(tree)
    lines = text.splitlines()
    first, last = (node.lineno, node.end_lineno) if node else (1, len(lines))  # type: ignore[attr-defined]
    count = 0
    for number in range(first, last + 1):
        line = lines[number - 1].strip()
        count += bool(line) and not line.startswith("#") and number not in skipped
    return count


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """(line, module) of everything of ours that a file imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("course_utils"):
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"
        elif isinstance(node, ast.Import):
            yield from ((node.lineno, a.name) for a in node.names if "course_utils" in a.name)


def public_names(path: Path) -> Iterator[str]:
    """The public functions, classes and constants that a file defines."""
    for node in ast.parse(path.read_text(encoding="utf8")).body:
        names: list[str] = []
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names = [node.name]
        elif isinstance(node, ast.Assign):
            targets = [t for target in node.targets for t in ast.walk(target)]
            names = [target.id for target in targets if isinstance(target, ast.Name)]
        yield from (name for name in names if not name.startswith("_"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_imports_go_one_way(path: Path) -> None:
    place = path.relative_to(ROOT).parts
    if place[0] in ("__init__.py", "__main__.py"):  # they may import from everywhere
        return
    here = -1 if place[0] == "files.py" else FOLDERS.index(place[0])
    for line, module in imported(path):
        folder = module.split(".")[1]
        assert folder == "files" or folder in FOLDERS, f"{path}:{line}: what is {module}?"
        there = -1 if folder == "files" else FOLDERS.index(folder)
        assert there <= here, f"{path}:{line}: {place[0]} must not import from {folder}."


def test_modules_are_in_the_folders_of_the_map() -> None:
    assert {path.stem for path in ROOT.glob("*.py")} == BESIDE
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == set(FOLDERS)
    rows = [line.split()[0] for line in (course_utils.__doc__ or "").splitlines() if "   " in line]
    assert tuple(row for row in rows if row in FOLDERS) == FOLDERS, "the map has another order"


def test_the_first_five_folders_can_be_read_in_an_afternoon() -> None:
    counts = dict.fromkeys(FOLDERS, 0)
    for path in FILES:
        folder = path.relative_to(ROOT).parts[0]
        if folder in counts:
            counts[folder] += code_lines(path.read_text(encoding="utf8"))
    core = sum(counts[folder] for folder in CORE)
    assert core <= MOST_CORE_LINES, f"{core} lines of code in {', '.join(CORE)}: {counts}"
    assert sum(counts.values()) <= MOST_LINES, counts


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_files_and_functions_are_short(path: Path) -> None:
    text = path.read_text(encoding="utf8")
    assert len(text.splitlines()) <= LONGEST_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            length = code_lines(text, node)
            assert length <= LONGEST_FUNCTION, f"{node.name} has {length} lines of code"


def test_no_public_name_means_two_things() -> None:
    homes: dict[str, list[str]] = defaultdict(list)
    for path in FILES:
        if path.stem != "__init__":
            for name in set(public_names(path)):
                homes[name].append(path.relative_to(ROOT).as_posix())
    twice = {name: places for name, places in homes.items() if len(places) > 1}
    assert not twice


# --- the front door -------------------------------------------------------------------------------


def test_the_front_door_offers_what_it_lists() -> None:
    for name in course_utils.__all__:
        value = getattr(course_utils, name)
        assert value.__doc__, f"{name} has no docstring"
        assert value.__module__.startswith("course_utils."), name
    assert set(course_utils.__all__) == set(course_utils._HOMES)
    assert set(course_utils.__all__) <= set(dir(course_utils))


def test_editors_see_the_same_names_as_programs() -> None:
    tree = ast.parse((ROOT / "__init__.py").read_text(encoding="utf8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {
        alias.name: (node.module or "").removeprefix("course_utils.")
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == course_utils._HOMES


def test_a_name_that_is_not_there_is_told_in_a_sentence() -> None:
    with pytest.raises(AttributeError, match="has no 'Retriever'; it has BM25Retriever"):
        _ = course_utils.Retriever


def test_a_name_of_the_front_door_is_no_folder() -> None:
    """A folder that has been imported would hide the function of the same name."""
    assert not set(course_utils.__all__) & {*FOLDERS, *BESIDE}


def test_importing_the_package_imports_nothing_large() -> None:
    code = "import sys, course_utils; print(*sorted(m.partition('.')[0] for m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    large = {"torch", "numpy", "transformers", "llama_index", "faiss", "peft", "yaml", "tqdm"}
    assert not large & set(done.stdout.split())


def test_the_package_is_typed_and_all_its_data_is_packaged() -> None:
    import tomllib

    project = tomllib.loads((ROOT.parent / "pyproject.toml").read_text(encoding="utf8"))
    declared = project["tool"]["setuptools"]["package-data"]
    data = [p for p in ROOT.rglob("*") if p.is_file() and p.suffix not in (".py", ".pyc")]
    assert ROOT / "py.typed" in data
    for path in data:
        package = ".".join(["course_utils", *path.relative_to(ROOT).parts[:-1]])
        assert path.name in declared.get(package, []), f"{path.name} is not in a built wheel"
