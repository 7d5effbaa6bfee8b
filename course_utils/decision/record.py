"""The record of a decision: its evidence, its file, and a team's answers in YAML.

Notebooks 00 and 09.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, Protocol, TypeVar

import yaml

from course_utils.decision import costs
from course_utils.decision.deciding import (
    WORDS,
    Change,
    DecisionError,
    checked_answers,
    decide,
    decision_questions,
    question_number,
    rules,
)
from course_utils.files import write_text


class Measured(Protocol):
    """A claim with its measurement, such as the ledger's; its text says what was measured."""

    @property
    def id(self) -> str: ...


M = TypeVar("M", bound=Measured)


def evidence(ids: Sequence[str], claims: Sequence[M]) -> tuple[list[M], list[str]]:
    """The measured claims behind a reason, and what is not measured yet.

    Args:
        ids: claims ("S25.gold") or statements ("S05", which is every S05.…).
        claims: all that was measured: ``lab.ledger.measured_claims()``.

    Returns:
        The claims, and the ids that no claim has.
    """
    found: list[M] = []
    missing: list[str] = []
    for id in ids:
        behind = [claim for claim in claims if id in (claim.id, claim.id.split(".")[0])]
        found += behind
        missing += [] if behind else [id]
    return found, missing


def decision_record(
    title: str,
    answers: Mapping[str, Any],
    claims: Sequence[Measured],
    inputs: costs.Inputs | None = None,
    day: date | None = None,
) -> str:
    """An architecture decision record in Markdown (after Nygard, 2011).

    Args:
        title: what is being decided, in a line.
        answers: see ``decide``.
        claims: all that was measured; see ``evidence``.
        inputs: of the cost model, to add what it says.
        day: default today.
    """
    given, made = checked_answers(answers), decide(answers)
    by = (
        f"question {question_number(made.decided_by)}"
        if made.decided_by
        else "no question answered yes"
    )
    lines = [
        f"# {plain_title(title) or 'Decision'}: {made.outcome}",
        f"Status: proposed, {(day or date.today()).isoformat()}",
        "## Context",
        "| | question | answer |\n|---|---|---|\n"
        + "\n".join(
            f"| {question_number(q.id)} | {q.ask} | {WORDS[given[q.id]]} |"
            for q in decision_questions()
        ),
        "## Decision",
        f"**{made.outcome}**, decided by {by}. {made.because}",
        f"Next: {rules()['next'][made.outcome]}",
        "## What speaks against it",
        listed(made.doubts, "Nothing in the answers."),
        "## Measured evidence",
        _evidence_text(made.evidence, claims),
        "## What would change it",
        listed(map(_change_text, made.changes), "No other answer to a single question."),
    ]
    if inputs is not None:
        lines += ["## Costs", costs.costs_markdown(inputs)]
    return "\n\n".join(lines) + "\n"


def _evidence_text(ids: Sequence[str], claims: Sequence[Measured]) -> str:
    found, missing = evidence(ids, claims)
    lines = [" ".join(str(claim).split()) for claim in found]
    lines += [f"{id}: not measured yet." for id in missing]
    return (
        "From the course *RAG or fine-tuning? Measure it.*, measured with small models on its own "
        "data. It tells you what to measure for this case and proves nothing about it. Claims that "
        "are AGAINST or UNDECIDED are listed too.\n\n" + listed(lines, "None.")
    )


def _change_text(change: Change) -> str:
    asked = next(each.ask for each in decision_questions() if each.id == change.question)
    place, said = question_number(change.question), WORDS[change.answer]
    return f"{said} to question {place} ({asked}) makes it **{change.outcome}**."


def listed(items: Any, none: str) -> str:
    return "\n".join(f"- {item}" for item in items) or none


def plain_title(text: str) -> str:
    """A title in one line, without what Markdown or HTML would obey."""
    return re.sub(r"([\\`*_<>\[\]|#])", r"\\\1", " ".join(text.split())[:200])


def read_answers(path: Path) -> tuple[str, dict[str, str], costs.Inputs | None]:
    """A team's YAML file: ``title``, ``answers``, and ``costs`` if there are any.

    Raises:
        DecisionError: it is not such a file.
        CostError: its costs cannot be.
    """
    try:
        made = yaml.safe_load(path.read_text(encoding="utf8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        told = " ".join(str(error).split())
        raise DecisionError(f"{path.name} cannot be read as YAML: {told}.") from error
    if not isinstance(made, dict) or not isinstance(made.get("answers"), dict):
        raise DecisionError(
            f"{path.name} needs `answers:` with a line for each question; "
            "`course decide --template` prints such a file."
        )
    if unknown := [str(key) for key in made if key not in ("title", "answers", "costs")]:
        raise DecisionError(f"{path.name} has {unknown[0]!r}; it may have title, answers, costs.")
    given = made.get("costs")
    if given is not None and not isinstance(given, dict):
        raise DecisionError(f"{path.name}: costs must be lines such as `queries_per_month: 20000`.")
    inputs = None if given is None else costs.read_inputs(given)
    return str(made.get("title") or path.stem), checked_answers(made["answers"]), inputs


def answers_template() -> str:
    """A file for ``read_file`` with every question still to be answered."""
    asked = "".join(f"  # {q.ask}\n  {q.id}: unsure\n" for q in decision_questions())
    priced = "".join(
        f"#   {name}: {each['value']}  # {each['about']}, {each['unit']}\n"
        for name, each in costs.example_inputs().items()
    )
    return f"title: What is being decided\nanswers:\n{asked}# costs:  # what differs\n{priced}"


def save_record(text: str, path: Path) -> Path:
    """Write a record, whole or not at all; a file that is there is left alone.

    Returns:
        Where it is: ``path``, or ``path`` with a number when that was taken.

    Raises:
        DecisionError: it cannot be written.
    """
    place, count = path, 1
    while place.exists():
        count += 1
        place = path.with_stem(f"{path.stem}-{count}")
    try:
        write_text(place, text)
    except OSError as error:
        raise DecisionError(f"{path} cannot be written ({error.strerror}).") from error
    return place
