"""Is everything here that the notebooks need? Each answer is a sentence; what is wrong has a fix.

Only the standard library is imported at the top: this must run when a package is missing.
"""

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
from typing import Any

from course_utils.files import ROOT, CourseError, answers_dir
from course_utils.lab.ledger import load_ledger

PYTHON = (3, 11)
INSTALL = f"{Path(sys.executable).name} -m pip install -c constraints.txt -e ."
LAB_WIDGETS = Path("share/jupyter/labextensions/@jupyter-widgets/jupyterlab-manager/package.json")
FONT = "DejaVu Sans"


@dataclass(frozen=True)
class Check:
    """One item; ``said`` is a sentence, with the fix in backticks unless all is well."""

    name: str
    well: bool
    said: str


def check_python() -> Check:
    here = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] >= PYTHON:
        return Check("Python", True, f"Version {here}.")
    cure = "install Python 3.11 or newer and run `make lab` in a fresh clone"
    return Check("Python", False, f"Version {here} is too old: {cure}.")


def check_packages() -> Check:
    """The course's own dependencies against the pinned versions."""
    if not (ROOT / "pyproject.toml").is_file():
        return Check("Packages", True, "Installed without the repository, so nothing is pinned.")
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["project"]
    lines = (ROOT / "constraints.txt").read_text(encoding="utf8").splitlines()
    pinned = {_normal(name): version for name, _, version in (x.partition("==") for x in lines)}
    off = []
    for requirement in wanted["dependencies"]:
        name = _normal(re.split(r"[\s<>=!~\[;]", requirement)[0])
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


def check_weights() -> Check:
    from course_utils.models.fetching import is_fetched
    from course_utils.models.registry import DEFAULTS, members_of

    small = [weights.name for weights in members_of("small")]
    lacking = [name for name in small if not is_fetched(name)]
    if not lacking:
        told = f"All {len(small)} that every notebook needs are fetched"
        if is_fetched(DEFAULTS["reader"]):
            return Check("Models", True, f"{told}, and the reader is.")
        size = members_of("reader")[0].download_bytes / 1e9
        cure = f"`python -m course_utils models fetch reader` ({size:.1f} GB)"
        return Check("Models", True, f"{told}; to ask the reader questions of your own: {cure}.")
    cure = "`python -m course_utils models fetch` once, with a network"
    return Check("Models", False, f"{', '.join(lacking)} not fetched yet: run {cure}.")


def check_memory() -> Check:
    """Free memory, or what is left of a container's limit, against the hungriest notebook."""
    import psutil

    free = min(psutil.virtual_memory().available, _left_in_container())
    need = max((entry.get("peak_bytes", 0) for entry in load_ledger().values()), default=0)
    told = f"{free / 1e9:.1f} GB are free, and the largest notebook takes {need / 1e9:.1f} GB"
    if free >= need:
        return Check("Memory", True, f"{told}.")
    cure = "shut other kernels down (menu `Kernel`, `Shut Down All Kernels`) and close programs"
    return Check("Memory", False, f"{told}: {cure}.")


def check_cores() -> Check:
    counted = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if (counted or 1) >= 2:
        return Check("Cores", True, f"{counted}; the minutes in the map are for two.")
    cure = "give the machine or container a second one (Docker: `--cpus=2`), or wait twice as long"
    return Check("Cores", False, f"There is one, and the minutes in the map are for two: {cure}.")


def check_widgets() -> Check:
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


def check_fonts() -> Check:
    from matplotlib import font_manager

    try:
        font_manager.findfont(FONT, fallback_to_default=False)
    except ValueError:
        cure = "run `python -m pip install --force-reinstall --no-deps matplotlib`"
        return Check("Fonts", False, f"{FONT}, which the figures use, is missing: {cure}.")
    return Check("Fonts", True, f"{FONT} is there for the figures.")


def check_answers() -> Check:
    """Whether exercises can be saved."""
    try:
        folder = answers_dir()
    except CourseError as error:
        return Check("Answers", False, f"{error}")
    if not os.access(folder, os.W_OK):
        cure = "set `COURSE_ANSWERS` to a folder you can write to and restart"
        return Check("Answers", False, f"The folder {folder} cannot be written to: {cure}.")
    return Check("Answers", True, "Your answers can be saved.")


CHECKS: tuple[tuple[str, Callable[[], Check]], ...] = (
    ("Python", check_python),
    ("Packages", check_packages),
    ("Models", check_weights),
    ("Memory", check_memory),
    ("Cores", check_cores),
    ("Widgets", check_widgets),
    ("Fonts", check_fonts),
    ("Answers", check_answers),
)


def run_checks() -> list[Check]:
    """Look at everything; nothing is changed and nothing downloaded."""
    checks = []
    for name, look in CHECKS:
        try:
            checks.append(look())
        except ImportError as error:
            said = f"{error.name} is missing: run `{INSTALL}` in the course's folder."
            checks.append(Check(name, False, said))
    return checks


def checks_html(checks: list[Check]) -> str:
    """The checks as a list in words."""
    rows = ""
    for each in checks:
        said = re.sub("`([^`]+)`", r"<code>\1</code>", html.escape(each.said))
        word = "OK" if each.well else "<b>FIX</b>"
        rows += f"<tr><td>{each.name}</td><td>{word}</td>"
        rows += f"<td style='text-align:left'>{said}</td></tr>"
    bad = sum(not each.well for each in checks)
    total = f"{bad} of {len(checks)} to fix." if bad else "Everything is here."
    return f"<table><tbody>{rows}</tbody></table><p><b>{total}</b></p>"


class EnvironmentReport:
    """The checks, shown as HTML; the plain-text form is the same everywhere."""

    def __init__(self, checks: list[Check]) -> None:
        self.data = checks_html(checks)

    def _repr_html_(self) -> str:
        return self.data

    def __repr__(self) -> str:
        return "report on this machine"


def environment_report() -> Any:
    """Look at everything and show it."""
    return EnvironmentReport(run_checks())


def _left_in_container(groups: Path = Path("/sys/fs/cgroup")) -> float:
    """What a control group's limit leaves, infinity if there is none.

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
