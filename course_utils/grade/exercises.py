"""Exercises: what is asked, in YAML, and the functions beside it that know the answer.

``notebooks/exercises/NN_name.yaml`` holds the words, ``NN_name.py`` the functions. They belong to
an exercise by name: for "03-rrf" the module has ``rrf_solution``, and may have ``rrf_wrong``,
``rrf_check``, ``rrf_check_…``, ``rrf_score`` and ``rrf_baseline`` (see CONTRIBUTING.md).
"""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema
import yaml

from course_utils.files import NOTEBOOKS, CourseError, in_repository

EXERCISES = NOTEBOOKS / "exercises"
EXERCISE_SCHEMA = Path(__file__).with_name("schema.json")
CHOICES = ("prediction", "choice", "answers")
CODE = ("code", "challenge")
ATTEMPTS = {"prediction": 1, "choice": 2, "answers": 3, "number": 5}


class GradingError(CourseError):
    """A definition, a file or a folder is wrong; the message says which and what to do."""


class MissingName(Exception):  # noqa: N818
    """A solution reads a name that the notebook has not made yet."""

    def __str__(self) -> str:
        return f"`{self.args[0]}` is not there yet: run the notebook from the top, then try again."


class Names:
    """The names of a notebook as attributes: ``ns.pages`` is the notebook's ``pages``."""

    def __init__(self, names: Mapping[str, Any]) -> None:
        self._names = names

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name not in self._names:
            raise MissingName(name)
        return self._names[name]


@dataclass(frozen=True)
class Option:
    """One answer on offer; ``feedback`` says why it is right or wrong."""

    key: str
    text: str
    feedback: str


@dataclass(frozen=True)
class Exercise:
    """One exercise: its words, and the module that holds its functions.

    ``answer`` is the name of the notebook's variable or function that is graded ("code" and
    "challenge"); ``attempts`` are those that count, None for any number; ``seconds`` is the time
    limit of a check.
    """

    id: str
    kind: str
    title: str
    question: str
    points: int
    notebook: str
    module: ModuleType
    explanation: str
    hints: tuple[str, ...] = ()
    options: tuple[Option, ...] = ()
    tolerance: float = 0.0
    answer: str = ""
    attempts: int | None = None
    seconds: float = 10.0

    @property
    def stem(self) -> str:
        return self.id.partition("-")[2].replace("-", "_")

    def function(self, role: str, module: ModuleType | None = None) -> Callable[..., Any] | None:
        """The exercise's function of a role ("solution", "wrong", …), None when it has none."""
        return getattr(module or self.module, f"{self.stem}_{role}", None)

    def checks(self, module: ModuleType | None = None) -> list[Callable[..., Any]]:
        """The tests of a code exercise, in the order in which they are written."""
        names = vars(module or self.module)
        pattern = re.compile(rf"{self.stem}_check(_\w+)?")
        return [made for name, made in names.items() if pattern.fullmatch(name)]

    @cached_property
    def solution_text(self) -> str:
        """The solution of a code exercise as text that defines ``answer``."""
        return definition(self.answer, self.function("solution"))


def definition(name: str, value: Any) -> str:
    """Source text that defines ``name``: a function's own, renamed, or plain data."""
    import inspect
    import textwrap

    if not callable(value):
        return f"{name} = {value!r}\n"
    text = textwrap.dedent(inspect.getsource(value))
    return re.sub(rf"\bdef {value.__name__}\b", f"def {name}", text, count=1)


@lru_cache
def load_exercises(folder: Path = EXERCISES) -> dict[str, Exercise]:
    """Every exercise of a folder by id, in reading order.

    Raises:
        GradingError: a definition is wrong; the message names file and exercise.
    """
    if Path(folder) == EXERCISES:
        in_repository(EXERCISES)
    found: dict[str, Exercise] = {}
    for path in sorted(Path(folder).glob("*.yaml")):
        for exercise in _read(path):
            if exercise.id in found:
                raise GradingError(f"{path.name}, {exercise.id}: this id is used twice.")
            found[exercise.id] = exercise
    return found


def get_exercise(id: str, folder: Path = EXERCISES) -> Exercise:
    """One exercise.

    Raises:
        GradingError: there is none of this id, or a definition is wrong.
    """
    known = load_exercises(Path(folder))
    if id not in known:
        raise GradingError(f"There is no exercise {id!r}; there are {', '.join(known) or 'none'}.")
    return known[id]


def module_at(path: Path) -> ModuleType:
    """Import a file that lies outside every package."""
    spec = importlib.util.spec_from_file_location(f"exercises_{path.stem}", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise GradingError(f"{path.name} is missing: it holds the solutions and the checks.")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise GradingError(f"{path.name} cannot be imported: {error!r}.") from error
    return module


@lru_cache
def rebuilt_names(module: ModuleType) -> Mapping[str, Any]:
    """What a module's exercises read from their notebook, made without it and without weights."""
    make = getattr(module, "names", None)
    return make() if make else {}


def stored_output(notebook: str, cell: str) -> str:
    """The text that a notebook's cell printed in the stored run (which nbval compares)."""
    cells = json.loads((NOTEBOOKS / f"{notebook}.ipynb").read_text(encoding="utf8"))["cells"]
    outputs = next(each["outputs"] for each in cells if each.get("id") == cell)
    return "".join("".join(output.get("text", [])) for output in outputs)


def _read(path: Path) -> list[Exercise]:
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise GradingError(f"{path.name} is not YAML: {' '.join(str(error).split())}.") from error
    schema = json.loads(EXERCISE_SCHEMA.read_text(encoding="utf8"))
    validator = jsonschema.Draft202012Validator(schema)
    if fault := jsonschema.exceptions.best_match(validator.iter_errors(raw)):
        raise GradingError(f"{path.name}{_where(raw, list(fault.absolute_path))}: {fault.message}.")
    module = module_at(path.with_suffix(".py"))
    made = [_exercise(record, path.stem, module) for record in raw["exercises"]]
    for exercise in made:
        if wrong := _fault(exercise):
            raise GradingError(f"{path.name}, {exercise.id}: {wrong}.")
    return made


def _where(raw: Any, place: list[Any]) -> str:
    if place[:1] != ["exercises"] or len(place) < 2:
        return "".join(f", {part}" for part in place)
    record = raw["exercises"][place[1]]
    name = record.get("id") if isinstance(record, dict) else None
    rest = "".join(f", {part}" for part in place[2:])
    return f", {name or f'exercise number {place[1] + 1}'}{rest}"


def _exercise(record: dict[str, Any], notebook: str, module: ModuleType) -> Exercise:
    fields = record | {
        "options": tuple(Option(**option) for option in record.get("options", ())),
        "hints": tuple(record.get("hints", ())),
        "attempts": record.get("attempts", ATTEMPTS.get(record["kind"])),
    }
    return Exercise(notebook=notebook, module=module, **fields)


def _fault(exercise: Exercise) -> str | None:
    """What the schema cannot say is wrong; None when nothing is."""
    if exercise.id.partition("-")[0] != exercise.notebook.partition("_")[0]:
        return f"the id must begin with the number of {exercise.notebook}"
    roles = {"code": ["check"], "challenge": ["score", "baseline"]}.get(exercise.kind, [])
    for role in ["solution", *roles]:
        if exercise.function(role) is None:
            return f"{exercise.notebook}.py has no function {exercise.stem}_{role}"
    for field, kinds in (("options", CHOICES), ("answer", CODE)):
        if getattr(exercise, field) and exercise.kind not in kinds:
            return f"{field!r} is for the kinds {', '.join(kinds)} only"
    for part in ("key", "text"):
        values = [getattr(option, part) for option in exercise.options]
        if len(set(values)) < len(values):
            return f"two options have the same {part}"
    return None
