"""The ledger: every measured claim, from the notebooks' recorded lines to the README's table.

Only the standard library is imported here, so the environment check can read the ledger before
anything else is installed.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from course_utils.files import NOTEBOOKS, ROOT, write_text

LEDGER = NOTEBOOKS / "claims.json"
README = ROOT / "README.md"
Ledger = dict[str, dict[str, Any]]


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

    @property
    def bounds(self) -> str:
        """The interval in words, empty if there is none."""
        return f"{self.interval[0]:.3g} to {self.interval[1]:.3g}" if self.interval else ""

    def __str__(self) -> str:
        parts = [f"{self.value:.3g}"]
        if self.interval:
            parts.append(f"95 % interval {self.bounds}")
        if self.n:
            parts.append(f"n = {self.n}")
        note = f" {self.note}" if self.note else ""
        return f"{self.id} {self.verdict}: {self.statement} ({', '.join(parts)}).{note}"


def log_line(line: dict[str, Any]) -> None:
    """Append a line to the file that COURSE_LEDGER names; without one, do nothing."""
    if path := os.environ.get("COURSE_LEDGER"):
        with Path(path).open("a", encoding="utf8") as file:
            file.write(json.dumps(line) + "\n")


def read_lines(path: Path) -> Ledger:
    """Collect recorded lines into {notebook: {"seconds", "peak_bytes", "claims": [...]}}.

    Args:
        path: the file that COURSE_LEDGER named during the run; a missing one gives {}.
    """
    ledger: Ledger = {}
    for text in path.read_text(encoding="utf8").splitlines() if path.exists() else []:
        line = json.loads(text)
        if made := line.get("claim"):
            entry = ledger.setdefault(made["notebook"], {"claims": []})
            entry["claims"] = [c for c in entry["claims"] if c["id"] != made["id"]] + [made]
        elif "notebook" in line:
            measured = dict(line["notebook"])
            ledger.setdefault(measured.pop("notebook"), {"claims": []}).update(measured)
    return ledger


def load_ledger(path: Path = LEDGER) -> Ledger:
    """The stored ledger, {} if no run has written one yet."""
    return json.loads(path.read_text(encoding="utf8")) if path.exists() else {}


def measured_claims(ledger: Ledger | None = None) -> list[Claim]:
    """Every claim of a ledger, notebook by notebook.

    Args:
        ledger: default the stored one.
    """
    entries = (load_ledger() if ledger is None else ledger).values()
    return [Claim(**record) for entry in entries for record in entry["claims"]]


def ledger_markdown(ledger: Ledger) -> str:
    """The ledger as the README shows it: its sum, and a table per notebook that folds away."""
    every = measured_claims(ledger)
    against = sum(made.verdict == "contradicted" for made in every)
    told = f"{len(every)} claims; {against} of them contradict the usual advice."
    return "\n\n".join([told, *(_folded(name, ledger) for name in sorted(ledger))])


def _folded(name: str, ledger: Ledger) -> str:
    claims = measured_claims({name: ledger[name]})
    rows = "\n".join(
        f"| {c.id} | {c.statement} | {c.value:.3g} | {c.bounds} | {c.n or ''} "
        f"| {c.verdict}{': ' if c.note else ''}{c.note} |"
        for c in claims
    )
    head = "| claim | statement | value | 95 % interval | n | verdict |\n|---|---|---|---|---|---|"
    summary = f"<summary>{name}: {len(claims)} claims</summary>"
    return f"<details>{summary}\n\n{head}\n{rows}\n\n</details>"


def write_readme(ledger: Ledger, path: Path = README) -> None:
    """Replace the table between the README's two marks."""
    before, _, rest = path.read_text(encoding="utf8").partition("<!-- claims -->\n")
    after = rest.partition("<!-- /claims -->")[2]
    table = ledger_markdown(ledger)
    write_text(path, f"{before}<!-- claims -->\n{table}\n<!-- /claims -->{after}")
