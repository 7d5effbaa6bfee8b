"""Deciding: ordered questions, the first yes, what speaks against it, and the record of it.

The questions are data, ``decision.yaml``. The evidence is whatever the ledger has measured when
the record is written.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from course_utils import costs
from course_utils.claims import Claim, load_ledger
from course_utils.files import InputError
from course_utils.grading import store

RULES = Path(__file__).with_name("decision.yaml")
SCENARIOS = costs.EXAMPLES.with_name("scenarios.yaml")
OUTCOMES = ("prompt first", "RAG", "fine-tuning", "hybrid")
WORDS = {"yes": "Yes", "no": "No", "unsure": "Not sure"}
# How people write an answer; YAML turns a bare yes or no into True or False.
SPOKEN = {"yes": "yes", "y": "yes", "true": "yes", "no": "no", "n": "no", "false": "no"}
SPOKEN |= dict.fromkeys(("unsure", "not sure", "?", "u"), "unsure")

Answers = Mapping[str, str]


class DecisionError(InputError):
    """Answers or a file that cannot be used; the message says why and what to do."""


@dataclass(frozen=True)
class Question:
    """One question; a yes means ``outcome``, unless an earlier one was answered with yes."""

    id: str
    ask: str
    help: str
    outcome: str
    because: str
    evidence: tuple[str, ...]


@dataclass(frozen=True)
class Change:
    """What another answer to one question would lead to."""

    question: str
    answer: str
    outcome: str


@dataclass(frozen=True)
class Decision:
    """What follows from the answers.

    ``decided_by`` is the id of the first question answered with yes, "" where there is none.
    ``doubts`` are sentences; there are none where everything speaks for the outcome. ``changes``
    are the single answers that would lead elsewhere.
    """

    outcome: str
    decided_by: str
    because: str
    evidence: tuple[str, ...]
    doubts: tuple[str, ...]
    changes: tuple[Change, ...]


@dataclass(frozen=True)
class Scenario:
    """A case in words, answered, with what should come out and why."""

    id: str
    title: str
    story: str
    source: str
    answers: dict[str, str]
    outcome: str
    decided_by: str
    doubt: bool
    why: str


@lru_cache
def _rules() -> dict[str, Any]:
    return yaml.safe_load(RULES.read_text(encoding="utf8"))


@lru_cache
def questions() -> tuple[Question, ...]:
    """The questions in the order in which they are asked."""
    made = (each | {"evidence": tuple(each["evidence"])} for each in _rules()["questions"])
    return tuple(Question(**each) for each in made)


def scenarios(path: Path = SCENARIOS) -> list[Scenario]:
    """The written cases."""
    made = yaml.safe_load(path.read_text(encoding="utf8"))["scenarios"]
    return [Scenario(**(each | {"answers": checked(each["answers"])})) for each in made]


# --- deciding -------------------------------------------------------------------------------------


def decide(answers: Mapping[str, Any]) -> Decision:
    """Find the first yes, and everything that speaks against what it decides.

    Args:
        answers: question id to yes, no or unsure; unsure decides nothing, as no does.

    Raises:
        DecisionError: an answer is missing or none of the three.
    """
    given = checked(answers)
    first = _first_yes(given)
    source: Any = vars(first) if first else _rules()["otherwise"]
    return Decision(
        outcome=source["outcome"],
        decided_by=first.id if first else "",
        because=source["because"],
        evidence=tuple(source["evidence"]),
        doubts=tuple(_doubts(given)),
        changes=tuple(_changes(given)),
    )


def checked(answers: Mapping[str, Any]) -> dict[str, str]:
    """Answers in the order of the questions, each "yes", "no" or "unsure".

    Raises:
        DecisionError: one is missing, unknown, or none of the three.
    """
    if not isinstance(answers, Mapping):
        raise DecisionError("The answers must be a list of lines such as `changes: yes`.")
    known = [question.id for question in questions()]
    if unknown := [str(name) for name in answers if name not in known]:
        raise DecisionError(f"There is no question {unknown[0]!r}; there are {', '.join(known)}.")
    if missing := [name for name in known if answers.get(name) in (None, "")]:
        what = "is no answer" if len(missing) == 1 else "are no answers"
        raise DecisionError(f"There {what} to {', '.join(missing)}: say yes, no or unsure.")
    made = {}
    for name in known:
        made[name] = SPOKEN.get(str(answers[name]).strip().lower(), "")
        if not made[name]:
            raise DecisionError(f"{name} is {answers[name]!r}: say yes, no or unsure.")
    return made


def number(id: str) -> int:
    """The place of a question in the order, from 1."""
    return [question.id for question in questions()].index(id) + 1


def _first_yes(answers: Answers) -> Question | None:
    return next((each for each in questions() if answers[each.id] == "yes"), None)


def _outcome(answers: Answers) -> str:
    first = _first_yes(answers)
    return first.outcome if first else _rules()["otherwise"]["outcome"]


def _changes(answers: Answers) -> list[Change]:
    """Flip each answer and see what follows."""
    found = []
    for name, said in answers.items():
        flipped = "no" if said == "yes" else "yes"
        outcome = _outcome({**answers, name: flipped})
        if outcome != _outcome(answers):
            found.append(Change(name, flipped, outcome))
    return found


def _doubts(answers: Answers) -> list[str]:
    """What does not go together, what is not known, and what a later yes says."""
    found = [rule["say"] for rule in _rules()["conflicts"] if _applies(rule["when"], answers)]
    outcome = _outcome(answers)
    for question in questions():
        place = f"Question {number(question.id)} ({question.id})"
        then = _outcome({**answers, question.id: "yes"})
        if answers[question.id] == "unsure" and then != outcome:
            found.append(f"{place} is open: a yes would make it {then}.")
        wants_training = answers[question.id] == "yes" and question.outcome == "fine-tuning"
        if wants_training and outcome in ("RAG", "prompt first"):
            alone = "if that stays when RAG is measured, the way leads to hybrid"
            rest = alone if outcome == "RAG" else "alone it would make it fine-tuning"
            found.append(f"{place} says yes too: {rest}.")
    return found


def _applies(when: Mapping[str, Any], answers: Answers) -> bool:
    return all(answers[name] == SPOKEN[str(said).lower()] for name, said in when.items())


# --- evidence -------------------------------------------------------------------------------------


def evidence(
    ids: tuple[str, ...], ledger: Mapping[str, Any] | None = None
) -> tuple[list[Claim], list[str]]:
    """The measured claims behind a reason, straight from the ledger, and what is not measured yet.

    Args:
        ids: claims ("S25.gold") or statements ("S05", which is every S05.…). A property of these
            very rules (S05.rule) is no evidence for them and is left out.
        ledger: default the stored one.
    """
    stored = load_ledger() if ledger is None else ledger
    every = [Claim(**record) for entry in stored.values() for record in entry["claims"]]
    every = [made for made in every if ".rule" not in made.id]
    found = {id: [c for c in every if c.id == id or c.id.split(".")[0] == id] for id in ids}
    return [c for made in found.values() for c in made], [id for id in ids if not found[id]]


# --- the record -----------------------------------------------------------------------------------


def record(
    title: str,
    answers: Mapping[str, Any],
    inputs: costs.Inputs | None = None,
    ledger: Mapping[str, Any] | None = None,
    day: date | None = None,
) -> str:
    """An architecture decision record in Markdown (after Nygard, 2011).

    Args:
        title: what is being decided, in a line.
        answers: see ``decide``.
        inputs: of the cost model, to add what it says.
        ledger: default the stored one.
        day: default today.
    """
    given, made = checked(answers), decide(answers)
    by = f"question {number(made.decided_by)}" if made.decided_by else "no question answered yes"
    lines = [
        f"# {plain(title) or 'Decision'}: {made.outcome}",
        f"Status: proposed, {(day or date.today()).isoformat()}",
        "## Context",
        "| | question | answer |\n|---|---|---|\n"
        + "\n".join(f"| {number(q.id)} | {q.ask} | {WORDS[given[q.id]]} |" for q in questions()),
        "## Decision",
        f"**{made.outcome}**, decided by {by}. {made.because}",
        f"Next: {_rules()['next'][made.outcome]}",
        "## What speaks against it",
        _listed(made.doubts, "Nothing in the answers."),
        "## Measured evidence",
        _evidence_text(made.evidence, ledger),
        "## What would change it",
        _listed(map(_change_text, made.changes), "No other answer to a single question."),
    ]
    if inputs is not None:
        lines += ["## Costs", costs.text(inputs)]
    return "\n\n".join(lines) + "\n"


def _evidence_text(ids: tuple[str, ...], ledger: Mapping[str, Any] | None) -> str:
    made, missing = evidence(ids, ledger)
    open_ones = [f"{id}: not measured yet." for id in missing]
    return (
        "From the ledger of the course *RAG or fine-tuning? Measure it.*, measured with small "
        "models on its own data, so a reason to look and no proof for this case.\n\n"
        + _listed([*map(str, made), *open_ones], "None.")
    )


def _change_text(change: Change) -> str:
    asked = next(each.ask for each in questions() if each.id == change.question)
    place, said = number(change.question), WORDS[change.answer]
    return f"{said} to question {place} ({asked}) makes it **{change.outcome}**."


def _listed(items: Any, none: str) -> str:
    return "\n".join(f"- {item}" for item in items) or none


def plain(text: str) -> str:
    """A title in one line, without what Markdown or HTML would obey."""
    return re.sub(r"([\\`*_<>\[\]|#])", r"\\\1", " ".join(text.split())[:200])


# --- files ----------------------------------------------------------------------------------------


def read_file(path: Path) -> tuple[str, dict[str, str], costs.Inputs | None]:
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
    return str(made.get("title") or path.stem), checked(made["answers"]), inputs


def template() -> str:
    """A file for ``read_file`` with every question still to be answered."""
    asked = "".join(f"  # {q.ask}\n  {q.id}: unsure\n" for q in questions())
    priced = "".join(
        f"#   {name}: {each['value']}  # {each['about']}, {each['unit']}\n"
        for name, each in costs.examples().items()
    )
    return f"title: What is being decided\nanswers:\n{asked}# costs:  # what differs\n{priced}"


def save(text: str, path: Path) -> Path:
    """Write a record, whole or not at all; a file that is there is left alone.

    Returns:
        Where it is: ``path``, or ``path`` with a number when that was taken.

    Raises:
        DecisionError: it cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(text, encoding="utf8")
        place, count = path, 1
        while place.exists():
            count += 1
            place = path.with_stem(f"{path.stem}-{count}")
        partial.replace(place)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise DecisionError(f"{path} cannot be written ({error.strerror}).") from error
    return place


# --- the reader's own answers ---------------------------------------------------------------------


def keep(stage: str, answers: Mapping[str, Any]) -> Decision:
    """Decide, and keep the answers with the exercises' ("before" or "after" the course)."""
    made = decide(answers)
    store.record("decision", stage=stage, answers=checked(answers))
    return made


def kept(stage: str) -> dict[str, str] | None:
    """The answers kept last at a stage, None when there are none that can be used."""
    for event in reversed(store.read()[0]):
        if event["event"] == "decision" and event.get("stage") == stage:
            try:
                return checked(event.get("answers", {}))
            except DecisionError:  # an imported file may hold anything, older questions too
                continue
    return None
