"""Decide: ordered questions, the first yes, and what speaks against it.

The questions are data, ``rules.yaml``. Notebooks 00 and 09.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from course_utils.files import DATASETS, InputError, in_repository

RULES_FILE = Path(__file__).with_name("rules.yaml")
SCENARIOS = DATASETS / "decisions" / "scenarios.yaml"
DECISIONS = ("prompt first", "RAG", "fine-tuning", "hybrid")
WORDS = {"yes": "Yes", "no": "No", "unsure": "Not sure"}

# How people write an answer; YAML turns a bare yes or no into True or False.
SPOKEN = {"yes": "yes", "y": "yes", "true": "yes", "no": "no", "n": "no", "false": "no"}
SPOKEN |= dict.fromkeys(("unsure", "not sure", "?", "u"), "unsure")
Answers = Mapping[str, str]


class DecisionError(InputError):
    """Answers or a file that cannot be used; the message says why and what to do."""


@dataclass(frozen=True)
class DecisionQuestion:
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
def rules() -> dict[str, Any]:
    return yaml.safe_load(RULES_FILE.read_text(encoding="utf8"))


@lru_cache
def decision_questions() -> tuple[DecisionQuestion, ...]:
    """The questions in the order in which they are asked."""
    made = (each | {"evidence": tuple(each["evidence"])} for each in rules()["questions"])
    return tuple(DecisionQuestion(**each) for each in made)


def scenarios(path: Path = SCENARIOS) -> list[Scenario]:
    """The written cases."""
    made = yaml.safe_load(in_repository(path).read_text(encoding="utf8"))["scenarios"]
    return [Scenario(**(each | {"answers": checked_answers(each["answers"])})) for each in made]


def decide(answers: Mapping[str, Any]) -> Decision:
    """Find the first yes, and everything that speaks against what it decides.

    Args:
        answers: question id to yes, no or unsure; unsure decides nothing, as no does.

    Raises:
        DecisionError: an answer is missing or none of the three.

    Example:
        >>> answers = dict.fromkeys((question.id for question in decision_questions()), "no")
        >>> decide({**answers, "changes": "yes"}).outcome
        'RAG'
    """
    given = checked_answers(answers)
    first = first_yes(given)
    source: Any = vars(first) if first else rules()["otherwise"]
    return Decision(
        outcome=source["outcome"],
        decided_by=first.id if first else "",
        because=source["because"],
        evidence=tuple(source["evidence"]),
        doubts=tuple(_doubts(given)),
        changes=tuple(_changes(given)),
    )


def checked_answers(answers: Mapping[str, Any]) -> dict[str, str]:
    """Answers in the order of the questions, each "yes", "no" or "unsure".

    Raises:
        DecisionError: one is missing, unknown, or none of the three.
    """
    if not isinstance(answers, Mapping):
        raise DecisionError("The answers must be a list of lines such as `changes: yes`.")
    known = [question.id for question in decision_questions()]
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


def question_number(id: str) -> int:
    """The place of a question in the order, from 1."""
    return [question.id for question in decision_questions()].index(id) + 1


def first_yes(answers: Answers) -> DecisionQuestion | None:
    return next((each for each in decision_questions() if answers[each.id] == "yes"), None)


def _outcome(answers: Answers) -> str:
    first = first_yes(answers)
    return first.outcome if first else rules()["otherwise"]["outcome"]


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
    found = [rule["say"] for rule in rules()["conflicts"] if _applies(rule["when"], answers)]
    outcome = _outcome(answers)
    for question in decision_questions():
        place = f"Question {question_number(question.id)} ({question.id})"
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
