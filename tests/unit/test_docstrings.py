"""The examples in docstrings run as they are written."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

import course_utils

ROOT = Path(course_utils.__file__).parent
MODULES = [
    "course_utils." + path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
    for path in sorted(ROOT.rglob("*.py"))
    if ">>>" in path.read_text(encoding="utf8") and path.name != "__init__.py"
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0
