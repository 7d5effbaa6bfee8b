"""The house form of the legal desk's answers: parse it, check it, say what is wrong with it."""

from __future__ import annotations

import re
from dataclasses import dataclass

LABELS = ("Issue", "Rule", "Application", "Conclusion")
CONCLUSIONS = {"claimant": "For the claimant.", "carrier": "For the carrier.", "none": "Open."}
NO_RULE = "No case in the collection decides this."
ISSUE_WORDS, APPLICATION_WORDS = 22, 40
CITATION = re.compile(r"\[(?:HC|CC|HB) \d{4}/\d{1,3}\]")

# "A rule. Tarn v Ouse Ferries [HB 2017/42]."
RULE_LINE = re.compile(
    rf"(?P<rule>.+[.]) (?P<name>[^.]+ v [^.]+) (?P<citation>{CITATION.pattern})\."
)


@dataclass(frozen=True)
class LegalAnswer:
    """The four parts of an answer, and what its Rule line is made of.

    A part that is missing is empty; ``rule``, ``name`` and ``citation`` are empty too when the
    Rule line has not the house form.
    """

    issue: str
    rule_line: str
    application: str
    conclusion: str
    rule: str
    name: str
    citation: str


@dataclass(frozen=True)
class LegalAnswerCheck:
    """Which parts of an answer are right.

    ``structure`` is about form alone. ``case``: it cites the controlling case and no other, or
    none where none decides. ``name``: the citation carries that case's name. ``rule``: the rule
    is there word for word. ``conclusion``: the right side wins.
    """

    structure: bool
    case: bool
    name: bool
    rule: bool
    conclusion: bool

    @property
    def right(self) -> bool:
        """Whether the law is right: the case and who wins."""
        return self.case and self.conclusion


def parse_legal_answer(text: str) -> LegalAnswer:
    """Take an answer apart; missing parts are empty.

    Args:
        text: the answer. Of a part that stands twice the first counts.
    """
    parts = dict.fromkeys(LABELS, "")
    for line in text.splitlines():
        label, _, rest = line.strip().partition(":")
        if label in parts and not parts[label]:
            parts[label] = rest.strip()
    form = RULE_LINE.fullmatch(parts["Rule"])
    found = form.groupdict() if form else {"rule": "", "name": "", "citation": ""}
    if parts["Rule"] == NO_RULE:
        found["rule"] = NO_RULE
    return LegalAnswer(
        issue=parts["Issue"],
        rule_line=parts["Rule"],
        application=parts["Application"],
        conclusion=parts["Conclusion"],
        **found,
    )


def complaints(text: str) -> list[str]:
    """What is wrong with an answer's form, one sentence each; nothing when it is in the form.

    Args:
        text: the answer.
    """
    lines = [line.strip() for line in text.strip().splitlines()]
    if tuple(line.partition(":")[0] for line in lines) != LABELS:
        return [f"The answer is not four lines that begin with {', '.join(LABELS)}."]
    answer, found = parse_legal_answer(text), []
    if not answer.issue.startswith("whether "):
        found.append("The issue does not begin with 'whether'.")
    if len(answer.issue.split()) > ISSUE_WORDS:
        found.append(f"The issue is longer than {ISSUE_WORDS} words.")
    if not answer.rule:
        found.append("The rule line is not 'A rule. Name v Name [HB 2017/42].'.")
    if not 0 < len(answer.application.split()) <= APPLICATION_WORDS:
        found.append(f"The application is empty or longer than {APPLICATION_WORDS} words.")
    if answer.conclusion not in CONCLUSIONS.values():
        found.append("The conclusion is none of the three of the house form.")
    if (answer.rule == NO_RULE) != (answer.conclusion == CONCLUSIONS["none"]):
        found.append("An open conclusion goes with no case, and only with that.")
    return found


def check_legal_answer(text: str, gold: str) -> LegalAnswerCheck:
    """Compare an answer with the right one; garbage gives a result, never an exception.

    Args:
        text: the answer, say a model's.
        gold: the right answer, in the house form.
    """
    answer, right = parse_legal_answer(text), parse_legal_answer(gold)
    cited = set(CITATION.findall(text))
    if right.citation:
        case = cited == {right.citation}
        name = f"{right.name} {right.citation}" in answer.rule_line
        rule = answer.rule_line.startswith(right.rule)
    else:
        case = name = rule = not cited and answer.rule_line == NO_RULE
    return LegalAnswerCheck(
        structure=not complaints(text),
        case=case,
        name=name,
        rule=rule,
        conclusion=answer.conclusion == right.conclusion,
    )
