"""The workflows run every notebook, with pinned actions and no more rights than they need."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
MOST_MINUTES = {"test": 90, "live": 300}
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def read(path: Path) -> dict[Any, Any]:
    return yaml.safe_load(path.read_text(encoding="utf8"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned_and_may_only_read(path: Path) -> None:
    workflow = read(path)
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= MOST_MINUTES[path.stem] and "permissions" not in job
        for step in job["steps"]:
            if "uses" in step:
                assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", step["uses"])


def test_pull_requests_and_pushes_run_every_notebook() -> None:
    workflow = read(ROOT / ".github" / "workflows" / "test.yml")
    assert {"push", "pull_request"} <= workflow[True].keys()  # YAML reads "on" as true
    numbers = workflow["jobs"]["notebook"]["strategy"]["matrix"]["number"]
    notebooks = sorted((ROOT / "notebooks").glob("*.ipynb"))
    assert numbers == [path.name[:2] for path in notebooks]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_make_target_exists(path: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf8")
    for target in re.findall(r"make ([a-z]+)\b(?! opens)", path.read_text(encoding="utf8")):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
