"""Is everything here that the notebooks need? Answers in sentences, the bad ones with a cure."""

from __future__ import annotations

import html
import importlib.metadata
import os
import re
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
from IPython.display import HTML
from matplotlib import font_manager
from packaging.requirements import Requirement

from course_utils import models
from course_utils.claims import ROOT, load_ledger
from course_utils.grading import store

PYTHON = (3, 11)
INSTALL = f"{Path(sys.executable).name} -m pip install -c constraints.txt -e ."
LAB_WIDGETS = Path("share/jupyter/labextensions/@jupyter-widgets/jupyterlab-manager/package.json")
FONT = "DejaVu Sans"


@dataclass(frozen=True)
class Check:
    """One item; ``said`` is a sentence, with the cure in backticks where it is not well."""

    name: str
    well: bool
    said: str


def python() -> Check:
    here = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] >= PYTHON:
        return Check("Python", True, f"Version {here}.")
    cure = "install Python 3.11 or newer and run `make lab` in a fresh clone"
    return Check("Python", False, f"Version {here} is too old: {cure}.")


def packages() -> Check:
    """The course's own dependencies against the pinned versions."""
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["project"]
    lines = (ROOT / "constraints.txt").read_text(encoding="utf8").splitlines()
    pinned = {_normal(name): version for name, _, version in (x.partition("==") for x in lines)}
    off = []
    for name in (_normal(Requirement(line).name) for line in wanted["dependencies"]):
        try:
            here = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            off.append(f"{name} is missing")
            continue
        if here.partition("+")[0] != pinned.get(name, here):
            off.append(f"{name} is {here}, not {pinned[name]}")
    if not off:
        return Check("Packages", True, f"All {len(wanted['dependencies'])} are the pinned ones.")
    return Check("Packages", False, f"{'; '.join(off)}: run `{INSTALL}` in the course's folder.")


def weights() -> Check:
    folder = models.cache_dir() / "models"
    lacking = [name for name in models.REGISTRY if not (folder / name / models.MANIFEST).is_file()]
    if not lacking:
        return Check("Models", True, f"All {len(models.REGISTRY)} are fetched.")
    cure = "`python -m course_utils models fetch` once, with a network"
    return Check("Models", False, f"{', '.join(lacking)} not fetched yet: run {cure}.")


def memory() -> Check:
    """Free memory, or what is left of a container's limit, against the hungriest notebook."""
    free = min(psutil.virtual_memory().available, _left_in_container())
    need = max((entry.get("peak_bytes", 0) for entry in load_ledger().values()), default=0)
    told = f"{free / 1e9:.1f} GB are free, and the largest notebook takes {need / 1e9:.1f} GB"
    if free >= need:
        return Check("Memory", True, f"{told}.")
    cure = "shut other kernels down (menu `Kernel`, `Shut Down All Kernels`) and close programs"
    return Check("Memory", False, f"{told}: {cure}.")


def cores() -> Check:
    counted = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if (counted or 1) >= 2:
        return Check("Cores", True, f"{counted}; the minutes in the map are for two.")
    cure = "give the machine or container a second one (Docker: `--cpus=2`), or wait twice as long"
    return Check("Cores", False, f"There is one, and the minutes in the map are for two: {cure}.")


def widgets() -> Check:
    """JupyterLab's half of the widgets lies in the environment that runs this kernel."""
    try:
        lab = importlib.metadata.version("jupyterlab")
    except importlib.metadata.PackageNotFoundError:
        lab = ""
    if lab and (Path(sys.prefix) / LAB_WIDGETS).is_file():
        return Check("Widgets", True, f"JupyterLab {lab} can show sliders and buttons.")
    what = "cannot show sliders and buttons" if lab else "is missing in this environment"
    cure = f"run `{INSTALL} --force-reinstall jupyterlab jupyterlab_widgets`, then reload the page"
    return Check("Widgets", False, f"JupyterLab {what}: {cure}.")


def fonts() -> Check:
    try:
        font_manager.findfont(FONT, fallback_to_default=False)
    except ValueError:
        cure = "run `python -m pip install --force-reinstall --no-deps matplotlib`"
        return Check("Fonts", False, f"{FONT}, which the figures use, is missing: {cure}.")
    return Check("Fonts", True, f"{FONT} is there for the figures.")


def answers() -> Check:
    """Whether exercises can be saved."""
    try:
        file = store.answers_file()
    except store.GradingError as error:
        return Check("Answers", False, f"{error}")
    if not os.access(file.parent, os.W_OK):
        cure = "set `COURSE_ANSWERS` to a folder you can write to and restart"
        return Check("Answers", False, f"The folder {file.parent} cannot be written to: {cure}.")
    return Check("Answers", True, "Your answers can be saved.")


CHECKS: tuple[Callable[[], Check], ...] = (
    *(python, packages, weights, memory, cores, widgets, fonts, answers),
)


def check() -> list[Check]:
    """Look at everything; nothing is changed and nothing fetched."""
    return [look() for look in CHECKS]


class Report(HTML):
    """The checks as a list in words; its plain-text form is the same everywhere."""

    def __init__(self, checks: list[Check]) -> None:
        rows = ""
        for each in checks:
            said = re.sub("`([^`]+)`", r"<code>\1</code>", html.escape(each.said))
            word = "well" if each.well else "<b>to mend</b>"
            rows += f"<tr><td>{each.name}</td><td>{word}</td>"
            rows += f"<td style='text-align:left'>{said}</td></tr>"
        bad = sum(not each.well for each in checks)
        total = f"{bad} of {len(checks)} to mend." if bad else "Everything is here."
        super().__init__(f"<table><tbody>{rows}</tbody></table><p><b>{total}</b></p>")

    def __repr__(self) -> str:
        return "report on this machine"


def report() -> Report:
    """Look at everything and show it."""
    return Report(check())


def _left_in_container(groups: Path = Path("/sys/fs/cgroup")) -> float:
    """What a control group's limit leaves, infinity where there is none.

    Processes' own memory is counted, not the files that the system keeps in memory for them.
    """
    new, old = groups / "memory.max", groups / "memory" / "memory.limit_in_bytes"
    limit, own = (new, "anon") if new.exists() else (old, "total_rss")
    try:
        stat = dict(x.split() for x in (limit.parent / "memory.stat").read_text().splitlines())
        return float(limit.read_text()) - float(stat[own])
    except (OSError, ValueError, KeyError):  # not Linux, or "max"
        return float("inf")


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
