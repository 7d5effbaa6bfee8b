"""The ledger: every claim, from the notebooks' recorded lines to CLAIMS.md and the README.

Only the standard library is imported here, so the environment check can read the ledger before
anything else is installed.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from course_utils.files import NOTEBOOKS, ROOT, write_text

LEDGER = NOTEBOOKS / "claims.json"
STATEMENTS = NOTEBOOKS / "statements.yaml"
FINDINGS = NOTEBOOKS / "findings.md"
CLAIMS = ROOT / "CLAIMS.md"
README = ROOT / "README.md"
Ledger = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Claim:
    """One statement and what was measured about it.

    ``kind`` is "measured" (an estimate, or a number measured once), "exact" (counted or proved, no
    interval) or "model" (the share of draws in which it is true). ``interval`` has 95 %, and is
    wider if the claim belongs to a family of ``comparisons``. ``reference`` says what the value
    was compared with, such as "above 0"; ``cluster`` names what was measured repeatedly.
    ``verdict`` is one of ``lab.verdicts.CLAIM_VERDICTS``. ``exploratory``: the comparison was
    chosen after results on the same questions had been seen.
    """

    id: str
    notebook: str
    statement: str
    kind: str
    verdict: str
    value: float | None = None
    interval: tuple[float, float] | None = None
    n: int | None = None
    margin: float | None = None
    exploratory: bool = False
    note: str = ""
    metric: str = ""
    reference: str = ""
    comparisons: int = 1
    cluster: str = ""

    @property
    def number(self) -> str:
        """The value, with its sign if it is a difference; empty if nothing was measured."""
        if self.value is None:
            return ""
        return f"{self.value:+.3g}" if self.reference.endswith(" 0") else f"{self.value:.3g}"

    @property
    def bounds(self) -> str:
        """The interval in words, empty if there is none."""
        return f"{self.interval[0]:.3g} to {self.interval[1]:.3g}" if self.interval else ""

    def __str__(self) -> str:
        parts = [f"{self.metric} {self.number}".strip()] if self.number else []
        if self.interval:
            parts[0] += f" [{self.interval[0]:.3g}, {self.interval[1]:.3g}]"
        if self.n:
            parts.append(f"n = {self.n}{' ' + self.cluster if self.cluster else ''}")
        if self.exploratory:
            parts.append("exploratory")
        measured = f" {', '.join(parts)}." if parts else ""
        note = f" {self.note}" if self.note else ""
        return f"{self.id}: {self.statement}.\n    {self.verdict.upper()}:{measured}{note}"


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


def claims_markdown(ledger: Ledger, statements: dict[str, str]) -> str:
    """CLAIMS.md: each statement beside its claims, then every claim, notebook by notebook.

    Args:
        ledger: see ``read_lines``.
        statements: id to sentence (``load_statements``).
    """
    every = measured_claims(ledger)
    lines = [INTRODUCTION, _count_verdicts(every), "## By statement\n"]
    lines += ["| | statement | claims |", "|---|---|---|"]
    for id, sentence in statements.items():
        behind = [c for c in every if c.id.split(".")[0] == id]
        shown = ", ".join(f"{c.id} {c.verdict}" for c in behind)
        lines.append(f"| {id} | {sentence} | {shown or 'not measured yet'} |")
    for name in sorted(ledger):
        if claims := measured_claims({name: ledger[name]}):
            lines += ["", f"## {name}", "", *_claim_rows(claims)]
    return "\n".join(lines) + "\n"


INTRODUCTION = """# Claims

Written by `course claims --write` from `notebooks/claims.json`; do not edit.

Each claim is a sentence that is true or false. Its verdict is computed from the measurement, not
chosen. In this order: **no difference** if the interval lies within the margin around the
reference; **supported** if it lies wholly on the side that the sentence says; **against** if wholly
on the other; otherwise **undecided**. The reference is 0 for a difference, or the threshold in the
sentence. The margins are in `course_utils/lab/margins.yaml` and were committed before these results
were computed. An interval is the 95 % interval (Wilson's for shares, a paired bootstrap
otherwise), widened where several comparisons answer one question together (`families` in the same
file). *Exact* claims are counted or proved and have no interval. *Model* claims say in which share
of draws over stated ranges of prices and hours they are true. *Exploratory*: chosen after results
on the same questions had been seen; measure it on new questions before you rely on it.
"""


def _count_verdicts(claims: list[Claim]) -> str:
    counts = [f"{n} {verdict}" for verdict, n in Counter(c.verdict for c in claims).most_common()]
    kinds = [f"{n} {kind}" for kind, n in Counter(c.kind for c in claims).most_common()]
    return f"{len(claims)} claims ({', '.join(kinds)}): {', '.join(counts)}.\n"


def _claim_rows(claims: list[Claim]) -> list[str]:
    head = ["| claim | statement | kind | value | interval | n | margin | verdict |"]
    head += ["|---|---|---|---|---|---|---|---|"]
    rows = []
    for c in claims:
        verdict = f"**{c.verdict}**{' (exploratory)' if c.exploratory else ''}"
        verdict += f": {c.note}" if c.note else ""
        n = f"{c.n or ''}{' ' + c.cluster if c.cluster else ''}"
        margin = "" if c.margin is None else f"{c.margin:g}"
        cells = [c.id, c.statement, c.kind, f"{c.metric} {c.number}".strip(), c.bounds]
        rows.append("| " + " | ".join([*cells, n, margin, verdict]) + " |")
    return head + rows


def load_statements(path: Path = STATEMENTS) -> dict[str, str]:
    """The sentences put to the test, by id."""
    import yaml

    loaded: dict[str, str] = yaml.safe_load(path.read_text(encoding="utf8"))
    return loaded


def fill_findings(text: str, ledger: Ledger) -> str:
    """A template of findings with its numbers, which stand there as {S12.lora} or {S12.lora:n}.

    A number is the claim's value, or with a colon what ``format`` makes of it; ``:n`` gives its n,
    ``:interval`` its interval.

    Raises:
        KeyError: no claim has this id.
    """
    claims = {c.id: c for c in measured_claims(ledger)}

    def number(match: re.Match[str]) -> str:
        claim, wanted = claims[match[1]], match[2] or ".2f"
        if wanted == "n":
            return str(claim.n)
        if wanted == "interval" and claim.interval:
            return f"[{claim.interval[0]:.2f}, {claim.interval[1]:.2f}]"
        return format(claim.value, wanted)

    return re.sub(r"\{([A-Z]\d\d\.[^:}]+):?([^}]*)\}", number, text)


def write_claims(ledger: Ledger, claims: Path = CLAIMS, readme: Path = README) -> None:
    """Write CLAIMS.md, and the findings between the README's two marks."""
    write_text(claims, claims_markdown(ledger, load_statements()))
    before, _, rest = readme.read_text(encoding="utf8").partition("<!-- findings -->\n")
    after = rest.partition("<!-- /findings -->")[2]
    findings = fill_findings(FINDINGS.read_text(encoding="utf8"), ledger)
    write_text(readme, f"{before}<!-- findings -->\n{findings}<!-- /findings -->{after}")
