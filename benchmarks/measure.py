"""What every benchmark shares: arms in turns, rows as plain data, the table.

A benchmark is a module of this folder with

- ``RIVALS``: the packages that it is measured against or with, by their names on the index;
- ``measure(small) -> list[Row]``; ``small`` asks for a run of seconds, which tries the code and
  measures nothing.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import psutil

FOLDER = Path(__file__).resolve().parent
RESULTS = FOLDER / "results.json"
README = FOLDER / "README.md"
MARKS = ("<!-- results -->\n", "<!-- /results -->")
READING = "Medians, with the lowest and the highest round; a ratio is taken within each round."

Measured = dict[str, float]
"""What one run of an arm gave: {"questions a second": 812.0}."""


@dataclass(frozen=True)
class Row:
    """One line of the table: a measure of the course's arm and of its rival.

    ``ours`` and ``theirs`` have one value a round, those of a round in the same place; ``theirs``
    is empty where there is no rival.
    """

    measure: str
    arm: str
    rival: str
    ours: list[float]
    theirs: list[float] = field(default_factory=list)
    note: str = ""


def in_turns(arms: Mapping[str, Callable[[], Measured]], rounds: int) -> dict[str, list[Measured]]:
    """Run all arms once a round; every other round in reverse, so that none is always first.

    Args:
        arms: what to run, each returning its measures.
        rounds: how many times.

    Returns:
        For each arm its measures, round by round.
    """
    measured: dict[str, list[Measured]] = {name: [] for name in arms}
    for number in range(rounds):
        for name in list(arms)[:: 1 if number % 2 == 0 else -1]:
            measured[name].append(arms[name]())
    return measured


def compare(
    measured: Mapping[str, Sequence[Measured]], arm: str, rival: str, *, note: str = ""
) -> list[Row]:
    """Rows of one arm against another, one for each of their measures; the note in the first."""
    ours, theirs = measured[arm], measured[rival]
    return [
        Row(key, arm, rival, [m[key] for m in ours], [m[key] for m in theirs], "" if at else note)
        for at, key in enumerate(ours[0])
    ]


def report(rows: Sequence[Row], rivals: Sequence[str]) -> dict[str, Any]:
    """What results.json keeps of a benchmark: where and when, with which versions, and its rows."""
    libraries = ("torch", "transformers", "llama-index-core", "numpy", *rivals)
    return {
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        "versions": {name: importlib.metadata.version(name) for name in libraries},
        "rows": [asdict(row) for row in rows],
    }


def machine() -> str:
    """The processor, the cores that this process may use, memory, system and Python."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    processor = names[0] if names else platform.processor() or platform.machine()
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count()
    memory = f"{psutil.virtual_memory().total / 2**30:.0f} GiB"
    system = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    return f"{processor}, {cores} {'core' if cores == 1 else 'cores'}, {memory}, {system}"


# --- results --------------------------------------------------------------------------------------


def load(path: Path = RESULTS) -> dict[str, dict[str, Any]]:
    """The stored results, {} when nothing was measured yet."""
    return json.loads(path.read_text(encoding="utf8")) if path.exists() else {}


def store(
    fresh: Mapping[str, Mapping[str, Any]], path: Path = RESULTS, readme: Path = README
) -> None:
    """Put fresh reports among the stored ones, and the table of all into the README."""
    results = load(path) | dict(fresh)
    results = {name: results[name] for name in sorted(results)}
    path.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf8")
    before, start, rest = readme.read_text(encoding="utf8").partition(MARKS[0])
    _, end, after = rest.partition(MARKS[1])
    if not start or not end:
        raise ValueError(f"{readme} has no place for the table: {MARKS[0].strip()} … {MARKS[1]}")
    readme.write_text(f"{before}{start}{markdown(results)}\n{end}{after}", encoding="utf8")


def markdown(results: Mapping[str, Mapping[str, Any]]) -> str:
    """All results as a Markdown table, and below it where each was measured."""
    heads = ("benchmark", "measure", "course", "instead", "course / instead", "rounds", "")
    lines = [_line(heads), _line(["---"] * len(heads))]
    for name, entry in results.items():
        rows = [Row(**row) for row in entry["rows"]]
        lines += [
            _line(
                (
                    name,
                    row.measure,
                    f"{row.arm}: {spread(row.ours)}",
                    f"{row.rival}: {spread(row.theirs)}" if row.theirs else row.rival,
                    spread(ratios(row)),
                    str(len(row.ours)),
                    row.note,
                )
            )
            for row in rows
        ]
    lines += ["", f"{READING} Measured on:", ""]
    for name, entry in results.items():
        versions = ", ".join(f"{key} {value}" for key, value in entry["versions"].items())
        lines.append(f"- {name}: {entry['date']}, {entry['machine']}; {versions}.")
    return "\n".join(lines)


def ratios(row: Row) -> list[float]:
    """Ours divided by theirs, round by round; [] without a rival."""
    if not row.theirs:
        return []
    return [one / other for one, other in zip(row.ours, row.theirs, strict=True)]


def spread(values: Sequence[float]) -> str:
    """The median, and the range where there are several values: "31 (29 to 34)"."""
    if not values:
        return ""
    middle = number(median(values))
    if len(values) == 1:
        return middle
    return f"{middle} ({number(min(values))} to {number(max(values))})"


def number(value: float) -> str:
    """Three digits, without an exponent."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
