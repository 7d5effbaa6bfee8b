"""Claims: every statement of the course, measured, asserted and recorded.

A notebook calls ``start`` first, ``claim`` for each statement, and ``table`` at its end. When the
environment variable COURSE_LEDGER names a file, each of them appends a JSON line to it; ``course
run`` and the tests collect those lines into the ledger, ``notebooks/claims.json``.
"""

from __future__ import annotations

import html
import json
import logging
import os
import random
import time
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from IPython.display import HTML

from course_utils.evaluation import Estimate
from course_utils.files import CourseError

ROOT = Path(__file__).resolve().parent.parent
LEDGER = ROOT / "notebooks" / "claims.json"
README = ROOT / "README.md"


class ClaimError(CourseError, AssertionError):
    """A claim does not hold."""


@dataclass(frozen=True)
class Claim:
    """One measured statement.

    ``verdict`` is "holds", or "contradicted" where the measurement disagrees with the advice the
    statement comes from; ``note`` then says why.
    """

    id: str
    notebook: str
    statement: str
    value: float
    n: int | None
    interval: tuple[float, float] | None
    verdict: str
    note: str = ""

    def __str__(self) -> str:
        parts = [f"{self.value:.3g}"]
        if self.interval:
            parts.append(f"95 % interval {self.interval[0]:.3g} to {self.interval[1]:.3g}")
        if self.n:
            parts.append(f"n = {self.n}")
        note = f" {self.note}" if self.note else ""
        return f"{self.id} {self.verdict}: {self.statement} ({', '.join(parts)}).{note}"


@dataclass
class _Session:
    notebook: str
    began: float
    claims: dict[str, Claim]


_session = _Session("", time.monotonic(), {})


def start(notebook: str, seed: int = 0) -> None:
    """Begin a notebook: forget earlier claims, fix the seeds, quiet the libraries.

    Args:
        notebook: its name without ``.ipynb``; claims are filed under it.
        seed: for Python, NumPy and torch.
    """
    global _session
    _session = _Session(notebook, time.monotonic(), {})
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    warnings.filterwarnings("ignore")
    for name in ("transformers", "llama_index", "huggingface_hub", "matplotlib", "ragas"):
        logging.getLogger(name).setLevel(logging.ERROR)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()


def claim(
    id: str,
    statement: str,
    value: float | Estimate,
    *,
    holds: bool,
    n: int | None = None,
    interval: tuple[float, float] | None = None,
    contradicted: str = "",
) -> Claim:
    """State, assert and record one result.

    Args:
        id: the statement's id in the course's list and a short name, such as "S01.rag".
        statement: what is claimed, in a sentence without its number.
        value: the number, or an ``Estimate``, which brings its n and interval.
        holds: the assertion; state it with a margin, so that another CPU does not break it.
        n: how many questions, examples or runs the number is from.
        interval: its 95 % interval.
        contradicted: why the measurement disagrees with the advice, where it does. ``statement``
            and ``holds`` then say what was measured instead.

    Raises:
        ClaimError: it does not hold.
    """
    if isinstance(value, Estimate):
        n, interval, value = value.n, (value.low, value.high), value.value
    verdict = "contradicted" if contradicted else "holds"
    bounds = (float(interval[0]), float(interval[1])) if interval else None
    made = Claim(id, _session.notebook, statement, float(value), n, bounds, verdict, contradicted)
    if not holds:
        raise ClaimError(f"{id} does not hold here: {statement} (measured {made.value:.3g}).")
    _session.claims[id] = made
    record({"claim": asdict(made)})
    print(made)
    return made


def table() -> HTML:
    """This notebook's claims as a table; records its seconds and peak memory too."""
    measured = {
        "notebook": _session.notebook,
        "seconds": round(time.monotonic() - _session.began, 1),
        "peak_bytes": peak_bytes(),
    }
    record({"notebook": measured})
    return Table(list(_session.claims.values()))


class Table(HTML):
    """Claims as HTML; its plain-text form is the same everywhere."""

    def __init__(self, claims: list[Claim]) -> None:
        rows = "".join(
            f"<tr><td>{c.id}</td><td style='text-align:left'>{html.escape(c.statement)}</td>"
            f"<td>{c.value:.3g}</td><td>{_bounds(c)}</td><td>{c.n or ''}</td>"
            f"<td>{c.verdict}</td></tr>"
            for c in claims
        )
        heads = ("claim", "statement", "value", "95 % interval", "n", "verdict")
        head = "".join(f"<th>{name}</th>" for name in heads)
        super().__init__(f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>")

    def __repr__(self) -> str:
        return "claims table"


def peak_bytes() -> int:
    """The most memory this process has held resident so far, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    memory = psutil.Process().memory_info()
    return int(getattr(memory, "peak_wset", memory.rss))


def _bounds(made: Claim) -> str:
    return f"{made.interval[0]:.3g} to {made.interval[1]:.3g}" if made.interval else ""


def record(line: dict[str, Any]) -> None:
    """Append a line to the file that COURSE_LEDGER names, when it names one."""
    if path := os.environ.get("COURSE_LEDGER"):
        with Path(path).open("a", encoding="utf8") as file:
            file.write(json.dumps(line) + "\n")


# --- the ledger -----------------------------------------------------------------------------------


def read_lines(path: Path) -> dict[str, dict[str, Any]]:
    """Collect recorded lines into {notebook: {"seconds", "peak_bytes", "claims": [...]}}."""
    ledger: dict[str, dict[str, Any]] = {}
    for text in path.read_text(encoding="utf8").splitlines() if path.exists() else []:
        line = json.loads(text)
        if made := line.get("claim"):
            entry = ledger.setdefault(made["notebook"], {"claims": []})
            entry["claims"] = [c for c in entry["claims"] if c["id"] != made["id"]] + [made]
        elif "notebook" in line:
            measured = dict(line["notebook"])
            ledger.setdefault(measured.pop("notebook"), {"claims": []}).update(measured)
    return ledger


def load_ledger(path: Path = LEDGER) -> dict[str, dict[str, Any]]:
    """The stored ledger, {} when no run has written one yet."""
    return json.loads(path.read_text(encoding="utf8")) if path.exists() else {}


def markdown(ledger: dict[str, dict[str, Any]]) -> str:
    """The ledger as the README shows it: its sum, and a table a notebook that folds away."""
    tables = {name: [Claim(**made) for made in ledger[name]["claims"]] for name in sorted(ledger)}
    every = [made for claims in tables.values() for made in claims]
    against = sum(made.verdict == "contradicted" for made in every)
    told = f"{len(every)} claims; {against} of them contradict the usual advice."
    return "\n\n".join([told, *map(_folded, tables.items())])


def _folded(notebook: tuple[str, list[Claim]]) -> str:
    name, claims = notebook
    rows = "\n".join(
        f"| {c.id} | {c.statement} | {c.value:.3g} | {_bounds(c)} | {c.n or ''} "
        f"| {c.verdict}{': ' if c.note else ''}{c.note} |"
        for c in claims
    )
    head = "| claim | statement | value | 95 % interval | n | verdict |\n|---|---|---|---|---|---|"
    summary = f"<summary>{name}: {len(claims)} claims</summary>"
    return f"<details>{summary}\n\n{head}\n{rows}\n\n</details>"


def write_readme(ledger: dict[str, dict[str, Any]], path: Path = README) -> None:
    """Replace the table between the README's two marks."""
    before, _, rest = path.read_text(encoding="utf8").partition("<!-- claims -->\n")
    after = rest.partition("<!-- /claims -->")[2]
    text = f"{before}<!-- claims -->\n{markdown(ledger)}\n<!-- /claims -->{after}"
    path.write_text(text, encoding="utf8")
