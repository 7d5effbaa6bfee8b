"""Stored results of the experiments in ``notebooks/experiments``, for the notebooks."""

from __future__ import annotations

import json
from typing import Any

from course_utils.files import NOTEBOOKS, CourseError

RESULTS = NOTEBOOKS / "experiments" / "results"


class ExperimentError(CourseError):
    """There is no such experiment, or it was never run."""


def load_results(name: str) -> dict[str, Any]:
    """The stored results of an experiment: its date, machine and versions, and its "arms".

    Args:
        name: such as "format" or "law".

    Raises:
        ExperimentError: it was never run.
    """
    path = RESULTS / f"{name}.json"
    if not path.is_file():
        raise ExperimentError(f"{path} is missing: run `course experiment {name}`.")
    return json.loads(path.read_text(encoding="utf8"))
