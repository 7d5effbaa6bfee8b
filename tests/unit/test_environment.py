"""The environment check: each failure is planted once, and each is one sentence with its fix."""

from __future__ import annotations

import importlib.metadata
import os
import sys
import tomllib
import types
from pathlib import Path
from typing import Any

import psutil
import pytest
from matplotlib import font_manager
from packaging.specifiers import SpecifierSet

from course_utils import files
from course_utils.lab import environment
from course_utils.lab.environment import Check
from course_utils.models import registry

GB = 1_000_000_000


@pytest.fixture(autouse=True)
def all_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which every check is OK, whatever this one is."""
    monkeypatch.setenv("COURSE_ANSWERS", str(tmp_path / "answers"))
    for name in registry.REGISTRY:
        folder = files.cache_dir() / "models" / name
        folder.mkdir(parents=True)
        (folder / registry.MANIFEST).write_text("{}")
    set_memory(monkeypatch, 8 * GB)
    monkeypatch.setattr(environment, "_left_in_container", lambda: float("inf"))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    prefix = tmp_path / "prefix"
    (prefix / environment.LAB_WIDGETS).parent.mkdir(parents=True)
    (prefix / environment.LAB_WIDGETS).write_text("{}")
    monkeypatch.setattr(sys, "prefix", str(prefix))
    lines = (files.ROOT / "constraints.txt").read_text().splitlines()
    pinned = {environment._normal(x.partition("==")[0]): x.partition("==")[2] for x in lines}
    monkeypatch.setattr(importlib.metadata, "version", lambda name: pinned[name])


def set_memory(monkeypatch: pytest.MonkeyPatch, free: float) -> None:
    fake = types.SimpleNamespace(available=free)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: fake)


def bad() -> list[Check]:
    return [each for each in environment.run_checks() if not each.well]


def the_one(name: str, *words: str) -> None:
    """Exactly this check fails, in one line with these words."""
    (found,) = bad()
    assert found.name == name and "\n" not in found.said and found.said.endswith(".")
    for word in words:
        assert word in found.said, found.said


def test_nothing_to_fix_is_said_in_words() -> None:
    assert bad() == []
    shown = environment.environment_report()
    assert "Everything is here." in shown.data and repr(shown) == "report on this machine"
    assert shown.data.count("<td>OK</td>") == len(environment.CHECKS)
    assert "FIX" not in shown.data


def test_an_old_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 10, 4, "final", 0))
    the_one("Python", "3.10.4 is too old", "`make lab`")


def test_a_missing_and_a_wrong_package(monkeypatch: pytest.MonkeyPatch) -> None:
    right = importlib.metadata.version

    def version(name: str) -> str:
        if name == "peft":
            raise importlib.metadata.PackageNotFoundError(name)
        return "9.9" if name == "numpy" else right(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    the_one("Packages", "peft is missing", "numpy is 9.9, not", "-c constraints.txt")


def test_a_build_of_the_pinned_version_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    right = importlib.metadata.version

    def version(name: str) -> str:
        return f"{right(name)}+cpu" if name == "torch" else right(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert bad() == []


def test_a_model_not_fetched(tmp_path: Path) -> None:
    (files.cache_dir() / "models" / "all-MiniLM-L6-v2" / registry.MANIFEST).unlink()
    the_one("Models", "all-MiniLM-L6-v2 not fetched yet", "models fetch`")


def test_too_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    set_memory(monkeypatch, 0.3 * GB)
    the_one("Memory", "0.3 GB are free", "Shut Down All Kernels")
    set_memory(monkeypatch, 8 * GB)
    monkeypatch.setattr(environment, "_left_in_container", lambda: 0.2 * GB)
    the_one("Memory", "0.2 GB are free")


@pytest.mark.parametrize(
    ("limit", "stat", "own"), [("memory.max", ".", "anon"), ("x", "memory", "total_rss")]
)
def test_a_containers_limit_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, stat: str, own: str
) -> None:
    monkeypatch.undo()
    folder = tmp_path / "groups" / stat
    folder.mkdir(parents=True)
    name = limit if stat == "." else "memory.limit_in_bytes"
    (folder / name).write_text("2000\n")
    (folder / "memory.stat").write_text(f"{own} 500\nfile 1400\n")
    assert environment._left_in_container(tmp_path / "groups") == 1500
    (folder / name).write_text("max\n")
    assert environment._left_in_container(tmp_path / "groups") == float("inf")
    assert environment._left_in_container(tmp_path / "none") == float("inf")


def test_one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)
    the_one("Cores", "There is one", "--cpus=2")


def test_no_widgets_in_jupyterlab(monkeypatch: pytest.MonkeyPatch) -> None:
    (Path(sys.prefix) / environment.LAB_WIDGETS).unlink()
    the_one("Widgets", "cannot show sliders", "jupyterlab_widgets`")


def test_no_jupyterlab(monkeypatch: pytest.MonkeyPatch) -> None:
    right = importlib.metadata.version

    def version(name: str) -> str:
        if name == "jupyterlab":
            raise importlib.metadata.PackageNotFoundError(name)
        return right(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert [each.name for each in bad()] == ["Packages", "Widgets"]
    assert "JupyterLab is missing" in bad()[1].said


def test_no_font(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: Any, **__: Any) -> str:
        raise ValueError("not found")

    monkeypatch.setattr(font_manager, "findfont", missing)
    the_one("Fonts", "DejaVu Sans", "matplotlib`")


def test_no_place_for_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("COURSE_ANSWERS", str(tmp_path / "file" / "inside"))
    the_one("Answers", "cannot be made", "COURSE_ANSWERS")
    monkeypatch.setenv("COURSE_ANSWERS", str(tmp_path / "answers"))
    monkeypatch.setattr(os, "access", lambda *_: False)
    the_one("Answers", "cannot be written to", "`COURSE_ANSWERS`")


def test_a_report_shows_the_fix_as_code() -> None:
    shown = environment.EnvironmentReport(
        [Check("A <b>", True, "Fine."), Check("B", False, "Run `x < y`.")]
    )
    assert "<code>x &lt; y</code>" in shown.data and "1 of 2 to fix." in shown.data
    assert "<td>OK</td>" in shown.data and "<b>FIX</b>" in shown.data


def test_what_is_pinned_runs_on_the_oldest_python_that_the_course_promises() -> None:
    project = tomllib.loads((files.ROOT / "pyproject.toml").read_text())["project"]
    oldest = project["requires-python"].removeprefix(">=") + ".0"
    asking = {
        f"{each.name} {each.version}": SpecifierSet(each.metadata["Requires-Python"] or "")
        for each in importlib.metadata.distributions()
    }
    assert not [name for name, asked in asking.items() if oldest not in asked]
